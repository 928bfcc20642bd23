"""Groups of runs: the best few of each, and how a metric spreads over runs that differ only in their seed."""

import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from stratal.core.errors import Misuse
from stratal.store.database import Transaction
from stratal.store.store import Store
from stratal.tracking.directions import MAXIMIZE, UNKNOWN, UNSURE, agreed_direction
from stratal.tracking.operations.asking import Asked
from stratal.tracking.search import Key, parse_columns
from stratal.tracking.search.errors import nearest_stored
from stratal.tracking.search.evaluation import Value
from stratal.tracking.search.grammar import Column, Names
from stratal.tracking.selecting import Columns, read_table

_PERCENTS = (25, 50, 75)
_DIRECTED = re.compile(r"\b(asc|desc)\s*$", re.IGNORECASE)


def directed(by: str, names: Names) -> str:
    """Add the direction to what is measured, if definitions or its name say it."""
    columns = parse_columns(_DIRECTED.sub("", by), names=names)
    if len(columns) != 1 or columns[0].is_all:
        raise Misuse(f"{by!r} is not one thing to measure runs by", hint='for example by="metrics.auc desc"')
    if _DIRECTED.search(by):
        return by
    key = columns[0].key
    direction = agreed_direction(key.name, names.goals(key.name)) if key.entity == "metrics" else UNKNOWN
    if direction in UNSURE:
        near = _nearest(key, list(names.known()))
        raise Misuse(f"{UNSURE[direction]} which way {key} is better", hint=f'{near}say it: by="{key} desc", or "{key} asc"')
    return f"{by} desc" if direction == MAXIMIZE else by


def _nearest(key: Key, known: Sequence[str]) -> str:
    named = f"{key.entity}.{key.name}"
    return "" if key.entity == "attributes" or named in known else nearest_stored(named, known)


def first_of_groups(tx: Transaction, store: Store, asked: Asked, wanted: Sequence[Column], k: int) -> list[int]:
    numbers, _ = asked.numbers(tx, None)
    columns = read_table(tx, store, numbers, wanted, asked.living)
    measured = columns[wanted[-1].name]
    groups: dict[tuple[Value, ...], list[int]] = {}
    for at, (number, value) in enumerate(zip(numbers, measured, strict=True)):
        if value is not None and value == value:
            group = groups.setdefault(tuple(columns[column.name][at] for column in wanted[:-1]), [])
            if len(group) < k:
                group.append(number)
    return [number for group in groups.values() for number in group]


def spread_over(table: Columns, keys: Sequence[str], measured: Sequence[str]) -> Columns:
    groups: dict[tuple[Value, ...], list[int]] = {}
    for at in range(len(next(iter(table.values()), []))):
        groups.setdefault(tuple(table[name][at] for name in keys), []).append(at)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    found: Columns = {name: [group[at] for group, _ in ordered] for at, name in enumerate(keys)}
    found["runs"] = [len(members) for _, members in ordered]
    for name in measured:
        for statistic, compute in _STATISTICS.items():
            found[f"{statistic}({name})"] = [compute(_numbers(table[name], members)) for _, members in ordered]
    return found


def _numbers(column: Sequence[Value], members: Iterable[int]) -> "np.typing.NDArray[np.float64]":
    values = [column[at] for at in members]
    found = np.array([value for value in values if isinstance(value, int | float)], np.float64)
    return found[~np.isnan(found)]


Statistic = Callable[["np.typing.NDArray[np.float64]"], Value]


def _percentile(percent: int) -> Statistic:
    return lambda values: float(np.percentile(values, percent)) if len(values) else None


_STATISTICS: dict[str, Statistic] = {
    "n": len,
    "mean": lambda values: float(values.mean()) if len(values) else None,
    "std": lambda values: float(values.std(ddof=1)) if len(values) > 1 and math.isfinite(float(values.sum())) else None,
    "min": lambda values: float(values.min()) if len(values) else None,
    **{f"p{percent}": _percentile(percent) for percent in _PERCENTS},
    "max": lambda values: float(values.max()) if len(values) else None,
}


def is_apart(name: str, apart_from: Sequence[str]) -> bool:
    return name in apart_from or name.rpartition("/")[2] in apart_from


def check_no_stars(columns: Sequence[Column]) -> None:
    for column in columns:
        if column.is_all:
            raise Misuse(f"{column.name} is not one key", hint="name them one by one")


def check_measurable(columns: Sequence[Column]) -> None:
    if not columns:
        raise Misuse("no metric is named", hint='for example st.spread("metrics.auc")')
    for column in columns:
        if column.key.entity not in ("metrics", "params") and column.key != Key(entity="attributes", name="duration"):
            raise Misuse(f"{column.name} has no spread", hint="name metrics, params that are numbers, or duration")
