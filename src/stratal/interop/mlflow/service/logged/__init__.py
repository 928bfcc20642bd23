"""Logged models: what a run logged as a model, before anybody registers it.

May live here: how clients of MLflow make, change, find and delete them, and their SQL. All that is said of one are statements of the
run that keeps its files, so they come, go and travel with that run.
May not: HTTP, registered models.
"""
