"""Filters and orders over runs, as SQL: ids are picked and sorted first, documents read for one page only.

A statement is made once per shape of a question (shapes.py).
Each condition on a param, metric or tag is one set of runs out of a covering index. What a condition means is said in
`stratal.tracking.search.evaluation`; both are tested to agree.
"""

import base64
import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    Integer,
    Numeric,
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
from stratal.tracking.search.tree import Literal, speaks_of
from stratal.tracking.search.words import words_of
from stratal.tracking.store.dialects import among, bytewise, hex_text, is_there, json_text, matches
from stratal.tracking.store.runs import SELECT_RUNS, RunRecord, to_record
from stratal.tracking.store.seeing import seen_among
from stratal.tracking.store.shapes import Lifting, bound
from stratal.tracking.tables import Beginning, param, tag, word

MOST = 10_000  # runs of one page
# Runs above which a condition is common: counting so many entries of an index takes a quarter of a millisecond.
_COMMON = 1500
# Shapes of questions whose statements are kept; fewer than compiled ones, which are kept as long.
_MOST_SHAPES = 500
_TRUE: ColumnElement[bool] = true()
_STATUS = Key(entity="attributes", name="status")
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
    kind: "Kind | None" = None,
) -> Picked:
    """Find runs as `search_runs`, without reading them: out of the indexes alone where they give it. limit: None for all.

    kind: a search that knows more keys than ours does; it is of those experiments alone, whoever asks."""
    if limit is not None and limit < 1:
        raise Misuse(f"limit = {limit} is not possible", hint="give 1 or more, or None for all")
    token = None if page is None else _read_token(page, order)
    lifting = Lifting()
    asked = Asked(
        kind=kind or Searching,
        shape=lifting.condition(condition),
        order=tuple(order),
        experiments=_lifted(lifting, experiments if kind is not None else seen_among(tx, experiments)),
        after=None if token is None else token.lifted(lifting),
        limit=None if limit is None else lifting.literal(limit + 1),
    )
    asked = _planned(tx, asked, lifting.values)
    found: list[Row] = []
    if limit is not None and _can_lead(order, token):
        found = tx.rows(_statement(tx, asked._replace(leads=True), living), **lifting.values)
    if limit is None or len(found) <= limit:
        found = tx.rows(_statement(tx, asked, living), **lifting.values)
    chosen = found[:limit]
    following = _write_token(order, chosen[-1][1:]) if limit is not None and len(found) > limit else None
    return Picked(numbers=tuple(row[0] for row in chosen), next=following)


def count_runs(tx: Transaction, condition: Condition, *, experiments: Collection[str] | None = None, living: Collection[str] = ()) -> int:
    """Count the runs that a filter lets pass."""
    lifting = Lifting()
    shape = lifting.condition(condition)
    asked = Asked(kind=Searching, shape=shape, experiments=_lifted(lifting, seen_among(tx, experiments)), is_count=True)
    return int(tx.value(_statement(tx, asked, living), **lifting.values))


# What makes the statements of a question, out of it, the time, and the writers that live.
Kind = Callable[["Asked", int, Collection[str]], "Searching"]


class _After(NamedTuple):
    """Where the page before ended: marks of sort keys, of when the last run started, None if it did not, and of its id."""

    values: tuple[Literal, ...]
    started_ns: Literal | None
    id: str


class Asked(NamedTuple):
    """A question by its shape: all that its statements depend on. experiments: names, or the mark of the only one; None: all. is_count: it
    asks how many there are, for no page.

    leader: the place of a rare condition, whose entries of an index are gone through; looked_up: of those that are then looked up, one run
    after another. leads: look only at runs that have a number under the first key of the order, along its index. They come first in any
    case, so if they fill the page it is right, and the other runs were never touched."""

    kind: "Kind"
    shape: Condition
    order: tuple[OrderKey, ...] = ()
    experiments: tuple[str, ...] | None = None
    after: _After | None = None
    limit: Literal | None = None
    leader: int | None = None
    looked_up: tuple[int, ...] = ()
    leads: bool = False
    is_count: bool = False

    @property
    def parts(self) -> tuple[Condition, ...]:
        """Conditions that are joined by `and`."""
        return self.shape.parts if isinstance(self.shape, And) else (self.shape,)

    @property
    def is_of_now(self) -> bool:
        """Tell whether its statement changes with the time, and with who lives."""
        return speaks_of(self.shape, "status") or any(asked.key == _STATUS for asked in self.order)


def _lifted(lifting: Lifting, experiments: Collection[str] | None) -> tuple[str, ...] | None:
    if experiments is None:
        return None
    return (lifting.text(*experiments),) if len(experiments) == 1 else tuple(sorted(experiments))


