"""The command line: one function per command, one file per room.

May live here: parsing, printing, exit codes. May not: rules; a command calls what a Python user would call.
"""
