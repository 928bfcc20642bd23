"""All SQL of the trunk, one subject per file.

May live here: statements over the trunk's tables and the store's. May not: rules; what a row means is said beside it.
"""
