"""Recipes: compositions of rooms. The one place where rooms that do not know each other are put together.

May live here: the resolver table, room verbs as pipeline steps, the lifecycle as one script, the demo.
May not: rules of a room; if a recipe has to decide something, a room is missing a verb.
"""
