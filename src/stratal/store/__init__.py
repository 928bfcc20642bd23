"""The store: one database, journals and blobs, and nothing that knows what they are used for.

May live here: durable formats (frames, chunks, blobs), the database and its transactions, leases, events, operations.
May not: the meaning of a fact, a room's tables, anything about models, studies or pipelines.
"""
