"""Quotas: how many runs and how many bytes of files an experiment may hold, and how many it holds.

May live here: tables and statements about limits and counters, the rule that refuses, what an admin does with them.
May not: what a run or a file is for, HTTP, who may ask (the server's guard); points and facts, which no quota ever refuses.
"""
