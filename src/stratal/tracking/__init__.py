"""The trunk: runs and everything said about them, and the handles through which rooms meet.

May live here: runs, facts, artifacts, lineage, capture, search, compare, refs and handles.
May not: any room's rules. A room writes facts here and reads facts here.
"""
