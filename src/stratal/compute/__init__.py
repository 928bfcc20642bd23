"""Where work runs: warm local worker processes today.

May live here: the port that rooms submit work through, and its adapters.
May not: what the work is about. A worker gets a function, arguments and slots.
"""
