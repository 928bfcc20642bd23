"""Groups of runs: the best few of each, and how a metric spreads over runs that differ only in their seed."""

import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from stratal.core.errors import Misuse
from stratal.store.database import Transaction
from stratal.store.store import Store
from stratal.tracking.directions import MAXIMIZE, UNKNOWN, UNSURE, agreed_direction
from stratal.tracking.finding import Asked, ask, listed
from stratal.tracking.opening import current_store
from stratal.tracking.search import Key, parse_columns
from stratal.tracking.search.errors import nearest_stored
from stratal.tracking.search.grammar import Column, Names
from stratal.tracking.selecting import Columns, names_in, read_table, remarks_on
from stratal.tracking.table import Cell, RunTable

# Params that only say which draw a run was, when a group is made of all others.
SEEDS = ("seed", "random_seed", "random_state")
_PERCENTS = (25, 50, 75)
_DIRECTED = re.compile(r"\b(asc|desc)\s*$", re.IGNORECASE)


def top(
    by: str,
    *,
    where: str = "",
    k: int = 1,
    per: str | Sequence[str] = (),
    select: str | Sequence[str] = ("id", "name"),
    experiment: str | Sequence[str] | None = None,
    store: Store | None = None,
) -> RunTable:
    """Give the best `k` runs, of all or of each group: columns `per`, then `by`, then those of `select`.

    by: "metrics.auc desc", "min(metrics.loss)"; without asc or desc the goal that runs define says which way is better, else the name.
    per: keys whose values make a group, such as ["params.model"]. Runs that lack `by`, or have NaN there, are left out.
    Raises Misuse for what cannot be read, or where nobody knows which way is better."""
    store = store or current_store()
    if k < 1:
        raise Misuse(f"k = {k} is not possible", hint="give 1 or more")
    living = store.living()
    with store.query() as tx:
        order = _directed(by, names_in(tx, listed(experiment)))
        asked = ask(tx, where, experiment=experiment, order_by=order, living=living)
        measured = asked.order[0].key
        wanted = [*parse_columns(per, names=asked.names), Column(name=str(measured), key=measured)]
        _no_stars(wanted)
        chosen = _first_of_groups(tx, store, asked, wanted, k)
        columns = {column.name: column for column in [*wanted, *parse_columns(select, names=asked.names)]}
        return RunTable(read_table(tx, store, chosen, list(columns.values()), living), remarks=remarks_on(tx, asked.names.places))


def spread(
    of: str | Sequence[str],
    *,
    where: str = "",
    per: str | Sequence[str] | None = None,
    apart_from: Sequence[str] = SEEDS,
    experiment: str | Sequence[str] | None = None,
    store: Store | None = None,
) -> RunTable:
    """Say how metrics spread over the runs of each group: n, mean, std, min, p25, p50, p75, max. A row per group, most runs first.

    of: "metrics.auc", or several, or parts such as "max(metrics.auc)". per: keys that make a group; None: all params that the
    runs have, apart from `apart_from` (names, or last parts of nested ones), so that runs of one setting and many seeds meet.
    n counts numbers: NaN and missing are left out. std is of a sample (n - 1), None for one run; percentiles are interpolated."""
    store = store or current_store()
    living = store.living()
    with store.query() as tx:
        asked = ask(tx, where, experiment=experiment, living=living)
        measured = parse_columns(of, names=asked.names)
        _no_stars(measured)
        _all_metrics(measured)
        numbers, _ = asked.numbers(tx, None)
        grouping = parse_columns("params.*" if per is None else per, names=asked.names)
        table = read_table(tx, store, numbers, [*grouping, *measured], living)
        keys = [name for name in table if name not in {column.name for column in measured}]
        if per is None:
            keys = [name for name in keys if not _is_apart(name.removeprefix("params."), apart_from)]
        return RunTable(_spread(table, keys, [column.name for column in measured]), remarks=remarks_on(tx, asked.names.places))


def _directed(by: str, names: Names) -> str:
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


def _first_of_groups(tx: Transaction, store: Store, asked: Asked, wanted: Sequence[Column], k: int) -> list[int]:
    numbers, _ = asked.numbers(tx, None)
    columns = read_table(tx, store, numbers, wanted, asked.living)
    measured = columns[wanted[-1].name]
    groups: dict[tuple[Cell, ...], list[int]] = {}
    for at, (number, value) in enumerate(zip(numbers, measured, strict=True)):
        if value is not None and value == value:
            group = groups.setdefault(tuple(columns[column.name][at] for column in wanted[:-1]), [])
            if len(group) < k:
                group.append(number)
    return [number for group in groups.values() for number in group]


def _spread(table: Columns, keys: Sequence[str], measured: Sequence[str]) -> Columns:
    groups: dict[tuple[Cell, ...], list[int]] = {}
    for at in range(len(next(iter(table.values()), []))):
        groups.setdefault(tuple(table[name][at] for name in keys), []).append(at)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    found: Columns = {name: [group[at] for group, _ in ordered] for at, name in enumerate(keys)}
    found["runs"] = [len(members) for _, members in ordered]
    for name in measured:
        for statistic, compute in _STATISTICS.items():
            found[f"{statistic}({name})"] = [compute(_numbers(table[name], members)) for _, members in ordered]
    return found


def _numbers(column: Sequence[Cell], members: Iterable[int]) -> "np.typing.NDArray[np.float64]":
    values = [column[at] for at in members]
    found = np.array([value for value in values if isinstance(value, int | float)], np.float64)
    return found[~np.isnan(found)]


Statistic = Callable[["np.typing.NDArray[np.float64]"], Cell]


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


def _is_apart(name: str, apart_from: Sequence[str]) -> bool:
    return name in apart_from or name.rpartition("/")[2] in apart_from


def _no_stars(columns: Sequence[Column]) -> None:
    for column in columns:
        if column.is_all:
            raise Misuse(f"{column.name} is not one key", hint="name them one by one")


def _all_metrics(columns: Sequence[Column]) -> None:
    if not columns:
        raise Misuse("no metric is named", hint='for example st.spread("metrics.auc")')
    for column in columns:
        if column.key.entity not in ("metrics", "params") and column.key != Key(entity="attributes", name="duration"):
            raise Misuse(f"{column.name} has no spread", hint="name metrics, params that are numbers, or duration")
