"""Access: people and service accounts, what they sign in with, what they may do, and the log of all that.

May live here: tables and statements about people, tokens, sessions and grants; the rules of names, scopes and tokens; secrets.
May not: HTTP, cookies, who asks for what (the server's guard does); roles of a request (a room's own approvals decide those).
"""
