"""Filters and orders over runs, as SQL: ids are picked and sorted first, documents read for one page only.

Each condition on a param, metric or tag is one set of runs out of a covering index. What a condition means is said in
`stratal.tracking.search.evaluation`; both are tested to agree.
"""

import base64
import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    ScalarSelect,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Misuse
from stratal.core.ids import is_id
from stratal.core.records import Record, number_from_json, number_to_json, to_json
from stratal.store.database import Transaction
from stratal.store.tables import key, metric, participant, run
from stratal.tracking.search import And, Between, Compare, Condition, In, Like, Not, Null, Or, OrderKey
from stratal.tracking.search.evaluation import param_text
from stratal.tracking.search.tree import Literal
from stratal.tracking.store.dialects import bytewise, hex_text, json_text, matches
from stratal.tracking.store.runs import SELECT_RUNS, RunRecord, to_record
from stratal.tracking.tables import param, tag

MOST = 10_000  # runs of one page
_TRUE: ColumnElement[bool] = true()
_NUMBER, _TEXT, _NAN, _MISSING = range(4)  # ranks of what is sorted


class Page(Record, frozen=True, kw_only=True):
    """Runs of one page in order, and the token of the next one; None on the last."""

    runs: tuple[RunRecord, ...]
    next: str | None


def search_runs(
    tx: Transaction,
    condition: Condition,
    order: Sequence[OrderKey],
    *,
    experiments: Collection[str] | None = None,
    living: Collection[str] = (),
    limit: int = 100,
    page: str | None = None,
) -> Page:
    """Find runs. experiments: only of these (None: all). living: writers of processes that live; a run that never ended
    and has none of them is `lost`. limit: 1 to 10,000. page: what the page before gave as `next`, under the same order.

    Ties, and no order: started last first, then by id. Raises Misuse for a limit or token that is none."""
    if not 1 <= limit <= MOST:
        raise Misuse(f"limit = {limit} is not possible", hint=f"give 1 to {MOST:,}, and read further pages with their token")
    searching = _Searching(tx.now_ns, living, experiments)
    keys = searching.sort_keys(order)
    statement = searching.source.with_only_columns(run.c.no, *(column for column, _ in keys)).where(searching.condition(condition))
    if experiments is not None:
        statement = statement.where(run.c.experiment.in_(sorted(experiments)))
    if page is not None:
        statement = statement.where(_after(keys, _read_token(page, order, len(keys))))
    sorted_by = [column.desc() if is_descending else column.asc() for column, is_descending in keys]
    found = tx.rows(statement.order_by(*sorted_by).limit(limit + 1))
    chosen = found[:limit]
    token = _write_token(order, chosen[-1][1:]) if len(found) > limit else None
    return Page(runs=tuple(_read(tx, [row[0] for row in chosen])), next=token)


def count_runs(tx: Transaction, condition: Condition, *, experiments: Collection[str] | None = None, living: Collection[str] = ()) -> int:
    """Count the runs that a filter lets pass."""
    searching = _Searching(tx.now_ns, living, experiments)
    statement = select(func.count()).select_from(run).where(searching.condition(condition))
    if experiments is not None:
        statement = statement.where(run.c.experiment.in_(sorted(experiments)))
    return int(tx.value(statement))


class _SortKey(NamedTuple):
    column: ColumnElement[Any]
    is_descending: bool


