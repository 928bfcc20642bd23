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
    Integer,
    ScalarSelect,
    Select,
    Table,
    Text,
    and_,
    bindparam,
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
from stratal.store.database import Row, Transaction
from stratal.store.relays import is_attended
from stratal.store.statements import PLANNED_ANEW
from stratal.store.tables import deletion, key, metric, participant, run
from stratal.tracking.search import And, Between, Compare, Condition, Contains, In, Key, Like, Not, Null, Or, OrderKey
from stratal.tracking.search.evaluation import param_text
from stratal.tracking.search.tree import Literal, speaks_of
from stratal.tracking.search.words import words_of
from stratal.tracking.store.dialects import among, bytewise, hex_text, json_text, matches
from stratal.tracking.store.runs import SELECT_RUNS, RunRecord, to_record
from stratal.tracking.store.seeing import seen_among
from stratal.tracking.tables import param, tag, word

MOST = 10_000  # runs of one page
# Runs above which a condition is common: counting so many entries of an index takes a quarter of a millisecond.
_COMMON = 1500
_TRUE: ColumnElement[bool] = true()
_NUMBER, _TEXT, _NAN, _MISSING = range(4)  # ranks of what is sorted
_LAST = "\U0010ffff"  # sorts after any letter
_READ = SELECT_RUNS.where(among(run.c.no, bindparam("numbers")))
PART_COLUMNS = {"min": "low", "max": "high", "step": "step", "points": "points"}


_OnKey = Compare | Between | In | Like | Null


class Page(Record, frozen=True, kw_only=True):
    """Runs of one page in order, and the token of the next one; None on the last."""

    runs: tuple[RunRecord, ...]
    next: str | None


class Picked(Record, frozen=True, kw_only=True):
    """Numbers of the runs of one page in order, and the token of the next one; None on the last."""

    numbers: tuple[int, ...]
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
    picked = pick_runs(tx, condition, order, experiments=experiments, living=living, limit=limit, page=page)
    return Page(runs=tuple(_read(tx, picked.numbers)), next=picked.next)


def pick_runs(
    tx: Transaction,
    condition: Condition,
    order: Sequence[OrderKey],
    *,
    experiments: Collection[str] | None = None,
    living: Collection[str] = (),
    limit: int | None = 100,
    page: str | None = None,
    searching: "Searching | None" = None,
) -> Picked:
    """Find runs as `search_runs`, without reading them: out of the indexes alone where they give it. limit: None for all.

    searching: one that knows more keys than ours do."""
    if limit is not None and limit < 1:
        raise Misuse(f"limit = {limit} is not possible", hint="give 1 or more, or None for all")
    searching = searching or Searching(tx.now_ns, living, seen_among(tx, experiments))
    token = None if page is None else _read_token(page, order)
    searching.plan(tx, condition, is_whole=limit is None)
    if limit is None:
        return Picked(numbers=tuple(row[0] for row in tx.rows(searching.page(condition, order, token, leads=False))), next=None)
    found: list[Row] = []
    if _can_lead(order, token):
        found = tx.rows(searching.page(condition, order, token, leads=True).limit(limit + 1))
    if len(found) <= limit:
        found = tx.rows(searching.page(condition, order, token, leads=False).limit(limit + 1))
    chosen = found[:limit]
    following = _write_token(order, chosen[-1][1:]) if len(found) > limit else None
    return Picked(numbers=tuple(row[0] for row in chosen), next=following)


def count_runs(tx: Transaction, condition: Condition, *, experiments: Collection[str] | None = None, living: Collection[str] = ()) -> int:
    """Count the runs that a filter lets pass."""
    experiments = seen_among(tx, experiments)
    searching = Searching(tx.now_ns, living, experiments)
    counted = select(func.count()).select_from(run).where(searching.shown(condition), *_of(experiments))
    return int(tx.value(counted.execution_options(**{PLANNED_ANEW: True})))


class _SortKey(NamedTuple):
    """is_fixed: the same in all rows that are looked at, so nothing is sorted by it."""

    column: ColumnElement[Any]
    is_descending: bool = False
    is_fixed: bool = False