def _planned(tx: Transaction, asked: Asked, values: Mapping[str, object]) -> Asked:
    """Choose how conditions that are joined by `and` are evaluated: along the index of the rarest, the others by look-ups; and by
    look-ups alone if none is rare, because then a page is full before many runs were looked at; by sets if all are wanted."""
    places = [
        place
        for place, part in enumerate(asked.parts)
        if isinstance(part, Compare | Between | In | Like) and part.key.entity in _STORED and part.key.part == "last"
    ]
    if not places:
        return asked
    counts = tx.row(_counts(asked.kind, tuple(asked.parts[place] for place in places), asked.experiments), **values) or ()
    rarest = min(zip(counts, places, strict=True), key=lambda pair: int(pair[0]))
    leader = rarest[1] if rarest[0] <= _COMMON else None
    if leader is None and asked.limit is None:
        return asked
    return asked._replace(leader=leader, looked_up=tuple(place for place in places if place != leader))


@lru_cache(maxsize=_MOST_SHAPES)
def _counts(kind: "Kind", parts: tuple[Condition, ...], experiments: tuple[str, ...] | None) -> Select[Any]:
    searching = kind(Asked(kind=kind, shape=And(parts=parts), experiments=experiments), 0, ())
    counts = select().add_columns(*(searching.count_of(part).label(f"n{at}") for at, part in enumerate(parts)))
    return counts.execution_options(**{PLANNED_ANEW: True})


def _statement(tx: Transaction, asked: Asked, living: Collection[str]) -> Select[Any]:
    return asked.kind(asked, tx.now_ns, living).statement() if asked.is_of_now else _kept(asked)


@lru_cache(maxsize=_MOST_SHAPES)
def _kept(asked: Asked) -> Select[Any]:
    return asked.kind(asked, 0, ()).statement()


class _SortKey(NamedTuple):
    """is_fixed: the same in all rows that are looked at, so nothing is sorted by it."""

    column: ColumnElement[Any]
    is_descending: bool = False
    is_fixed: bool = False


class Searching:
    """Makes the statements of one question."""

    def __init__(self, asked: Asked, now_ns: int, living: Collection[str]) -> None:
        """now_ns, living: what the status of a run depends on."""
        self._asked = asked
        self._now_ns = now_ns
        self._living = sorted(living)
        # The indexes lead with the experiment where there is only one to look at.
        self._only = asked.experiments[0] if asked.experiments is not None and len(asked.experiments) == 1 else None
        # By identity: a condition may be there twice.
        self._leader = None if asked.leader is None else asked.parts[asked.leader]
        self._led = None if self._leader is None else self._holding(self._leader).subquery("led")  # type: ignore[arg-type]  # it is on a key
        self._looked_up = [asked.parts[place] for place in asked.looked_up]

    def count_of(self, condition: Condition) -> ColumnElement[int]:
        """Count runs that a condition on a key holds for, up to what makes it common."""
        assert isinstance(condition, _OnKey)
        return select(func.count()).select_from(self._holding(condition).limit(_COMMON + 1).subquery()).scalar_subquery()

    def _holding(self, condition: _OnKey) -> Select[Any]:
        """Select the numbers of the runs that a condition on a param, metric or tag holds for; `is null` as `is not null`."""
        table, is_there, compare, text = _of_key(condition.key)
        holding = select(table.c.run).where(table.c.key == _key_id(condition.key.name))
        if _needs_presence(condition):
            holding = holding.where(is_there)
        if self._only is not None and "experiment" in table.c:
            holding = holding.where(table.c.experiment == bound(self._only))
        return holding if isinstance(condition, Null) else holding.where(holds(condition, compare, text))

    def statement(self) -> Select[Any]:
        """Select (no, id, started_ns, sort keys) of a page's runs; or count those that the filter lets pass."""
        return (self._count() if self._asked.is_count else self._page()).execution_options(**{PLANNED_ANEW: True})

    def _count(self) -> Select[Any]:
        return select(func.count()).select_from(run).where(self.shown(self._asked.shape), *self._of_experiments())

    def _page(self) -> Select[Any]:
        asked = self._asked
        keys, source = self._sort_keys()
        columns = (run.c.no, run.c.id, run.c.started_ns, *(key.column for key in keys))
        statement = select(*columns).select_from(source)
        statement = statement.where(self.shown(asked.shape), *self._of_experiments())
        if asked.after is not None:
            statement = statement.where(_beyond(keys, asked.after))
        sorted_by = [key.column.desc() if key.is_descending else key.column.asc() for key in keys if not key.is_fixed]
        # The last two as they are stored: without other keys the index of start times gives the page.
        statement = statement.order_by(*sorted_by, run.c.started_ns.desc().nulls_last(), run.c.id)
        return statement if asked.limit is None else statement.limit(bound(asked.limit))

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

    def _of_experiments(self) -> list[ColumnElement[bool]]:
        names = self._asked.experiments
        if names is None:
            return []
        return [run.c.experiment == bound(names[0]) if len(names) == 1 else run.c.experiment.in_(names)]

    def _sort_keys(self) -> tuple[list[_SortKey], FromClause]:
        """Give never-NULL columns whose order is the one asked for, and the tables that they are in."""
        keys: list[_SortKey] = []
        source: FromClause = run if self._led is None else run.join(self._led, self._led.c.run == run.c.no)
        for number, asked in enumerate(self._asked.order):
            if asked.key.entity == "attributes":
                keys += self._attribute_keys(asked)
                continue
            table = _STORED[asked.key.entity].table.alias(f"sorted_{number}")
            at = and_(table.c.run == run.c.no, table.c.key == _key_id(asked.key.name))
            if self._asked.leads and number == 0:
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
            found = holding.where(_of_key(condition.key).table.c.run == (run.c.no if self._led is None else self._led.c.run))
            return is_there(found.scalar_subquery())
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
        wanted = _ids(condition) if name in ("id", "parent") else None
        if wanted is not None:  # by index, not by digits
            return and_(run.c[name].is_not(None), run.c[name].in_([bytes.fromhex(id) for id in wanted]) if wanted else false())
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
                # As numbers without bounds: what a run says of its times may be centuries apart, more nanoseconds than 64 bits hold.
                return cast(cast(run.c.ended_ns, Numeric) - run.c.started_ns, Double) / float(SECOND_NS)
            case _:
                return self._status()

    def _status(self) -> ColumnElement[Any]:
        """The stored status; or lost: it never ended, nobody holds a lease that runs, and no writer of it lives, nor client of one."""
        mine = exists().where(participant.c.run == run.c.id, is_attended(participant.c.writer.in_(self._living), self._now_ns))
        is_lost = and_(run.c.status == "running", func.coalesce(run.c.expires_ns, 0) <= self._now_ns, not_(mine))
        return case((is_lost, literal("lost", Text())), else_=run.c.status)


