"""The server: what other machines reach over HTTP: journals and files that they ship, operations of all rooms, events, MLflow's protocol.

May live here: ASGI handlers, bodies with bounds, who may come in, the process that listens.
May not: SQL, the meaning of a fact, formats of the store; a handler parses, calls once, and encodes.
"""
