"""Registered models and their versions, as MLflow's clients mean them, over our registry.

May live here: what MLflow says of models that the registry does not know, its names, stages, sources and searches.
May not: SQL (it is in `store/`), HTTP, JSON of requests, the rules by which a version may move: the registry decides, whoever asks.
"""
