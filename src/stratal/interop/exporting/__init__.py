"""Exporting runs: Parquet, CSV and JSON tables, and stores of MLflow.

May live here: choosing what is exported, the operations that read it, the tables, their files, and the placing of a whole export at once.
May not: a change of the store. An export only reads.
"""
