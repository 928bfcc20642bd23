"""Samplers: which params to try next, from the results so far.

May live here: one file per sampler, pure rules on columns, and the mathematics they share (`parzen.py`).
May not: storage, processes, clocks. A sampler gets rows and gives params.
"""
