"""What a filter means, on one run: the reference that compiled queries are tested against, and the reader of live rows.

Missing: a run that lacks the key matches only `is null`, and what `not (...)` makes of it. NaN matches only `!=` and
`not in`. A number compares with a param's number, a text with its text, so that `params.lr = '0.1'` and
`params.lr = 0.1` both find it, whether it was logged as 0.1 or as '0.1'.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cmp_to_key

import msgspec

from stratal.core.clock import SECOND_NS
from stratal.core.records import Record
from stratal.tracking.search.tree import And, Between, Compare, Condition, Contains, In, Key, Like, Literal, Not, Null, Or, OrderKey
from stratal.tracking.search.words import has_words

Value = bool | int | float | str | None


class Summary(Record, frozen=True, kw_only=True):
    """What is kept of a series besides its last value. low, high: of finite values."""

    low: float | None
    high: float | None
    step: int
    points: int


class Searchable(Record, frozen=True, kw_only=True):
    """All of a run that a filter can speak of. Times in nanoseconds; metrics are last values; texts are name and notes."""

    id: str
    experiment: str
    name: str | None = None
    kind: str = "train"
    status: str = "running"
    user: str | None = None
    group: str | None = None
    job_type: str | None = None
    parent: str | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    deleted_ns: int | None = None
    params: Mapping[str, Value] = msgspec.field(default_factory=dict)
    metrics: Mapping[str, float] = msgspec.field(default_factory=dict)
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    summaries: Mapping[str, Summary] = msgspec.field(default_factory=dict)
    texts: tuple[str, ...] = ()


def evaluate(condition: Condition, run: Searchable) -> bool:
    """Tell whether a run passes."""
    match condition:
        case And(parts=parts):
            return all(evaluate(part, run) for part in parts)
        case Or(parts=parts):
            return any(evaluate(part, run) for part in parts)
        case Not(part=part):
            return not evaluate(part, run)
        case Contains(words=words, is_negated=is_negated):
            return has_words(words, *run.texts) != is_negated
        case Null(key=key, is_negated=is_negated):
            return (value_of(key, run) is None) != is_negated
        case _:
            value = value_of(condition.key, run)
            return value is not None and _holds(condition, value)


def value_of(key: Key, run: Searchable) -> Value:
    """Give what a run has under a key; None if it lacks it (a param that was logged as None is lacking)."""
    match key.entity:
        case "params":
            return run.params.get(key.name)
        case "metrics":
            return run.metrics.get(key.name) if key.part == "last" else _part_of(run.summaries.get(key.name), key.part)
        case "tags":
            return run.tags.get(key.name)
    match key.name:
        case "started":
            return run.started_ns
        case "ended":
            return run.ended_ns
        case "deleted":
            return run.deleted_ns
        case "duration":
            return None if run.ended_ns is None or run.started_ns is None else (run.ended_ns - run.started_ns) / SECOND_NS
        case name:
            value: Value = getattr(run, name)
            return value


def _part_of(summary: Summary | None, part: str) -> Value:
    if summary is None:
        return None
    return {"min": summary.low, "max": summary.high, "step": summary.step, "points": summary.points}[part]


def param_text(value: Value) -> str:
    """Give a param as the text that filters compare: true, 0.1, gbm."""
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)


_NUMERAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def param_number(value: Value) -> float | None:
    """Give a param as the number that filters compare: true is 1, and a text that is written as a number is that number."""
    if not isinstance(value, str):
        return None if value is None else float(value)
    if len(value) > 400 or not _NUMERAL.fullmatch(value):  # 400: the longest numeral of a float64 has 309 digits before its point
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def ordered(runs: Iterable[Searchable], order: Sequence[OrderKey]) -> list[Searchable]:
    """Sort runs. Ties, and no order at all: started last first, then by id."""

    def compare(left: Searchable, right: Searchable) -> int:
        for key in order:
            if sign := _compare(_sortable(key, left), _sortable(key, right), is_descending=key.is_descending):
                return sign
        newer = (right.started_ns or 0) - (left.started_ns or 0)
        return newer or (left.id > right.id) - (left.id < right.id)

    return sorted(runs, key=cmp_to_key(compare))


# (0 a number, 1 a text, 2 NaN, 3 missing; the number; the text)
_Sortable = tuple[int, float, str]


def _sortable(key: OrderKey, run: Searchable) -> _Sortable:
    value = value_of(key.key, run)
    if value is None:
        return (3, 0.0, "")
    if key.key.entity == "params":
        number = param_number(value)
        text = param_text(value)
    else:
        number = None if isinstance(value, str) else float(value)
        text = str(value)
    if number is None:
        return (1, 0.0, text)
    return (2, 0.0, "") if math.isnan(number) else (0, number, "")


def _compare(left: _Sortable, right: _Sortable, *, is_descending: bool) -> int:
    if left[0] != right[0]:
        return left[0] - right[0]
    sign = (left > right) - (left < right)
    return -sign if is_descending else sign


def _holds(condition: Compare | Between | In | Like, value: Value) -> bool:
    match condition:
        case Compare(key=key, op=op, value=literal):
            return _compares(key, value, op, literal)
        case Between(key=key, low=low, high=high, is_negated=is_negated):
            inside = _compares(key, value, ">=", low) and _compares(key, value, "<=", high)
            outside = _compares(key, value, "<", low) or _compares(key, value, ">", high)
            return outside if is_negated else inside
        case In(key=key, values=values, is_negated=is_negated):
            return any(_compares(key, value, "=", literal) for literal in values) != is_negated
        case Like(pattern=pattern, has_case=has_case, is_negated=is_negated):
            return _matches(pattern, param_text(value), has_case=has_case) != is_negated


def _compares(key: Key, value: Value, op: str, literal: Literal) -> bool:
    left: float | str
    if isinstance(literal, str):
        return _relation(param_text(value), op, literal)
    if isinstance(literal, bool):
        return _relation(param_text(value), op, param_text(literal))
    number = param_number(value) if key.entity == "params" else value
    if number is None or isinstance(number, str):
        return op == "!="  # a text is never equal to a number
    left = number
    return _relation(left, op, literal)


def _relation(left: float | str, op: str, right: float | str) -> bool:
    match op:
        case "=":
            return left == right
        case "!=":
            return left != right
        case "<":
            return left < right  # type: ignore[operator]  # both are numbers or both texts: the caller saw to it
        case "<=":
            return left <= right  # type: ignore[operator]
        case ">":
            return left > right  # type: ignore[operator]
        case _:
            return left >= right  # type: ignore[operator]


def _matches(pattern: str, text: str, *, has_case: bool) -> bool:
    if not has_case:
        pattern, text = fold(pattern), fold(text)
    parts = (".*" if mark == "%" else "." if mark == "_" else re.escape(mark) for mark in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


_FOLD = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def fold(text: str) -> str:
    """Give the text with A to Z in lower case: what every database can do alike."""
    return text.translate(_FOLD)
