"""Rows of quotas: what was said, and beside it what is used."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import bindparam, delete, func, or_, select

from stratal.store.database import Transaction, insert
from stratal.store.quotas.rules import DEFAULT, Quota, Usage, limits
from stratal.store.quotas.tables import blob, quota, use

_SAID = select(quota.c.experiment, quota.c.most_bytes, quota.c.most_runs, quota.c.set_by, quota.c.at_ns)
_SAID_OF = _SAID.where(or_(quota.c.experiment == bindparam("of"), quota.c.experiment == DEFAULT))
_new = insert(quota).excluded
_SET = insert(quota).on_conflict_do_update(
    index_elements=["experiment"], set_={name: _new[name] for name in ("most_bytes", "most_runs", "set_by", "at_ns")}
)
_DROP = delete(quota).where(quota.c.experiment == bindparam("of"))
_USES = select(use.c.experiment, use.c.runs, use.c.size_bytes)
_WAITING = (
    select(blob.c.experiment, func.count(), func.sum(blob.c.size_bytes))
    .where(blob.c.is_waiting == 1, blob.c.runs > 0)
    .group_by(blob.c.experiment)
)
_USE = _USES.where(use.c.experiment == bindparam("of"))


def quotas_said(tx: Transaction, experiment: str | None = None) -> dict[str, Quota]:
    """Give what was said for an experiment and for all, by experiment; None: everything that was said."""
    rows = tx.rows(_SAID) if experiment is None else tx.rows(_SAID_OF, of=experiment)
    return {name: Quota(experiment=name, most_bytes=size, most_runs=runs, set_by=by, at_ns=at_ns) for name, size, runs, by, at_ns in rows}


def usage(tx: Transaction, experiment: str) -> Usage:
    """Give what an experiment holds and may hold."""
    _, runs, size = tx.row(_USE, of=experiment) or ("", 0, 0)
    return to_usage(experiment, runs, size, quotas_said(tx, experiment))


def usages(tx: Transaction) -> list[Usage]:
    """Give this of all experiments that hold something, or have a quota of their own, by name."""
    used, said = {str(name): (int(runs), int(size)) for name, runs, size in tx.rows(_USES)}, quotas_said(tx)
    waiting = {name: (count, int(size)) for name, count, size in tx.rows(_WAITING)}
    names = {name for name, each in used.items() if any(each)} | set(waiting) | set(said) - {DEFAULT}
    found = [to_usage(name, *used.get(name, (0, 0)), said) for name in sorted(names - {""})]
    return [
        msgspec.structs.replace(each, waiting_files=waiting[each.experiment][0], waiting_bytes=waiting[each.experiment][1])
        if each.experiment in waiting
        else each
        for each in found
    ]


def set_quota(tx: Transaction, experiment: str, most_bytes: int | None, most_runs: int | None) -> None:
    """Put a quota in place of the one that is there. Key: the experiment."""
    tx.run(_SET, experiment=experiment, most_bytes=most_bytes, most_runs=most_runs, set_by=tx.actor.name, at_ns=tx.now_ns)


def drop_quota(tx: Transaction, experiment: str) -> bool:
    """Take a quota away; False if there was none."""
    return tx.run(_DROP, of=experiment) == 1


def to_usage(experiment: str, runs: int, size: int, said: Mapping[str, Quota]) -> Usage:
    """Put what is held beside what may be."""
    most_bytes, most_runs = limits(experiment, said)
    return Usage(experiment=experiment, size_bytes=size, runs=runs, most_bytes=most_bytes, most_runs=most_runs, has_own=experiment in said)
