"""The server: what other machines reach over HTTP. Today it takes what they ship; reading is done where the store lies.

May live here: ASGI handlers, bodies with bounds, who may come in, the process that listens.
May not: SQL, the meaning of a fact, formats of the store; a handler parses, calls once, and encodes.
"""