class _Searching:
    """One search: what it compares, and the tables that its order joins."""

    def __init__(self, now_ns: int, living: Collection[str], experiments: Collection[str] | None) -> None:
        self.source: Select[tuple[int]] = select(run.c.no)
        self._now_ns = now_ns
        self._living = sorted(living)
        # The indexes lead with the experiment where there is only one to look at.
        self._only = next(iter(experiments)) if experiments is not None and len(experiments) == 1 else None

    def condition(self, condition: Condition) -> ColumnElement[bool]:
        match condition:
            case And(parts=parts):
                return and_(_TRUE, *(self.condition(part) for part in parts))
            case Or(parts=parts):
                return or_(false(), *(self.condition(part) for part in parts))
            case Not(part=part):
                return not_(self.condition(part))
            case _ if condition.key.entity == "attributes":
                return self._attribute(condition)
            case _:
                return self._stored(condition)

    def sort_keys(self, order: Sequence[OrderKey]) -> list[_SortKey]:
        """Give never-NULL columns whose order is the one asked for; joins what they need to `source`."""
        keys: list[_SortKey] = []
        joined = run
        for number, asked in enumerate(order):
            if asked.key.entity == "attributes":
                column = self._column(asked.key.name)
                is_text = isinstance(column.type, Text)
                known = _TEXT if is_text else _NUMBER
                rank = case((column.is_(None), _MISSING), else_=known)
                value = func.coalesce(bytewise(column), "") if is_text else func.coalesce(column, 0)
                keys += [_SortKey(rank, False), _SortKey(value, asked.is_descending)]
                continue
            table = _STORED[asked.key.entity].table.alias(f"sorted_{number}")
            joined = joined.outerjoin(table, and_(table.c.run == run.c.no, table.c.key == _key_id(asked.key.name)))  # type: ignore[assignment]
            keys += _stored_keys(asked, table)
        self.source = self.source.select_from(joined)
        return [*keys, _SortKey(func.coalesce(run.c.started_ns, 0), True), _SortKey(hex_text(run.c.id), False)]

    def _stored(self, condition: Compare | Between | In | Like | Null) -> ColumnElement[bool]:
        """Compile a condition on a param, metric or tag: the run is in the set of those that have it so."""
        table, is_there, compare, text = _STORED[condition.key.entity]
        holding = select(table.c.run).where(table.c.key == _key_id(condition.key.name), is_there)
        if self._only is not None and "experiment" in table.c:
            holding = holding.where(table.c.experiment == self._only)
        if isinstance(condition, Null):
            within = run.c.no.in_(holding)
            return within if condition.is_negated else not_(within)
        return run.c.no.in_(holding.where(_holds(condition, compare, text)))

    def _attribute(self, condition: Compare | Between | In | Like | Null) -> ColumnElement[bool]:
        name = condition.key.name
        if isinstance(condition, Compare) and name in ("id", "parent") and condition.op == "=" and is_id(str(condition.value)):
            column = run.c[name]  # by index, not by its digits
            return and_(column.is_not(None), column == bytes.fromhex(str(condition.value)))
        value = self._column(name)
        if isinstance(condition, Null):
            return value.is_not(None) if condition.is_negated else value.is_(None)
        return and_(value.is_not(None), _holds(condition, lambda op, other: _relation(value, op, other), value))

    def _column(self, name: str) -> ColumnElement[Any]:
        match name:
            case "id" | "parent":
                return hex_text(run.c[name])
            case "name" | "user" | "group":
                return func.nullif(json_text(run.c.doc, name), "", type_=Text())
            case "experiment" | "kind":
                return func.nullif(run.c[name], "", type_=Text())
            case "started" | "ended":
                return run.c[f"{name}_ns"]
            case "duration":
                return cast(run.c.ended_ns - run.c.started_ns, Double) / float(SECOND_NS)
            case _:
                return self._status()

    def _status(self) -> ColumnElement[Any]:
        """The stored status; or lost: it never ended, nobody holds a lease that runs, and no writer of it lives."""
        mine = exists().where(participant.c.run == run.c.id, participant.c.writer.in_(self._living))
        is_lost = and_(run.c.status == "running", func.coalesce(run.c.expires_ns, 0) <= self._now_ns, not_(mine))
        return case((is_lost, literal("lost", Text())), else_=run.c.status)


def _compare_param(op: str, other: Literal) -> ColumnElement[bool]:
    """Compare in two-valued logic, as all three: what is NULL is never equal, so that `not` may stand before it."""
    c = param.c
    if isinstance(other, bool | str):
        return _relation(c.txt, op, param_text(other))
    return or_(c.num.is_(None), c.num != other) if op == "!=" else and_(c.num.is_not(None), _relation(c.num, op, other))


def _compare_metric(op: str, other: Literal) -> ColumnElement[bool]:
    c = metric.c
    return or_(c.is_nan == 1, c.value != other) if op == "!=" else and_(c.is_nan == 0, _relation(c.value, op, other))


def _compare_tag(op: str, other: Literal) -> ColumnElement[bool]:
    return _relation(tag.c.value, op, other)


class _Stored(NamedTuple):
    """Where the values of an entity lie. is_there: what tells a value from one that was taken away."""

    table: Table
    is_there: ColumnElement[bool]
    compare: Callable[[str, Literal], ColumnElement[bool]]
    text: ColumnElement[str]


_STORED = {
    "params": _Stored(param, param.c.txt.is_not(None), _compare_param, param.c.txt),
    "metrics": _Stored(metric, true(), _compare_metric, cast(metric.c.value, Text)),  # a metric has no pattern: the grammar sees to it
    "tags": _Stored(tag, tag.c.value.is_not(None), _compare_tag, tag.c.value),
}


