"""Leasing: runs that only one process may write to. Whoever asks holds the lease, and its writer joins the run."""

import msgspec

from stratal.core.ids import RunId
from stratal.core.people import Role
from stratal.core.records import Record
from stratal.store.admitting import admitted
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.tracking.facts import Start
from stratal.tracking.operations.bounds import Seconds, Whole, check_end, check_start
from stratal.tracking.store import runs as rows


class Taken(Record, frozen=True, kw_only=True):
    """A run whose lease was taken. token: what each guarded command names."""

    run: RunId
    experiment: str
    kind: str
    token: int


class RunLeases:
    """Takes, holds and gives back leases. Whoever names an old token is told so by StaleLease."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="experiment")
    def start_leased(self, *, experiment: str, start: Start, ttl_s: Seconds) -> Taken:
        """Start a run, and hold it for ttl_s seconds."""
        with self._store.command() as tx:
            start = msgspec.structs.replace(start, experiment=experiment, user=tx.actor.name)
            check_start(start)
            run, token = rows.insert_leased(tx, self._store, start, ttl_s=ttl_s)
        return Taken(run=run, experiment=experiment, kind=start.kind, token=token)

    @operation(needs=Role.CONTRIBUTOR, on="run")
    def claim_leased(self, *, run: RunId, from_step: Whole | None, ttl_s: Seconds) -> Taken:
        """Take over a run whose lease is free or has run out. from_step: where work goes on; later points are hidden.

        Raises Conflict if somebody holds it, NotFound if there is no such run."""
        with self._store.command(runs=[run]) as tx:
            record = rows.get_record(tx, run)
            token = rows.take_over(tx, self._store, record.id, ttl_s=ttl_s, from_step=from_step)
        return Taken(run=record.id, experiment=record.experiment, kind=record.kind, token=token)

    @operation(needs=Role.CONTRIBUTOR, on="run")
    def renew_lease(self, *, run: RunId, token: Whole, ttl_s: Seconds) -> None:
        """Hold a lease for another ttl_s seconds."""
        # Not `command`, which waits for settling: what a lease says depends on no journal.
        with self._store.database.write(self._store.actor()) as tx:
            rows.renew(admitted(tx), run, token, ttl_s)

    @operation(needs=Role.CONTRIBUTOR, on="run")
    def end_leased(self, *, run: RunId, token: Whole, status: str, error: str = "") -> None:
        """End a leased run, and give the lease back. error: what a failed one died of."""
        check_end(status)
        with self._store.command(runs=[run]) as tx:
            rows.end_leased(tx, run, token, status, error=error)