def _ids(condition: Compare | Between | In | Like | Null) -> tuple[str, ...] | None:
    """Give the ids that a condition asks for, without what can be none; None if it asks for something else."""
    match condition:
        case Compare(op="=", value=value):
            wanted: tuple[Literal, ...] = (value,)
        case In(values=values, is_negated=False):
            wanted = values
        case _:
            return None
    return tuple(str(id) for id in wanted if is_id(str(id)))


def _compare_param(op: str, other: Literal) -> ColumnElement[bool]:
    """Compare: what is NULL is unequal to everything, and in no other relation."""
    c = param.c
    if isinstance(other, str):
        return _compare_text(c.txt, op, other)
    return or_(c.num.is_(None), c.num != bound(other)) if op == "!=" else and_(c.num.is_not(None), relation(c.num, op, other))


def _compare_metric(op: str, other: Literal) -> ColumnElement[bool]:
    c = metric.c
    return or_(c.is_nan == 1, c.value != bound(other)) if op == "!=" else relation(c.value, op, other)


def _compare_tag(op: str, other: Literal) -> ColumnElement[bool]:
    return _compare_text(tag.c.value, op, other)


def _compare_text(column: ColumnElement[str], op: str, other: Literal) -> ColumnElement[bool]:
    """Compare a text, by its index if it is not to be unequal: that may hold no more than its beginning."""
    if op == "!=" or not isinstance(other, str):
        return relation(column, op, other)
    begins = bytewise(Beginning(column)).bool_op({"<": "<=", ">": ">="}.get(op, op))(Beginning(bound(other)))
    return and_(begins, relation(column, op, other))


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
    }[op](bound(other))  # fmt: skip
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


def _key_id(name: str) -> ScalarSelect[int]:
    return select(key.c.id).where(key.c.name == name).scalar_subquery()


def _beyond(keys: Sequence[_SortKey], after: _After) -> ColumnElement[bool]:
    """Give what comes after a row: equal in the first keys, beyond it in the next one."""
    beyond = []
    equal: list[ColumnElement[bool]] = []
    for (column, is_descending, is_fixed), mark in zip(keys, after.values, strict=True):
        if not is_fixed:
            beyond.append(and_(*equal, column < bound(mark) if is_descending else column > bound(mark)))
            equal.append(column == bound(mark))
    started = run.c.started_ns
    if after.started_ns is not None:
        beyond.append(and_(*equal, or_(started < bound(after.started_ns), started.is_(None))))
    equal.append(started.is_(None) if after.started_ns is None else started == bound(after.started_ns))
    return or_(*beyond, and_(*equal, run.c.id > bound(after.id)))


class _Token(Record, frozen=True, kw_only=True):
    """Where a page ended. order: digest of the order, so that a token is not read under another one."""

    order: str
    id: str
    started_ns: int | None
    values: list[int | float | str]
    odd: list[int]  # positions of numbers that JSON holds as text

    def lifted(self, lifting: Lifting) -> _After:
        """Give its marks."""
        started_ns = None if self.started_ns is None else lifting.literal(self.started_ns)
        return _After(tuple(map(lifting.literal, self.numbers())), started_ns, lifting.text(bytes.fromhex(self.id)))

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
