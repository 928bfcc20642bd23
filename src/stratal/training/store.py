"""All SQL of this room: rows of checkpoints, and the takeover of a job's run."""

from sqlalchemy import bindparam, delete, select

from stratal.core.ids import to_bytes
from stratal.core.people import Role
from stratal.core.records import to_json
from stratal.store import leases
from stratal.store.database import Row, insert
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.tracking.store import runs as run_rows
from stratal.training.records import Checkpoint
from stratal.training.tables import checkpoint as t

_COLUMNS = (t.c.run, t.c.step, t.c.samples, t.c.seed, t.c.rows, t.c.mesh, t.c.world_size, t.c.epoch, t.c.digest, t.c.size_bytes, t.c.at_ns)
_NEW = insert(t)
_PUT = _NEW.on_conflict_do_update(
    index_elements=[t.c.run, t.c.step],
    set_={column.name: _NEW.excluded[column.name] for column in _COLUMNS if not column.primary_key},
)
_OF_RUN = select(*_COLUMNS).where(t.c.run == bindparam("of")).order_by(t.c.step.desc())
_FORGET = delete(t).where(t.c.run == bindparam("of"), t.c.step == bindparam("at"))


class CheckpointStore:
    """Checkpoints of runs. A checkpoint is visible once its row is there, and then its file is whole."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR)
    def add(self, *, checkpoint: Checkpoint, keep: int, token: int) -> list[Checkpoint]:
        """Make a checkpoint visible and forget all but the last `keep` of its run; gives those that are left.

        Raises StaleLease if the run was taken over.
        """
        with self._store.command(runs=[checkpoint.run]) as tx:
            leases.guard(tx, checkpoint.run, token)
            id = to_bytes(checkpoint.run)
            tx.run(
                _PUT,
                run=id,
                step=checkpoint.step,
                samples=checkpoint.samples,
                seed=str(checkpoint.seed),
                rows=checkpoint.rows,
                mesh=checkpoint.mesh,
                world_size=checkpoint.world_size,
                epoch=checkpoint.epoch,
                digest=checkpoint.digest,
                size_bytes=checkpoint.size_bytes,
                at_ns=tx.now_ns,
            )
            found = [_checkpoint(row) for row in tx.rows(_OF_RUN, of=id)]
            # What lies ahead was made by a generation that this one has replaced, and could not be read.
            ahead = sum(row.step > checkpoint.step for row in found)
            kept = found[ahead : ahead + keep]
            for old in found:
                if old not in kept:
                    tx.run(_FORGET, of=id, at=old.step)
            tx.emit("checkpoint", checkpoint.run, to_json({"step": checkpoint.step, "digest": checkpoint.digest}))
            return kept

    @operation(needs=Role.VIEWER)
    def checkpoints(self, *, run: str) -> list[Checkpoint]:
        """List a run's checkpoints, the last first. run: its whole id."""
        with self._store.query() as tx:
            return [_checkpoint(row) for row in tx.rows(_OF_RUN, of=to_bytes(run))]

    @operation(needs=Role.CONTRIBUTOR)
    def take_over(self, *, run: str, from_step: int | None, dead_holder: str | None, ttl_s: float) -> int:
        """Take a run's lease for this process and give its token; a lease of `dead_holder` counts as free.

        from_step: where work goes on; what was logged from there on is hidden. Raises Conflict if somebody else holds it.
        """
        with self._store.command(runs=[run]) as tx:
            lease = leases.read_lease(tx, run)
            if dead_holder is not None and lease.holder == dead_holder:
                leases.release(tx, run, lease.token)
            return run_rows.take_over(tx, self._store, run, ttl_s=ttl_s, from_step=from_step)

    @operation(needs=Role.VIEWER)
    def holder(self, *, run: str) -> str | None:
        """Say who holds a run's lease, if somebody does."""
        with self._store.query() as tx:
            return leases.read_lease(tx, run).holder


def _checkpoint(row: Row) -> Checkpoint:
    run, step, samples, seed, rows, mesh, world_size, epoch, digest, size_bytes, at_ns = row
    return Checkpoint(
        run=bytes(run).hex(),
        step=step,
        samples=samples,
        seed=int(seed),
        rows=rows,
        mesh=mesh,
        world_size=world_size,
        epoch=epoch,
        digest=digest,
        size_bytes=size_bytes,
        at_ns=at_ns,
    )
