"""Selecting: from the numbers of runs and the columns that were asked for to a table."""

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from stratal.core.ids import to_bytes
from stratal.core.records import from_json
from stratal.store.database import Transaction
from stratal.store.reading import Snapshot
from stratal.store.store import Store
from stratal.tracking.definitions import definition_of
from stratal.tracking.directions import MAXIMIZE, MINIMIZE
from stratal.tracking.facts import MetricDefinition
from stratal.tracking.search import ATTRIBUTES
from stratal.tracking.search.errors import nearest_stored
from stratal.tracking.search.evaluation import Value
from stratal.tracking.search.grammar import Column, Names, Place
from stratal.tracking.search.tree import TIME
from stratal.tracking.store import columns as stored
from stratal.tracking.store.seeing import seen_runs

# Times are nanoseconds here; whoever shows them makes them datetimes.
Columns = dict[str, list[Value]]


def times_among(columns: Sequence[Column]) -> list[str]:
    """Give the names of the columns that hold times."""
    return [column.name for column in columns if column.key.entity == "attributes" and ATTRIBUTES[column.key.name] == TIME]


def read_table(tx: Transaction, store: Store, numbers: Sequence[int], columns: Sequence[Column], living: Collection[str]) -> Columns:
    """Read the columns of runs. Cost: what is named; a step of the best value reads that series of each run."""
    table: Columns = {}
    named = [column.key.name for column in columns if column.key.entity == "attributes"]
    attributes = dict(zip(named, stored.attribute_columns(tx, numbers, named, living), strict=True))
    for column in columns:
        key = column.key
        if key.entity == "attributes":
            table[column.name] = _seen_parents(tx, attributes["parent"]) if key.name == "parent" else attributes[key.name]
        elif column.is_all:
            table.update({f"{key.entity}.{name}": list(values) for name, values in stored.all_columns(tx, numbers, key.entity).items()})
        elif key.part.endswith("_step"):
            table[column.name] = []  # in its place; the series are read after the database
        else:
            table[column.name] = list(stored.key_column(tx, numbers, key))
    waiting = [column for column in columns if column.key.part.endswith("_step")]
    if waiting and numbers:
        ids = stored.ids_of(tx, numbers)
        with store.snapshot() as snapshot:
            for column in waiting:
                table[column.name] = [_extreme_step(snapshot, id, column) for id in ids]
    return table


def _seen_parents(tx: Transaction, ids: list[Value]) -> list[Value]:
    """Leave out the runs that may not be seen."""
    seen = None if tx.sees is None else seen_runs(tx, [str(id) for id in ids if id])
    return ids if seen is None else [id if id in seen else None for id in ids]


def remarks_on(tx: Transaction, places: Iterable[Place]) -> list[str]:
    """Say of keys that no run has where they were named, and what was probably meant. Nothing in a store without runs."""
    remarks = []
    known: list[str] | None = None
    for key, text, at in places:
        if key.name == "*" or stored.is_known(tx, key):
            continue
        known = stored.known_keys(tx) if known is None else known
        if known:
            near = nearest_stored(f"{key.entity}.{key.name}", known) or nearest_stored(key.name, known)
            remarks.append(f"no run has {key.entity}.{key.name}{': ' + near.strip() if near else ''}\n    {text}\n    {' ' * at}^")
    return remarks


def names_in(tx: Transaction, experiments: Collection[str] | None = None) -> Names:
    """Give what tells a parser, once it needs to know, which keys the store has, and which goals runs define. experiments: of these."""
    return Names(lambda: stored.known_keys(tx), lambda metric: _goals(stored.definitions_of(tx, metric, experiments), metric))


def _goals(documents: Iterable[str], metric: str) -> set[str]:
    found = (definition_of(metric, from_json(document, dict[str, MetricDefinition])) for document in documents)
    return {MINIMIZE if said.goal == "minimize" else MAXIMIZE for said in found if said is not None and said.goal is not None}


def _extreme_step(snapshot: Snapshot, id: bytes, column: Column) -> int | None:
    points = snapshot.series(to_bytes(id.hex()), column.key.name)
    finite = np.isfinite(points.values)
    if not finite.any():
        return None
    worst = math.inf if column.key.part == "min_step" else -math.inf
    values = np.where(finite, points.values, worst)
    return int(points.steps[np.argmin(values) if column.key.part == "min_step" else np.argmax(values)])
