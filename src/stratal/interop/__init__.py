"""Other people's formats and APIs: what comes in from other tools, and what goes out to them.

May live here: readers and writers of foreign formats, and the verbs that import and export. A format's own knowledge stays in
its own folder or file. May not: what a run, a model or a dataset is (the rooms); anything that a user without foreign files needs.
"""
