"""Registered models, their versions and logged models, as MLflow's clients mean them, over our registry.

May live here: what MLflow says of models that the registry does not know, its names, stages, sources and searches, and their SQL.
May not: HTTP, JSON of requests, the rules by which a version may move: the registry decides, whoever asks.
"""
