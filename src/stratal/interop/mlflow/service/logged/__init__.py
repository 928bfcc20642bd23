"""Logged models: what a run logged as a model, before anybody registers it.

May live here: how clients of MLflow make, change, find and delete them. All that is said of one are statements of the
run that keeps its files, so they come, go and travel with that run.
May not: SQL (it is in `store/`), HTTP, registered models.
"""
