"""Stoppers: whether a trial should go on, from what it and others reported.

May live here: one file per stopper, pure rules on numbers.
May not: storage, processes, clocks.
"""
