"""Folders that neptune-exporter wrote: parquet in long form, one value of one attribute per row, and files beside it.

May live here: parts and their columns, what attributes mean for a run, finding finished runs under a folder.
May not: what other tools share (`stratal.interop` itself), a store, Neptune's client.
"""
