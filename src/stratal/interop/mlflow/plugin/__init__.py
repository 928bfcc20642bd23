"""MLflow's plug-ins: stores of its API for URIs of the scheme `stratal`, in the process that imports MLflow, without any server.

May live here: subclasses of MLflow's own classes, which MLflow finds by its entry points, and how its messages become calls.
May not: what a call means (`stratal.interop.mlflow.service` says it, and the server asks the same); anything that a process without
MLflow imports. The one place where MLflow itself is imported.
"""
