"""All SQL of interop: marks of imports, the run that a foreign id stands for, and names of metrics."""

from collections.abc import Iterable
from typing import cast

from sqlalchemy import bindparam, select, update

from stratal.core.errors import Conflict
from stratal.core.ids import RunId, to_bytes
from stratal.core.records import to_json
from stratal.interop.batches import Mark
from stratal.interop.foreign import ForeignId
from stratal.interop.tables import import_mark as t
from stratal.interop.tables import mlflow_experiment as experiment
from stratal.store.database import Transaction, insert
from stratal.store.tables import key, run
from stratal.tracking.store.dialects import among
from stratal.tracking.store.runs import ids_ending_with

_MARK = select(t.c.place, t.c.digest, t.c.frames, t.c.counts, t.c.run).where(t.c.writer == bindparam("of_writer"))
_ADD = insert(t).on_conflict_do_nothing()
_MOVE = (
    update(t)
    .where(t.c.writer == bindparam("of_writer"), t.c.place == bindparam("old_place"))
    .values({name: bindparam(f"new_{name}") for name in ("name", "place", "digest", "frames", "counts", "at_ns", "sender")})
)
_GONE = (
    select(experiment.c.deleted_ns).join_from(run, experiment, experiment.c.name == run.c.experiment).where(run.c.no == bindparam("run_no"))
)
_NAMES = select(key.c.id, key.c.name).where(among(key.c.id, bindparam("ids")))
_BEGUN = select(run.c.started_ns).where(run.c.id == bindparam("run_id"))


def find_mark(tx: Transaction, writer: str) -> Mark:
    """Give how far a source has been imported."""
    row = tx.row(_MARK, of_writer=writer)
    if row is None:
        return Mark()
    place, digest, frames, counts, run_id = row
    return Mark(place=place, digest=digest, frames=frames, counts=counts, run=bytes(run_id).hex())


def move_mark(tx: Transaction, writer: str, old: Mark, new: Mark, *, tool: str, name: str) -> None:
    """Move a mark on. Raises Conflict if another import of the same source was faster."""
    values = {
        "name": name, "place": new.place, "digest": new.digest, "frames": new.frames, "counts": new.counts, "at_ns": tx.now_ns,
        "sender": tx.actor.name,
    }  # fmt: skip
    if old.place == 0:
        changed = tx.run(_ADD, writer=writer, tool=tool, run=to_bytes(new.run), **values)
    else:
        changed = tx.run(_MOVE, of_writer=writer, old_place=old.place, **{f"new_{key}": value for key, value in values.items()})
    if changed != 1:
        raise Conflict(
            f"another import of {name} is under way", hint="wait until it has ended, then import again: only what is new is added"
        )


def run_of(tx: Transaction, foreign: ForeignId) -> RunId:
    """Give the run that a foreign id stands for, by its digest; its start time leads the id of one that is new."""
    return next(iter(ids_ending_with(tx, foreign.digest)), foreign.new_id())


def has_begun(tx: Transaction, run_id: str) -> bool:
    """Tell whether the start of a run was said."""
    return tx.value(_BEGUN, run_id=to_bytes(run_id)) is not None


def experiment_deleted(tx: Transaction, no: int) -> int | None:
    """Tell when the experiment of a run was deleted, None if it is not."""
    return cast("int | None", tx.value(_GONE, run_no=no))


def names_of(tx: Transaction, keys: Iterable[int]) -> dict[int, str]:
    """Give the names of metrics by their keys."""
    wanted = list(keys)
    return dict(tx.rows(_NAMES, ids=to_json(wanted))) if wanted else {}
