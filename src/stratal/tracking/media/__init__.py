"""Media: what `run.log` takes beside numbers. One file per kind; each knows how a thing becomes files, and the thing again.

May live here: recognising a value by its type, turning it into files or a small text, reading those back.
May not: an import of a foreign library that the user's value does not come from; rules about runs.
"""