class Searching:
    """One search: what it compares, and the tables that its order joins."""

    def __init__(self, now_ns: int, living: Collection[str], experiments: Collection[str] | None) -> None:
        self._now_ns = now_ns
        self._living = sorted(living)
        self._experiments = experiments
        # The indexes lead with the experiment where there is only one to look at.
        self._only = next(iter(experiments)) if experiments is not None and len(experiments) == 1 else None
        # A rare condition, whose entries of an index are gone through; and those that are then looked up, one run after another.
        # By identity: 1 equals true, but means something else in a filter.
        self._leader: Condition | None = None
        self._led: FromClause | None = None
        self._looked_up: list[Condition] = []

    def plan(self, tx: Transaction, condition: Condition, *, is_whole: bool) -> None:
        """Choose how conditions that are joined by `and` are evaluated: along the index of the rarest, the others by look-ups; and by
        look-ups alone if none is rare, because then a page is full before many runs were looked at; by sets if all are wanted."""
        parts = [
            part
            for part in (condition.parts if isinstance(condition, And) else (condition,))
            if isinstance(part, Compare | Between | In | Like) and part.key.entity in _STORED and part.key.part == "last"
        ]
        if not parts:
            return
        counts = tx.row(select(*(self._count(part).label(f"n{at}") for at, part in enumerate(parts))))
        rarest = min(zip(counts or (), parts, strict=True), key=lambda pair: int(pair[0]))
        if rarest[0] > _COMMON and is_whole:
            return
        if rarest[0] <= _COMMON:
            self._leader = rarest[1]
            self._led = self._holding(rarest[1]).subquery("led")
        self._looked_up = [part for part in parts if part is not self._leader]

    def _count(self, condition: _OnKey) -> ColumnElement[int]:
        """Count runs that a condition holds for, up to what makes it common."""
        return select(func.count()).select_from(self._holding(condition).limit(_COMMON + 1).subquery()).scalar_subquery()

    def _holding(self, condition: _OnKey) -> Select[Any]:
        """Select the numbers of the runs that a condition on a param, metric or tag holds for; `is null` as `is not null`."""
        table, is_there, compare, text = _of_key(condition.key)
        holding = select(table.c.run).where(table.c.key == _key_id(condition.key.name))
        if _needs_presence(condition):
            holding = holding.where(is_there)
        if self._only is not None and "experiment" in table.c:
            holding = holding.where(table.c.experiment == self._only)
        return holding if isinstance(condition, Null) else holding.where(holds(condition, compare, text))

    def page(self, condition: Condition, order: Sequence[OrderKey], token: "_Token | None", *, leads: bool) -> Select[Any]:
        """Select (no, id, started_ns, sort keys) of a page's runs.

        leads: look only at runs that have a number under the first key, along its index. They come first in any case, so if
        they fill the page it is right, and the other runs were never touched."""
        keys, source = self._sort_keys(order, leads)
        columns = (run.c.no, run.c.id, run.c.started_ns, *(key.column for key in keys))
        statement = select(*columns).select_from(source).execution_options(**{PLANNED_ANEW: True})
        statement = statement.where(self.shown(condition), *_of(self._experiments))
        if token is not None:
            statement = statement.where(_after(keys, token))
        sorted_by = [key.column.desc() if key.is_descending else key.column.asc() for key in keys if not key.is_fixed]
        # The last two as they are stored: without other keys the index of start times gives the page.
        return statement.order_by(*sorted_by, run.c.started_ns.desc().nulls_last(), run.c.id)

    def shown(self, condition: Condition) -> ColumnElement[bool]:
        """Give the condition; runs that were deleted pass only a filter that speaks of it."""
        wanted = self.condition(condition)
        return wanted if speaks_of(condition, "deleted") else and_(wanted, run.c.no.not_in(select(deletion.c.run)))

    def condition(self, condition: Condition) -> ColumnElement[bool]:
        match condition:
            case And(parts=parts):
                return and_(_TRUE, *(self.condition(part) for part in parts))
            case Or(parts=parts):
                return or_(false(), *(self.condition(part) for part in parts))
            case Not(part=part):
                return not_(self.condition(part))
            case _ if condition is self._leader:
                return _TRUE
            case Contains():
                return self._contains(condition)
            case _ if condition.key.entity == "attributes":
                return self._attribute(condition)
            case _:
                return self._stored(condition)

    def _sort_keys(self, order: Sequence[OrderKey], leads: bool) -> tuple[list[_SortKey], FromClause]:
        """Give never-NULL columns whose order is the one asked for, and the tables that they are in."""
        keys: list[_SortKey] = []
        source: FromClause = run if self._led is None else run.join(self._led, self._led.c.run == run.c.no)
        for number, asked in enumerate(order):
            if asked.key.entity == "attributes":
                keys += self._attribute_keys(asked)
                continue
            table = _STORED[asked.key.entity].table.alias(f"sorted_{number}")
            at = and_(table.c.run == run.c.no, table.c.key == _key_id(asked.key.name))
            if leads and number == 0:
                source = source.join(table, and_(at, _number_of(asked, table).is_not(None)))
                keys += _leading_keys(asked, table)
            else:
                source = source.outerjoin(table, at)
                keys += _stored_keys(asked, table)
        return keys, source

    def _attribute_keys(self, asked: OrderKey) -> list[_SortKey]:
        column = self.column(asked.key.name)
        is_text = isinstance(column.type, Text)
        rank = case((column.is_(None), _MISSING), else_=_TEXT if is_text else _NUMBER)
        value = func.coalesce(bytewise(column), "") if is_text else func.coalesce(column, 0)
        return [_SortKey(rank), _SortKey(value, asked.is_descending)]

    def _stored(self, condition: Compare | Between | In | Like | Null) -> ColumnElement[bool]:
        """Compile a condition on a param, metric or tag: the run is in the set of those that have it so. Where the run is looked at
        anyway, whether it has it so is one look-up by its number, and the set need not be made."""
        holding = self._holding(condition)
        if any(part is condition for part in self._looked_up):
            return exists(holding.where(_of_key(condition.key).table.c.run == (run.c.no if self._led is None else self._led.c.run)))
        within = run.c.no.in_(holding)
        return not_(within) if isinstance(condition, Null) and not condition.is_negated else within

    def _contains(self, condition: Contains) -> ColumnElement[bool]:
        """Compile a search for words: a range of the index for each, because it may be a beginning."""
        held = bytewise(word.c.word)
        begun = (
            run.c.no.in_(select(word.c.run).where(held >= beginning, held < beginning + _LAST)) for beginning in words_of(condition.words)
        )
        found = and_(_TRUE, *begun)
        return not_(found) if condition.is_negated else found

    def _attribute(self, condition: Compare | Between | In | Like | Null) -> ColumnElement[bool]:
        name = condition.key.name
        wanted = _ids(condition) if name in ("id", "parent") else ()
        if wanted:  # by index, not by digits
            return and_(run.c[name].is_not(None), run.c[name].in_([bytes.fromhex(id) for id in wanted]))
        value = self.column(name)
        if isinstance(condition, Null):
            return value.is_not(None) if condition.is_negated else value.is_(None)
        return and_(value.is_not(None), holds(condition, lambda op, other: relation(value, op, other), value))

    def column(self, name: str) -> ColumnElement[Any]:
        match name:
            case "id" | "parent":
                return hex_text(run.c[name])
            case "name" | "user" | "group" | "job_type":
                return func.nullif(json_text(run.c.doc, name), "", type_=Text())
            case "experiment" | "kind":
                return func.nullif(run.c[name], "", type_=Text())
            case "started" | "ended":
                return run.c[f"{name}_ns"]
            case "deleted":
                return select(deletion.c.at_ns).where(deletion.c.run == run.c.no).scalar_subquery()
            case "duration":
                return cast(run.c.ended_ns - run.c.started_ns, Double) / float(SECOND_NS)
            case _:
                return self._status()

    def _status(self) -> ColumnElement[Any]:
        """The stored status; or lost: it never ended, nobody holds a lease that runs, and no writer of it lives, nor client of one."""
        mine = exists().where(participant.c.run == run.c.id, is_attended(participant.c.writer.in_(self._living), self._now_ns))
        is_lost = and_(run.c.status == "running", func.coalesce(run.c.expires_ns, 0) <= self._now_ns, not_(mine))
        return case((is_lost, literal("lost", Text())), else_=run.c.status)


