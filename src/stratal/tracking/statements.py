"""Statements: immutable sentences of runs about a subject. Rooms write them; gates, reports and other rooms read them."""

from stratal.tracking.store.runs import Statement, find_statements, statements_of

__all__ = ["Statement", "find_statements", "statements_of"]
