"""The history of the schema, one file per change, in one line.

May live here: Alembic revisions, named by number and subject. May not: code of today's tables; a revision is never edited
after its release.
"""
