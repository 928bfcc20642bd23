"""Forking: what a run at a step hands on, and runs that go on from one."""

import msgspec

from stratal.core.errors import Misuse
from stratal.core.ids import RunId, short
from stratal.core.people import Role
from stratal.core.records import Record
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.tracking.facts import Scalar, Start
from stratal.tracking.operations.bounds import Whole, check_start
from stratal.tracking.store import forks
from stratal.tracking.store import runs as rows


class Origin(Record, frozen=True, kw_only=True):
    """A run at a step, and what a fork of it inherits by value."""

    id: RunId
    step: int
    experiment: str
    kind: str
    group: str
    job_type: str
    params: dict[str, Scalar]
    tags: dict[str, str]


class RunForks:
    """Makes runs that share another one's points. Whoever forks must be able to see where it goes on from."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.VIEWER, is_scoped=True)
    def origin(self, *, run: RunId, step: Whole) -> Origin:
        """Read what a fork of a run would inherit. Raises NotFound, or Misuse for a run from which nothing can go on."""
        with self._store.query() as tx:
            record = rows.get_record(tx, run)
            params, tags = forks.said_of(tx, record)
        check_there(record.id, record.deleted_ns)
        if record.started_ns is None:
            raise Misuse(f"run {short(run)} has not said how it began, so nothing can go on from it", hint="wait for its journal to arrive")
        group, job_type = (str(record.doc.get(name, "")) for name in ("group", "job_type"))
        return Origin(
            id=record.id, step=step, experiment=record.experiment, kind=record.kind, group=group, job_type=job_type, params=params,
            tags=tags,
        )  # fmt: skip

    @operation(needs=Role.CONTRIBUTOR, on="experiment")
    def fork(self, *, experiment: str, start: Start, origin: RunId, step: Whole, is_open: bool) -> RunId:
        """Make a run that goes on from another one's points before a step. is_open: the process that asks writes to it from now on;
        else it waits, stopped, for somebody to resume it."""
        with self._store.command(runs=[origin]) as tx:
            start = msgspec.structs.replace(start, experiment=experiment, user=tx.actor.name)
            check_start(start)
            return forks.insert_fork(tx, self._store, start, origin, step, is_open=is_open)


def check_there(id: RunId, deleted_ns: int | None) -> None:
    """Raise Misuse for a run that was deleted."""
    if deleted_ns is not None:
        raise Misuse(f"run {short(id)} was deleted", hint=f"bring it back first: stratal restore {short(id)}")
