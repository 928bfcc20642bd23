"""The few SQL words that SQLite and PostgreSQL spell differently, as SQLAlchemy constructs that compile for both.

All compare texts byte by byte and fold only A to Z, whatever the locale: a filter means the same in every store.
"""

from collections.abc import Collection
from typing import Any, Self

from sqlalchemy import BigInteger, Boolean, ColumnElement, ScalarSelect, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType

from stratal.core.records import to_json

_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"


class _Condition(FunctionElement[bool]):
    """Base of those that hold or not; each is in brackets where it is compiled."""

    type = Boolean()

    def self_group(self, against: OperatorType | None = None) -> Self:
        """Stay as it is: SQLAlchemy writes `= 1` behind a condition for SQLite, which then looks into no index."""
        return self


class _JsonText(FunctionElement[str]):
    """Arguments: a column with a JSON object, a name in it."""

    type = Text()
    inherit_cache = True
    name = "json_text"


class _HexText(FunctionElement[str]):
    """Argument: a column with bytes."""

    type = Text()
    inherit_cache = True
    name = "hex_text"


class _Bytewise(FunctionElement[str]):
    """Argument: a text."""

    type = Text()
    inherit_cache = True
    name = "bytewise"


class _Matches(_Condition):
    """Arguments: a text, the pattern as GLOB, the pattern as LIKE."""

    inherit_cache = True
    name = "matches"


class _Among(_Condition):
    """Arguments: a number, a JSON list of numbers."""

    inherit_cache = True
    name = "among"


class _AmongTexts(_Condition):
    """Arguments: a text, a JSON list of texts."""

    inherit_cache = True
    name = "among_texts"


class _Latest(FunctionElement[int]):
    """Arguments: numbers."""

    type = BigInteger()
    inherit_cache = True
    name = "latest"


class _IsThere(_Condition):
    """Argument: a query that gives one row at most, and no NULL."""

    inherit_cache = True
    name = "is_there"


class _Folded(FunctionElement[str]):
    """Argument: a text."""

    type = Text()
    inherit_cache = True
    name = "folded"


def json_text(document: ColumnElement[str], name: str) -> ColumnElement[str]:
    """Give a member of a JSON object as text, NULL if it is not there."""
    return _JsonText(document, literal(name, Text()))


def hex_text(column: ColumnElement[bytes]) -> ColumnElement[str]:
    """Give bytes as hex digits in lower case, NULL for NULL."""
    return _HexText(column)


def bytewise(text: ColumnElement[str]) -> ColumnElement[str]:
    """Give a text that compares and sorts by its bytes."""
    return _Bytewise(text)


def among(column: ColumnElement[int], numbers: ColumnElement[str]) -> ColumnElement[bool]:
    """Tell whether a number is in a JSON list: one statement for lists of any length, so that it is compiled once."""
    return _Among(column, numbers)


def among_texts(column: ColumnElement[str], texts: Collection[str]) -> ColumnElement[bool]:
    """Tell whether a text is one of some, of any number."""
    return _AmongTexts(column, literal(to_json(sorted(texts)), Text()))


def among_listed(column: ColumnElement[str], texts: ColumnElement[str]) -> ColumnElement[bool]:
    """Tell whether a text is in a JSON list of texts; as `among`."""
    return _AmongTexts(column, texts)


def is_there(found: ScalarSelect[int]) -> ColumnElement[bool]:
    """Tell whether a query gives a row, looked up for one row of the other after the other. found: gives one at most, and no NULL."""
    return _IsThere(found)


def latest(*times: ColumnElement[int]) -> ColumnElement[int]:
    """Give the highest of some numbers, none of which is NULL."""
    return _Latest(*times)


def matches(text: ColumnElement[str], pattern: str, *, has_case: bool) -> ColumnElement[bool]:
    """Tell whether a text matches a pattern of `%` and `_` as a whole. There is no escape character, as in MLflow."""
    if not has_case:
        text, pattern = _Folded(text), pattern.translate(str.maketrans(_UPPER, _LOWER))
    glob = "".join("*" if mark == "%" else "?" if mark == "_" else f"[{mark}]" if mark in "*?[" else mark for mark in pattern)
    return _Matches(text, literal(glob, Text()), literal(pattern, Text()))


