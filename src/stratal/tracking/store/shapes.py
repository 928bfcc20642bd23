"""Shapes: a question without its values. The statement of a shape is made and compiled once, whatever values it is asked with.

To make and to compile a search takes longer than to answer it. Where a value stood stands a mark, which is a text or a number as the
value was, because that decides how it is compared.
"""

from typing import Any

import msgspec
from sqlalchemy import bindparam

from stratal.tracking.search import And, Between, Compare, Condition, In, Not, Or
from stratal.tracking.search.evaluation import param_text
from stratal.tracking.search.tree import Key, Literal

# Attributes that are looked up by an index where a whole id is given, so that the value decides what the statement is.
_OF_IDS = ("id", "parent")


class TextMark(str):
    """Stands for a text; it is the name of its parameter."""


class NumberMark(int):
    """Stands for a number; it is the number of its parameter."""


def bound(value: Any) -> Any:
    """Give the parameter that a mark stands for; a value as it is."""
    match value:
        case TextMark() | NumberMark():
            # With a value of its own, which nobody uses: lists are written out when a statement is compiled, and then all must have one.
            return bindparam(str(value) if isinstance(value, str) else _name(value), None)
        case _:
            return value


class Lifting:
    """Takes values out of a question, and keeps them by the names of their parameters."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def text(self, value: str | bytes) -> TextMark:
        """Keep a text, or bytes."""
        name = _name(len(self.values))
        self.values[name] = value
        return TextMark(name)

    def literal(self, value: Literal) -> Literal:
        """Keep a value of any type; params hold truths as texts."""
        if isinstance(value, bool | str):
            return self.text(param_text(value))
        mark = NumberMark(len(self.values))
        self.values[_name(mark)] = value
        return mark

    def condition(self, condition: Condition) -> Condition:
        """Give a filter with marks for what it compares with. Patterns and words stay: what they are decides how they are looked for."""
        match condition:
            case And(parts=parts):
                return And(parts=tuple(map(self.condition, parts)))
            case Or(parts=parts):
                return Or(parts=tuple(map(self.condition, parts)))
            case Not(part=part):
                return Not(part=self.condition(part))
            case Compare(key=key, value=value) if _is_lifted(key):
                return msgspec.structs.replace(condition, value=self.literal(value))
            case Between(key=key, low=low, high=high) if _is_lifted(key):
                return msgspec.structs.replace(condition, low=self.literal(low), high=self.literal(high))
            case In(key=key, values=values) if _is_lifted(key):
                return msgspec.structs.replace(condition, values=tuple(map(self.literal, values)))
            case _:
                return condition


def _is_lifted(key: Key) -> bool:
    return key.entity != "attributes" or key.name not in _OF_IDS


def _name(number: int) -> str:
    return f"given_{number}"
