"""Reproduction: a run is started again from what was captured of it, and its numbers are held against the old ones.

May live here: restoring sources, inputs and environments; starting the program again; the verdict per metric, and the likely
causes of a difference.
May not: anything that knows a room. What a room has to bring along for a run, or can replay alone, it registers in a table.
"""
