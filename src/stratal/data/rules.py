"""Rules: a schema compiled into one scan of counts; samples are fetched for what failed, and only then."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import polars as pl

from stratal.core.records import Record
from stratal.data.casting import Reading, by_position, read_column
from stratal.data.columns import Column, Severity
from stratal.data.profile import kind_of
from stratal.data.schema import Schema

Check = Literal["missing", "unexpected", "kind", "type", "null", "nan", "low", "high", "domain", "unique"]

# Different values shown per finding: enough to see the pattern, few enough to read.
SAMPLES = 3
_SAMPLE_CHARS = 40


class Violation(Record, frozen=True, kw_only=True):
    """A broken promise in numbers: `count` rows of `rows`; the worst value for bounds; some values as texts.

    found: the kind that the data holds, for check "kind"; near: a column of nearly that name, for "missing".
    """

    column: str
    check: Check
    severity: Severity
    count: int
    rows: int
    worst: int | float | str | None = None
    samples: tuple[str, ...] = ()
    found: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """`broken`: rows that break it; `count` instead where breaking is no matter of single rows; `worst`: the extreme to show."""

    column: str
    check: Check
    severity: Severity
    raw: pl.Expr
    broken: pl.Expr
    worst: pl.Expr | None = None
    found: str | None = None


def violations(frame: pl.DataFrame, schema: Schema) -> list[Violation]:
    """Check a frame against a schema: one scan for all counts, and a second one for samples if something is broken."""
    rules = _compile(frame.schema, schema)
    counts = _scan(frame, rules)
    broken = [(rule, count, worst) for rule, (count, worst) in zip(rules, counts, strict=True) if count]
    samples = _samples(frame, [rule for rule, _, _ in broken])
    found = [
        Violation(
            column=rule.column,
            check=rule.check,
            severity=rule.severity,
            count=count,
            rows=frame.height,
            worst=worst,
            samples=shown,
            found=rule.found,
        )
        for (rule, count, worst), shown in zip(broken, samples, strict=True)
    ]
    return _absences(frame, schema) + found


def _compile(types: pl.Schema, schema: Schema) -> list[_Rule]:
    rules: list[_Rule] = []
    present = by_position(types.names())
    for name, column in schema.columns.items():
        if name not in present:
            continue
        raw = present[name]
        reading = read_column(raw, types[name], column)
        if reading is None:
            rules.append(_rule(name, column, "kind", raw, raw.is_not_null(), found=kind_of(types[name])))
            rules += _null_rule(name, column, raw)
        else:
            rules += _column_rules(name, column, reading)
    return rules


def _column_rules(name: str, column: Column, reading: Reading) -> list[_Rule]:
    raw, typed = reading.raw, reading.typed
    rules = _null_rule(name, column, raw)
    rules.append(_rule(name, column, "domain" if column.kind == "boolean" else "type", raw, reading.odd))
    if column.kind == "category" and column.values:
        rules.append(_rule(name, column, "domain", raw, ~reading.text.is_in([str(value) for value in column.values]) & typed.is_not_null()))
    if column.kind == "number" and not column.nan:
        rules.append(_rule(name, column, "nan", raw, typed.is_nan()))
    # polars orders NaN above every number; here it is beside them.
    ordered = typed.fill_nan(None) if column.kind == "number" else typed
    if column.low is not None:
        rules.append(_rule(name, column, "low", raw, ordered < _bound(column, column.low), worst=ordered.min()))
    if column.high is not None:
        rules.append(_rule(name, column, "high", raw, ordered > _bound(column, column.high), worst=ordered.max()))
    if column.unique:
        rules.append(_rule(name, column, "unique", raw, typed.is_not_null() & ~typed.is_first_distinct()))
    return rules


def _null_rule(name: str, column: Column, raw: pl.Expr) -> list[_Rule]:
    return [] if column.nullable else [_rule(name, column, "null", raw, raw.is_null())]


def _rule(
    name: str, column: Column, check: Check, raw: pl.Expr, broken: pl.Expr, *, worst: pl.Expr | None = None, found: str | None = None
) -> _Rule:
    return _Rule(column=name, check=check, severity=column.severity, raw=raw, broken=broken, worst=worst, found=found)


def _scan(frame: pl.DataFrame, rules: list[_Rule]) -> list[tuple[int, int | float | str | None]]:
    if not rules:
        return []
    expressions = [rule.broken.sum().alias(f"{i}") for i, rule in enumerate(rules)]
    expressions += [rule.worst.alias(f"{i} worst") for i, rule in enumerate(rules) if rule.worst is not None]
    row = frame.lazy().select(expressions).collect().row(0, named=True)
    return [(int(row[f"{i}"] or 0), _plain(row.get(f"{i} worst"))) for i in range(len(rules))]


def _samples(frame: pl.DataFrame, rules: list[_Rule]) -> list[tuple[str, ...]]:
    shown = [i for i, rule in enumerate(rules) if rule.check not in ("null", "nan", "kind")]
    if not shown:
        return [() for _ in rules]
    expressions = [rules[i].raw.filter(rules[i].broken).unique(maintain_order=True).head(SAMPLES).implode().alias(f"{i}") for i in shown]
    row = frame.lazy().select(expressions).collect().row(0, named=True)
    return [tuple(_shown(value) for value in row.get(f"{i}") or ()) for i in range(len(rules))]


def _absences(frame: pl.DataFrame, schema: Schema) -> list[Violation]:
    missing = [
        Violation(column=name, check="missing", severity=column.severity, count=frame.height, rows=frame.height)
        for name, column in schema.columns.items()
        if name not in frame.columns
    ]
    if not schema.closed:
        return missing
    return missing + [
        Violation(column=name, check="unexpected", severity="error", count=frame.height, rows=frame.height)
        for name in frame.columns
        if name not in schema.columns
    ]


def _bound(column: Column, bound: int | float | str) -> pl.Expr:
    if column.kind == "timestamp":
        at = datetime.fromisoformat(str(bound))
        return pl.lit(at if at.tzinfo else at.replace(tzinfo=UTC)).dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    return pl.lit(bound)


def _plain(value: object) -> int | float | str | None:
    if value is None or isinstance(value, int | float | str):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    return f'"{value}"' if len(value) <= _SAMPLE_CHARS else f'"{value[:_SAMPLE_CHARS]}…"'