# SQLAlchemy hands its own element to the functions below; Any is its type of keyword arguments.


@compiles(_JsonText, "sqlite")
def _(element: _JsonText, compiler: SQLCompiler, **kw: Any) -> str:
    document, name = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"json_extract({document}, '$.' || {name})"


@compiles(_JsonText, "postgresql")
def _(element: _JsonText, compiler: SQLCompiler, **kw: Any) -> str:
    document, name = (compiler.process(clause, **kw) for clause in element.clauses)
    # PostgreSQL reads no document that says U+0000; its store has U+2400 for it in texts, too
    return f"(replace({document}, '\\u0000', '\\u2400')::json ->> {name})"


@compiles(_HexText, "sqlite")
def _(element: _HexText, compiler: SQLCompiler, **kw: Any) -> str:
    return f"nullif(lower(hex({compiler.process(element.clauses, **kw)})), '')"  # hex(NULL) is '''


@compiles(_HexText, "postgresql")
def _(element: _HexText, compiler: SQLCompiler, **kw: Any) -> str:
    return f"encode({compiler.process(element.clauses, **kw)}, 'hex')"


@compiles(_Bytewise, "sqlite")
def _(element: _Bytewise, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(_Bytewise, "postgresql")
def _(element: _Bytewise, compiler: SQLCompiler, **kw: Any) -> str:
    return f'({compiler.process(element.clauses, **kw)}) COLLATE "C"'


@compiles(_Among, "sqlite")
@compiles(_AmongTexts, "sqlite")
def _(element: _Among | _AmongTexts, compiler: SQLCompiler, **kw: Any) -> str:
    column, listed = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({listed})))"


# An array, and not a set of rows to join with: what it is compared with is looked up in its index, however the planner guesses.


@compiles(_Among, "postgresql")
def _(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, listed = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({column} = ANY (ARRAY(SELECT json_array_elements_text(({listed})::json)::bigint)))"


@compiles(_AmongTexts, "postgresql")
def _(element: _AmongTexts, compiler: SQLCompiler, **kw: Any) -> str:
    column, listed = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({column} = ANY (ARRAY(SELECT json_array_elements_text(({listed})::json))))"


# SQLite takes a value here for dearer than it is, and begins elsewhere. PostgreSQL joins with what exists, by costs, and tries all orders
# of joining for it, which took as long as to answer; a value it looks up.


@compiles(_IsThere, "sqlite")
def _(element: _IsThere, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(EXISTS {compiler.process(element.clauses, **kw)})"


@compiles(_IsThere, "postgresql")
def _(element: _IsThere, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.clauses, **kw)} IS NOT NULL)"


@compiles(_Latest, "sqlite")
def _(element: _Latest, compiler: SQLCompiler, **kw: Any) -> str:
    return f"max({compiler.process(element.clauses, **kw)})"


@compiles(_Latest, "postgresql")
def _(element: _Latest, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **kw)})"


@compiles(_Folded, "sqlite")
def _(element: _Folded, compiler: SQLCompiler, **kw: Any) -> str:
    return f"lower({compiler.process(element.clauses, **kw)})"  # SQLite's own folds A to Z only


@compiles(_Folded, "postgresql")
def _(element: _Folded, compiler: SQLCompiler, **kw: Any) -> str:
    return f"translate({compiler.process(element.clauses, **kw)}, '{_UPPER}', '{_LOWER}')"


@compiles(_Matches, "sqlite")
def _(element: _Matches, compiler: SQLCompiler, **kw: Any) -> str:
    text, glob, _like = element.clauses
    return f"({compiler.process(text, **kw)} GLOB {compiler.process(glob, **kw)})"


@compiles(_Matches, "postgresql")
def _(element: _Matches, compiler: SQLCompiler, **kw: Any) -> str:
    text, _glob, like = element.clauses
    return f"({compiler.process(text, **kw)} LIKE {compiler.process(like, **kw)} ESCAPE '')"
