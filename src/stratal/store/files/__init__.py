"""Files: bytes under their own sha256, and the places where they lie: a folder, an object store, behind a server.

May live here: places, the ways into and out of them, and the cache. May not: who needs a file, who may have it, anything of a database.
"""