def _holds(
    condition: Compare | Between | In | Like, compare: Callable[[str, Literal], ColumnElement[bool]], text: ColumnElement[Any]
) -> ColumnElement[bool]:
    match condition:
        case Compare(op=op, value=value):
            return compare(op, value)
        case Between(low=low, high=high, is_negated=True):
            return or_(compare("<", low), compare(">", high))
        case Between(low=low, high=high):
            return and_(compare(">=", low), compare("<=", high))
        case In(values=values, is_negated=is_negated):
            equal = or_(*(compare("=", value) for value in values))
            return not_(equal) if is_negated else equal
        case Like(pattern=pattern, has_case=has_case, is_negated=is_negated):
            matching = matches(text, pattern, has_case=has_case)
            return not_(matching) if is_negated else matching


def _relation(column: ColumnElement[Any], op: str, other: Literal) -> ColumnElement[bool]:
    if isinstance(other, str):
        column = bytewise(column)
    relation: ColumnElement[bool] = {
        "=": column.__eq__, "!=": column.__ne__, "<": column.__lt__, "<=": column.__le__, ">": column.__gt__, ">=": column.__ge__,
    }[op](other)  # fmt: skip
    return relation


def _stored_keys(asked: OrderKey, joined: FromClause) -> list[_SortKey]:
    """Give rank, number and text of a stored value; numbers come before texts, NaN after them, missing last."""
    c, down = joined.c, asked.is_descending
    if asked.key.entity == "metrics":
        rank = case((c.run.is_(None), _MISSING), (c.is_nan == 1, _NAN), else_=_NUMBER)
        return [_SortKey(rank, False), _SortKey(func.coalesce(c.value, 0.0), down)]
    if asked.key.entity == "tags":
        rank = case((c.value.is_(None), _MISSING), else_=_TEXT)
        return [_SortKey(rank, False), _SortKey(bytewise(func.coalesce(c.value, "")), down)]
    is_nan = and_(c.num.is_(None), c.txt == "nan")
    rank = case((c.txt.is_(None), _MISSING), (c.num.is_not(None), _NUMBER), (is_nan, _NAN), else_=_TEXT)
    text = case((c.num.is_(None), c.txt), else_="")
    return [_SortKey(rank, False), _SortKey(func.coalesce(c.num, 0.0), down), _SortKey(bytewise(func.coalesce(text, "")), down)]


def _key_id(name: str) -> ScalarSelect[int]:
    return select(key.c.id).where(key.c.name == name).scalar_subquery()


def _after(keys: Sequence[_SortKey], values: Sequence[float | str]) -> ColumnElement[bool]:
    """Give what comes after a row: equal in the first keys, beyond it in the next one."""
    beyond = []
    for number, (column, is_descending) in enumerate(keys):
        equal = [keys[before].column == values[before] for before in range(number)]
        beyond.append(and_(*equal, column < values[number] if is_descending else column > values[number]))
    return or_(*beyond)


class _Token(Record, frozen=True, kw_only=True):
    """Where a page ended. order: digest of the order, so that a token is not read under another one."""

    order: str
    values: list[int | float | str]
    odd: list[int]  # positions of values that JSON holds as text


def _write_token(order: Sequence[OrderKey], values: Sequence[Any]) -> str:
    odd = [place for place, value in enumerate(values) if isinstance(value, float) and not math.isfinite(value)]
    plain = [number_to_json(value) if isinstance(value, float) else value for value in values]
    token = _Token(order=_digest(order), values=plain, odd=odd)
    return base64.urlsafe_b64encode(to_json(token).encode()).decode().rstrip("=")


def _read_token(text: str, order: Sequence[OrderKey], count: int) -> list[int | float | str]:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
        values = [number_from_json(value) if place in token.odd else value for place, value in enumerate(token.values)]
    except (ValueError, KeyError, msgspec.DecodeError) as error:
        raise Misuse("this is not the token of a page", hint="give what the page before gave as `next`") from error
    if token.order != _digest(order) or len(values) != count:
        raise Misuse("this page's token is of another order", hint="read all pages under the same order")
    return values


def _digest(order: Sequence[OrderKey]) -> str:
    return hashlib.sha256(to_json(list(order)).encode()).hexdigest()[:16]


def _read(tx: Transaction, numbers: Sequence[int]) -> list[RunRecord]:
    found = {row[0]: to_record(row) for row in tx.rows(SELECT_RUNS.where(run.c.no.in_(numbers)))} if numbers else {}
    return [found[number] for number in numbers]
