"""Columns: what a column of a schema promises, one constructor per kind."""

import math
from datetime import date, datetime
from typing import Literal

from stratal.core.errors import Misuse
from stratal.core.records import Record

Severity = Literal["error", "warn", "info"]
Kind = Literal["string", "integer", "number", "boolean", "category", "timestamp"]
Scalar = bool | int | float | str

SEVERITIES: tuple[Severity, ...] = ("error", "warn", "info")
KINDS: tuple[Kind, ...] = ("string", "integer", "number", "boolean", "category", "timestamp")


class Column(Record, frozen=True, kw_only=True):
    """What one column promises.

    low, high: inclusive bounds of integer, number and timestamp (ISO text); None: no bound.
    values: the domain of a category; empty: any.
    true, false: what stands for the two values of a boolean; None: true/false and 1/0.
    nan: NaN is allowed (it is not null, and is counted apart).
    severity: how bad a broken promise is: "error" refuses the data, "warn" and "info" only say so.
    """

    kind: Kind
    nullable: bool = False
    unique: bool = False
    low: int | float | str | None = None
    high: int | float | str | None = None
    values: tuple[int | str, ...] = ()
    true: int | str | None = None
    false: int | str | None = None
    nan: bool = False
    severity: Severity = "error"


def string(*, unique: bool = False, nullable: bool = False, severity: Severity = "error") -> Column:
    """Promise text."""
    return _checked(Column(kind="string", unique=unique, nullable=nullable, severity=severity))


def integer(
    low: int | None = None, high: int | None = None, *, nullable: bool = False, unique: bool = False, severity: Severity = "error"
) -> Column:
    """Promise whole numbers from `low` to `high`, both included. Floats without a fraction count as whole."""
    for bound in (low, high):
        if bound is not None and type(bound) is not int:
            raise Misuse(f"integer(): the bound {bound!r} is not a whole number", hint="use number() for bounds with a fraction")
    return _checked(Column(kind="integer", low=low, high=high, nullable=nullable, unique=unique, severity=severity))


def number(
    low: float | None = None,
    high: float | None = None,
    *,
    nullable: bool = False,
    unique: bool = False,
    nan: bool = False,
    severity: Severity = "error",
) -> Column:
    """Promise numbers from `low` to `high`, both included. Infinities are numbers; NaN is one only with `nan=True`."""
    for bound in (low, high):
        if bound is not None and (type(bound) not in (int, float) or math.isnan(bound)):
            raise Misuse(f"number(): the bound {bound!r} is not a number", hint="leave a bound out where there is none")
    return _checked(Column(kind="number", low=low, high=high, nullable=nullable, unique=unique, nan=nan, severity=severity))


def boolean(
    *, true: int | str | None = None, false: int | str | None = None, nullable: bool = False, severity: Severity = "error"
) -> Column:
    """Promise two values. `true` and `false` say what stands for them; without, true/false and 1/0 do."""
    if (true is None) != (false is None) or (true is not None and true == false):
        raise Misuse("boolean() needs both `true` and `false`, and they must differ", hint='as in boolean(true="Yes", false="No")')
    if type(true) is not type(false) or isinstance(true, bool):
        raise Misuse("boolean(): `true` and `false` must both be texts or both whole numbers", hint='as in boolean(true="Yes", false="No")')
    return _checked(Column(kind="boolean", true=true, false=false, nullable=nullable, severity=severity))


def category(*values: int | str, nullable: bool = False, unique: bool = False, severity: Severity = "error") -> Column:
    """Promise one of `values` (texts, or whole numbers); without values, any text."""
    if any(isinstance(value, bool) or not isinstance(value, int | str) for value in values) or len({type(v) for v in values}) > 1:
        raise Misuse("category(): values must be all texts or all whole numbers", hint='as in category("One year", "Two year")')
    return _checked(Column(kind="category", values=tuple(dict.fromkeys(values)), nullable=nullable, unique=unique, severity=severity))


def timestamp(
    low: date | str | None = None,
    high: date | str | None = None,
    *,
    nullable: bool = False,
    unique: bool = False,
    severity: Severity = "error",
) -> Column:
    """Promise dates or times between `low` and `high` (dates, datetimes or ISO texts); without zone they are UTC."""
    return _checked(
        Column(kind="timestamp", low=_iso(low), high=_iso(high), nullable=nullable, unique=unique, severity=severity),
    )


def check_column(column: Column) -> Column:
    """Give the column back, or raise Misuse if its parts contradict each other: files are written by people."""
    return _checked(column)


def _checked(column: Column) -> Column:
    if column.kind not in KINDS:
        raise Misuse(f"kind {column.kind!r} is unknown", hint=f"choose one of: {', '.join(KINDS)}")
    if column.severity not in SEVERITIES:
        raise Misuse(f"severity {column.severity!r} is unknown", hint=f"choose one of: {', '.join(SEVERITIES)}")
    low, high = column.low, column.high
    if low is not None and high is not None and (isinstance(low, str) != isinstance(high, str) or low > high):  # type: ignore[operator]  # same types
        raise Misuse(f"{column.kind}: low {low!r} is above high {high!r}", hint="swap the bounds")
    return column


def _iso(bound: date | str | None) -> str | None:
    if bound is None:
        return None
    if isinstance(bound, str):
        try:
            return datetime.fromisoformat(bound).isoformat()
        except ValueError as error:
            raise Misuse(f"timestamp(): {bound!r} is not an ISO time", hint="as in 2024-01-31 or 2024-01-31T12:00:00") from error
    if isinstance(bound, datetime):
        return bound.isoformat()
    return datetime(bound.year, bound.month, bound.day).isoformat()  # no zone means UTC, see above
