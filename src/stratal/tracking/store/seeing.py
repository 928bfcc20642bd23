"""Who sees what: statements over runs, without the runs of experiments that the reader of a transaction may not see."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Select, bindparam, select

from stratal.core.ids import to_bytes
from stratal.store.database import Transaction
from stratal.store.tables import run
from stratal.tracking.store.dialects import among_texts

_EXPERIMENT = select(run.c.experiment).where(run.c.id == bindparam("run_id"))


def experiments_of(tx: Transaction, runs: Iterable[str]) -> frozenset[str]:
    """Give the experiments of runs, by their whole ids: whoever decides about the runs needs a role on each. Runs that are not there
    have none. Raises Misuse for what is no id."""
    return frozenset(str(tx.value(_EXPERIMENT, run_id=id)) for id in map(to_bytes, runs) if tx.row(_EXPERIMENT, run_id=id) is not None)


def seen(tx: Transaction, statement: Select[Any]) -> Select[Any]:
    """Give a statement over `run` that leaves out what may not be seen: itself, where all may be."""
    return statement if tx.sees is None else statement.where(among_texts(run.c.experiment, tx.sees))


def seen_runs(tx: Transaction, runs: Iterable[str]) -> frozenset[str]:
    """Give those of some runs, by their whole ids, that may be seen."""
    return frozenset(id for id in frozenset(runs) if tx.row(seen(tx, _EXPERIMENT), run_id=to_bytes(id)) is not None)


def seen_among(tx: Transaction, experiments: Collection[str] | None) -> Collection[str] | None:
    """Give those of some experiments (None: all) that may be seen; None where that is no limit."""
    if tx.sees is None:
        return experiments
    return tx.sees if experiments is None else tx.sees.intersection(experiments)
