"""Columns of tables of runs: for the runs of a page, only what was named is read. And which keys a store has."""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, bindparam, exists, select

from stratal.core.records import to_json
from stratal.store.database import Row, Transaction
from stratal.store.tables import deletion, key, metric, run
from stratal.tracking.search import And, Key
from stratal.tracking.search.evaluation import Value
from stratal.tracking.store.dialects import among, json_text
from stratal.tracking.store.search import PART_COLUMNS, Asked, Searching
from stratal.tracking.store.seeing import seen, seen_among
from stratal.tracking.tables import param, tag

_TABLES: dict[str, FromClause] = {"params": param, "metrics": metric, "tags": tag}
_VALUES: dict[str, tuple[Any, ...]] = {
    "params": (param.c.num, param.c.txt),
    "metrics": (metric.c.value, metric.c.is_nan, metric.c.low, metric.c.high, metric.c.step, metric.c.points),
    "tags": (tag.c.value,),
}


def _of_key(entity: str) -> Select[Any]:
    c = _TABLES[entity].c
    # The key by its id, looked up before: beside a subquery for it, SQLite reads the whole index of the key.
    return select(c.run, *_VALUES[entity]).where(c.key == bindparam("key_id"), among(c.run, bindparam("numbers")))


def _of_all(entity: str) -> Select[Any]:
    table = _TABLES[entity]
    return (
        select(table.c.run, key.c.name, *_VALUES[entity])
        .join_from(table, key, key.c.id == table.c.key)
        .where(among(table.c.run, bindparam("numbers")))
    )


_OF_KEY = {entity: _of_key(entity) for entity in _TABLES}
_OF_ALL = {entity: _of_all(entity) for entity in _TABLES}
_KEYS = select(key.c.name).order_by(key.c.name).limit(5000)
_NAMED = select(key.c.id).where(key.c.name == bindparam("key_name"))
_USED = {entity: exists().where(table.c.key == key.c.id) for entity, table in _TABLES.items()}
_KNOWN = {entity: _KEYS.where(used) for entity, used in _USED.items()}
_IS_KNOWN = {entity: _NAMED.where(used) for entity, used in _USED.items()}
_KEY = select(key.c.id).where(key.c.name == bindparam("key_name"))
# The newest runs are asked: what a metric means is said anew by each, and a store may hold a hundred thousand.
_MOST_DEFINING = 1000
_IDS = select(run.c.no, run.c.id).where(among(run.c.no, bindparam("numbers")))


def known_keys(tx: Transaction) -> list[str]:
    """List the keys that runs have, as params.lr, metrics.auc, tags.team; at most 5,000 of each."""
    found = _KNOWN if tx.sees is None else {entity: _KEYS.where(_seen_in(tx, entity)) for entity in _TABLES}
    return [f"{entity}.{name}" for entity, statement in found.items() for (name,) in tx.rows(statement)]


def is_known(tx: Transaction, asked: Key) -> bool:
    """Tell whether any run has a key."""
    if asked.entity == "attributes":
        return True
    found = _IS_KNOWN[asked.entity] if tx.sees is None else _NAMED.where(_seen_in(tx, asked.entity))
    return tx.value(found, key_name=asked.name) is not None


def definitions_of(tx: Transaction, name: str, experiments: Collection[str] | None) -> list[str]:
    """Give the definitions of metrics, as JSON, of the newest thousand runs that have a metric; deleted ones are left out."""
    id, experiments = tx.value(_KEY, key_name=name), seen_among(tx, experiments)
    newest = select(metric.c.run).where(metric.c.key == id, metric.c.run.not_in(select(deletion.c.run)))
    if experiments is not None:
        newest = newest.where(metric.c.experiment.in_(sorted(experiments)))
    newest = newest.order_by(metric.c.run.desc()).limit(_MOST_DEFINING)
    said = json_text(run.c.doc, "definitions")
    return [document for (document,) in tx.rows(select(said).where(run.c.no.in_(newest), said.is_not(None)))]


def ids_of(tx: Transaction, numbers: Sequence[int]) -> list[bytes]:
    """Give the ids of runs, in the order of the numbers."""
    found = {no: bytes(id) for no, id in tx.rows(_IDS, numbers=to_json(list(numbers)))}
    return [found[no] for no in numbers]


def attribute_columns(tx: Transaction, numbers: Sequence[int], names: Sequence[str], living: Collection[str]) -> list[list[Value]]:
    """Read attributes, one list per name: texts, times in nanoseconds, seconds."""
    if not names:
        return []
    searching = Searching(Asked(kind=Searching, shape=And()), tx.now_ns, living)
    statement = select(run.c.no, *(searching.column(name) for name in names)).where(among(run.c.no, bindparam("numbers")))
    found = {row[0]: row[1:] for row in tx.rows(statement, numbers=to_json(list(numbers)))}
    return [[found[no][at] for no in numbers] for at in range(len(names))]


def key_column(tx: Transaction, numbers: Sequence[int], asked: Key) -> list[Value]:
    """Read one param, tag, or part of a metric."""
    found = {row[0]: _value(asked.entity, asked.part, row[1:]) for row in _rows_of(tx, numbers, asked)}
    return [found.get(no) for no in numbers]


def all_columns(tx: Transaction, numbers: Sequence[int], entity: str) -> dict[str, list[Value]]:
    """Read all params, last values or tags that these runs have, by name."""
    at = {no: place for place, no in enumerate(numbers)}
    found: dict[str, list[Value]] = {}
    for no, name, *values in tx.rows(_OF_ALL[entity], numbers=to_json(list(numbers))):
        column = found.get(name)
        if column is None:
            column = found[name] = [None] * len(numbers)
        column[at[no]] = _value(entity, "last", values)
    return {name: found[name] for name in sorted(found)}


def _seen_in(tx: Transaction, entity: str) -> ColumnElement[bool]:
    """A run that may be seen has the key."""
    table = _TABLES[entity]
    return exists(seen(tx, select(run.c.no).where(run.c.no == table.c.run, table.c.key == key.c.id)))


def _rows_of(tx: Transaction, numbers: Sequence[int], asked: Key) -> Iterable[Row]:
    id = tx.value(_KEY, key_name=asked.name)
    return [] if id is None else tx.rows(_OF_KEY[asked.entity], key_id=id, numbers=to_json(list(numbers)))


_PARTS = [column.name for column in _VALUES["metrics"]]


def _value(entity: str, part: str, values: Sequence[Any]) -> Value:
    if entity == "tags":
        return str(values[0]) if values[0] is not None else None
    if entity == "params":
        return param_value(*values)
    if part != "last":
        found: Value = values[_PARTS.index(PART_COLUMNS[part])]
        return found
    return math.nan if values[1] else float(values[0])


def param_value(number: float | None, text: str | None) -> Value:
    """Give a param back from its number and text. A text that is written as a number is that number, 'nan' is NaN."""
    if number is None:
        return math.nan if text == "nan" else text  # one object: groups of NaN stay together
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text or "")
    except ValueError:
        return number