def _ids(condition: Compare | Between | In | Like | Null) -> tuple[str, ...]:
    """Give the ids that a condition asks for, if it asks for whole ids only."""
    match condition:
        case Compare(op="=", value=value):
            wanted: tuple[Literal, ...] = (value,)
        case In(values=values, is_negated=False):
            wanted = values
        case _:
            return ()
    return tuple(str(id) for id in wanted) if all(is_id(str(id)) for id in wanted) else ()


def _compare_param(op: str, other: Literal) -> ColumnElement[bool]:
    """Compare: what is NULL is unequal to everything, and in no other relation."""
    c = param.c
    if isinstance(other, bool | str):
        return relation(c.txt, op, param_text(other))
    return or_(c.num.is_(None), c.num != other) if op == "!=" else and_(c.num.is_not(None), relation(c.num, op, other))


def _compare_metric(op: str, other: Literal) -> ColumnElement[bool]:
    c = metric.c
    return or_(c.is_nan == 1, c.value != other) if op == "!=" else relation(c.value, op, other)


def _compare_tag(op: str, other: Literal) -> ColumnElement[bool]:
    return relation(tag.c.value, op, other)


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


def _of_key(asked: Key) -> _Stored:
    """Give where the values of a key lie; of a metric also smallest, largest, last step, number of points."""
    if asked.part == "last":
        return _STORED[asked.entity]
    column = metric.c[PART_COLUMNS[asked.part]]
    return _Stored(metric, column.is_not(None), lambda op, other: relation(column, op, other), cast(column, Text))


