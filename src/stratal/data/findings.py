"""Findings: numbers to plain sentences, each with a severity."""

import difflib
import math
from collections.abc import Iterable, Sequence

from stratal.core.records import Record
from stratal.data.columns import Column, Severity
from stratal.data.drift import ColumnDrift
from stratal.data.rules import Violation
from stratal.data.schema import Schema

MARKS = {"error": "✕", "warn": "!", "info": "·"}
_ORDER = ("error", "warn", "info")
# Values of a domain that a sentence lists before it only counts them.
_LISTED = 6
_KINDS = {"integer": "a whole number", "number": "a number", "timestamp": "a time", "string": "text", "boolean": "a boolean"}


class Finding(Record, frozen=True, kw_only=True):
    """What was found in one column, or in the whole table (column ""): a severity, a sentence and the number behind it.

    check: missing, unexpected, kind, type, null, nan, low, high, domain, unique, drift or reference.
    """

    column: str
    check: str
    severity: Severity
    message: str
    count: int = 0
    samples: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{MARKS[self.severity]} {self.column}: {self.message}" if self.column else f"{MARKS[self.severity]} {self.message}"


def from_violation(violation: Violation, schema: Schema, present: Sequence[str]) -> Finding:
    """Say a broken promise in plain words. present: the columns that the data has."""
    column = schema.columns.get(violation.column, Column(kind="string"))
    message = _sentence(violation, column, [name for name in present if name not in schema.columns])
    return Finding(
        column=violation.column,
        check=violation.check,
        severity=violation.severity,
        message=message,
        count=violation.count,
        samples=violation.samples,
    )


def from_drift(drift: ColumnDrift, severity: Severity) -> Finding | None:
    """Say how a column moved; None if it did not."""
    if not drift.is_moved:
        return None
    return Finding(column=drift.column, check="drift", severity=severity, message=_moved(drift))


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Sort by severity, the worst first; within one as found."""
    return sorted(findings, key=lambda finding: _ORDER.index(finding.severity))


def rows(count: int) -> str:
    """Give "1 row" or "7,043 rows"."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def number(value: float | int | str) -> str:
    """Give a number as people write it: up to six digits, no exponent where none is needed."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.6g}"


def _sentence(violation: Violation, column: Column, unknown: list[str]) -> str:
    count, shown = rows(violation.count), _listed(violation.samples)
    match violation.check:
        case "missing":
            near = difflib.get_close_matches(violation.column.lower(), [name.lower() for name in unknown], n=1)
            return f"is missing; is {next(n for n in unknown if n.lower() == near[0])!r} meant?" if near else "is missing"
        case "unexpected":
            return "is not in the schema"
        case "kind":
            return f"holds {violation.found}, {column.kind} was expected"
        case "type":
            return f"{count} not {_KINDS.get(column.kind, 'of the kind')}{shown}"
        case "null":
            return f"{count} without a value"
        case "nan":
            return f"{count} with NaN"
        case "low":
            return f"{count} below {_bound(column.low)}, lowest {_bound(violation.worst)}"
        case "high":
            return f"{count} above {_bound(column.high)}, highest {_bound(violation.worst)}"
        case "domain":
            return f"{count} outside {_domain(column)}{shown}"
        case "unique":
            return f"{count} {'repeats' if violation.count == 1 else 'repeat'} a value that was there before{shown}"


def _moved(drift: ColumnDrift) -> str:
    parts: list[str] = []
    if drift.is_other_kind:
        parts.append(drift.reason or "")
    elif drift.is_disjoint:
        parts.append(f"shares no value with the reference{_middle(drift)}" if not drift.reason else drift.reason)
    else:
        moved = [m for name in ("psi", "ks") if (m := drift.measure(name)) and m.is_moved]
        if moved:
            first = moved[0]
            parts.append(f"has moved: {first.name.upper()} {first.effect:.2f} ({first.bound:.2f} expected by chance){_middle(drift)}")
    nulls = drift.measure("nulls")
    if nulls and nulls.is_moved:
        parts.append(f"without a value in {_share(drift.nulls_before)} → {_share(drift.nulls_now)} of rows")
    return "; ".join(parts)


def _middle(drift: ColumnDrift) -> str:
    if drift.before is None or drift.now is None:
        return ""
    if isinstance(drift.before, str):
        same = "" if drift.before == drift.now else f' → "{drift.now}"'
        return f', most often "{drift.before}"{same}'
    return f", median {number(drift.before)} → {number(drift.now)}"


def _domain(column: Column) -> str:
    if column.kind == "boolean":
        return "true, false, 1, 0" if column.true is None else f"{column.true}, {column.false}"
    listed = ", ".join(str(value) for value in column.values[:_LISTED])
    return listed if len(column.values) <= _LISTED else f"{listed} and {len(column.values) - _LISTED:,} more"


def _listed(samples: tuple[str, ...]) -> str:
    return f": {', '.join(samples)}" if samples else ""


def _bound(value: float | int | str | None) -> str:
    return "nothing" if value is None else number(value)


def _share(share: float) -> str:
    return f"{share:.1%}"
