"""MLflow's REST protocol: routes over `stratal.interop.mlflow.service`, so that an unmodified MLflow client works.

May live here: the table of routes, its JSON, its errors in HTTP, files in and out. May not: what a call means, SQL.
"""
