"""Interop: other people's formats and APIs, read into ours and written from ours.

May live here: readers and writers of foreign formats, one folder per tool, and the verbs that import and export.
May not: a foreign library (formats are read and written by our own code), what a run, a model or a dataset is (the rooms'),
anything that fetches from a network or loads a pickle, anything that a user without foreign files needs.
"""
