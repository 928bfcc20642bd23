"""Ground: what every floor stands on. Ids, time, errors, records, settings, people.

May live here: values and small rules that need nothing but the standard library and msgspec.
May not: anything that knows a run, a table, a file format or a user interface.
"""
