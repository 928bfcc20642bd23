"""Autolog: what a library's users expect to find in a run, logged by the hooks that the library offers for it.

May live here: one file per library (the only one that imports it), what they share (`fits.py`), the console and logging.
May not: patches. A library's official callbacks and entry points come first; else the `fit` of one instance that the user
names is wrapped for one call. Nothing here may raise into a user's code: what fails is said once, and logged no further.
"""
