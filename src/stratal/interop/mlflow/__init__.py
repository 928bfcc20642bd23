"""Stores of MLflow, folders (`mlruns/`) and SQLite files, with their model registry. Read without MLflow.

May live here: the layout of both, what their records mean for a run and a model, where artifacts lie.
May not: what other tools share (`stratal.interop` itself), writing to a store of MLflow (`stratal.interop.exporting`).
"""
