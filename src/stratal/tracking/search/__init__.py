"""Search: the filter language over runs, from text to a tree, and what the tree means.

May live here: the lexer, the grammar, the tree, order, times, the meaning of each condition on one run, and how a
mistake is shown.
May not: SQL (that is the store's, which compiles the tree), or reading runs.
"""

from stratal.tracking.search.evaluation import Searchable, Summary, evaluate, ordered, value_of
from stratal.tracking.search.grammar import parse_columns, parse_filter, parse_order
from stratal.tracking.search.tree import (
    ATTRIBUTES,
    PARTS,
    And,
    Between,
    Compare,
    Condition,
    Contains,
    In,
    Key,
    Like,
    Not,
    Null,
    Or,
    OrderKey,
)  # fmt: skip

__all__ = [
    "ATTRIBUTES",
    "PARTS",
    "And",
    "Between",
    "Compare",
    "Condition",
    "Contains",
    "In",
    "Key",
    "Like",
    "Not",
    "Null",
    "Or",
    "OrderKey",
    "Searchable",
    "Summary",
    "evaluate",
    "ordered",
    "parse_columns",
    "parse_filter",
    "parse_order",
    "value_of",
]