def holds(
    condition: Compare | Between | In | Like, compare: Callable[[str, Literal], ColumnElement[bool]], text: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Compile a condition on a value. compare: how it is compared; text: the value as a text, for patterns."""
    match condition:
        case Compare(op=op, value=value):
            return compare(op, value)
        case Between(low=low, high=high, is_negated=True):
            return or_(compare("<", low), compare(">", high))
        case Between(low=low, high=high):
            return and_(compare(">=", low), compare("<=", high))
        case In(values=values, is_negated=is_negated):
            return and_(*(compare("!=", value) for value in values)) if is_negated else or_(*(compare("=", value) for value in values))
        case Like(pattern=pattern, has_case=has_case, is_negated=is_negated):
            matching = matches(text, pattern, has_case=has_case)
            return not_(matching) if is_negated else matching


def relation(column: ColumnElement[Any], op: str, other: Literal) -> ColumnElement[bool]:
    """Compare a column with a value; texts byte by byte."""
    if isinstance(other, str):
        column = bytewise(column)
    related: ColumnElement[bool] = {
        "=": column.__eq__, "!=": column.__ne__, "<": column.__lt__, "<=": column.__le__, ">": column.__gt__, ">=": column.__ge__,
    }[op](other)  # fmt: skip
    return related


def _needs_presence(condition: Compare | Between | In | Like | Null) -> bool:
    """Tell whether a condition may hold for NULL: then what was taken away must be told apart, which not every index can."""
    match condition:
        case Null():
            return True
        case Compare(op=op):
            return op == "!="
        case In(is_negated=is_negated) | Like(is_negated=is_negated):
            return is_negated
        case Between():
            return False


def _can_lead(order: Sequence[OrderKey], token: "_Token | None") -> bool:
    """Tell whether the first key has numbers in an index, and the page may still lie among them."""
    is_indexed = bool(order) and order[0].key.entity in ("metrics", "params") and order[0].key.part == "last"
    return is_indexed and (token is None or token.values[:1] == [_NUMBER])


def _number_of(asked: OrderKey, joined: FromClause) -> ColumnElement[float]:
    return joined.c.value if asked.key.entity == "metrics" else joined.c.num


def _leading_keys(asked: OrderKey, joined: FromClause) -> list[_SortKey]:
    """Give the keys of `_stored_keys` for runs that have a number there: the number as it is stored, for its index."""
    keys = [_SortKey(literal(_NUMBER, Integer()), is_fixed=True), _SortKey(_number_of(asked, joined), asked.is_descending)]
    return keys if asked.key.entity == "metrics" else [*keys, _SortKey(literal("", Text()), asked.is_descending, is_fixed=True)]


def _stored_keys(asked: OrderKey, joined: FromClause) -> list[_SortKey]:
    """Give rank, number and text of a stored value; numbers come before texts, NaN after them, missing last."""
    c, down = joined.c, asked.is_descending
    if asked.key.part != "last":
        value = c[PART_COLUMNS[asked.key.part]]
        return [_SortKey(case((value.is_(None), _MISSING), else_=_NUMBER)), _SortKey(func.coalesce(value, 0), down)]
    if asked.key.entity == "metrics":
        rank = case((c.run.is_(None), _MISSING), (c.is_nan == 1, _NAN), else_=_NUMBER)
        return [_SortKey(rank), _SortKey(func.coalesce(c.value, 0.0), down)]
    if asked.key.entity == "tags":
        rank = case((c.value.is_(None), _MISSING), else_=_TEXT)
        return [_SortKey(rank), _SortKey(bytewise(func.coalesce(c.value, "")), down)]
    is_nan = and_(c.num.is_(None), c.txt == "nan")
    rank = case((c.txt.is_(None), _MISSING), (c.num.is_not(None), _NUMBER), (is_nan, _NAN), else_=_TEXT)
    text = case((c.num.is_(None), c.txt), else_="")
    return [_SortKey(rank), _SortKey(func.coalesce(c.num, 0.0), down), _SortKey(bytewise(func.coalesce(text, "")), down)]


def _of(experiments: Collection[str] | None) -> list[ColumnElement[bool]]:
    if experiments is None:
        return []
    names = sorted(experiments)
    return [run.c.experiment == names[0] if len(names) == 1 else run.c.experiment.in_(names)]


def _key_id(name: str) -> ScalarSelect[int]:
    return select(key.c.id).where(key.c.name == name).scalar_subquery()


def _after(keys: Sequence[_SortKey], token: "_Token") -> ColumnElement[bool]:
    """Give what comes after a row: equal in the first keys, beyond it in the next one."""
    beyond = []
    equal: list[ColumnElement[bool]] = []
    for (column, is_descending, is_fixed), value in zip(keys, token.numbers(), strict=True):
        if not is_fixed:
            beyond.append(and_(*equal, column < value if is_descending else column > value))
            equal.append(column == value)
    started = run.c.started_ns
    if token.started_ns is not None:
        beyond.append(and_(*equal, or_(started < token.started_ns, started.is_(None))))
    equal.append(started.is_(None) if token.started_ns is None else started == token.started_ns)
    return or_(*beyond, and_(*equal, run.c.id > bytes.fromhex(token.id)))


class _Token(Record, frozen=True, kw_only=True):
    """Where a page ended. order: digest of the order, so that a token is not read under another one."""

    order: str
    id: str
    started_ns: int | None
    values: list[int | float | str]
    odd: list[int]  # positions of numbers that JSON holds as text

    def numbers(self) -> list[int | float | str]:
        return [number_from_json(value) if place in self.odd else value for place, value in enumerate(self.values)]


def _write_token(order: Sequence[OrderKey], row: Sequence[Any]) -> str:
    id, started_ns, *values = row
    odd = [place for place, value in enumerate(values) if isinstance(value, float) and not math.isfinite(value)]
    plain = [number_to_json(value) if isinstance(value, float) else value for value in values]
    token = _Token(order=_digest(order), id=bytes(id).hex(), started_ns=started_ns, values=plain, odd=odd)
    return base64.urlsafe_b64encode(to_json(token).encode()).decode().rstrip("=")


def _read_token(text: str, order: Sequence[OrderKey]) -> _Token:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
        count = sum(3 if key.key.entity == "params" else 2 for key in order)
        is_whole = is_id(token.id) and len(token.numbers()) == count
    except (ValueError, KeyError, TypeError, msgspec.DecodeError) as error:
        raise Misuse("this is not the token of a page", hint="give what the page before gave as `next`") from error
    if not is_whole or token.order != _digest(order):
        raise Misuse("this page's token is of another order", hint="read all pages under the same order")
    return token


def _digest(order: Sequence[OrderKey]) -> str:
    return hashlib.sha256(to_json(list(order)).encode()).hexdigest()[:16]


def _read(tx: Transaction, numbers: Sequence[int]) -> list[RunRecord]:
    found = {row[0]: to_record(row) for row in tx.rows(_READ, numbers=to_json(list(numbers)))} if numbers else {}
    return [found[number] for number in numbers]
