"""The demo: the lifecycle on real data, told in a terminal. It is the example, not the platform.

May live here: what a user would write, with `import stratal as st`, and the words around it.
May not: anything that a room, a recipe or a test of theirs depends on.
"""
