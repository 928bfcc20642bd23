"""Deciding about runs: going on with one, deleting, bringing back and purging some. Each is one transaction."""

from collections.abc import Sequence

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Conflict, Misuse, Refused
from stratal.core.ids import RunId, short
from stratal.core.people import Role
from stratal.core.records import Record
from stratal.store.database import Transaction
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.tracking.operations.bounds import Days
from stratal.tracking.operations.forking import check_there
from stratal.tracking.output import remove_files
from stratal.tracking.store import deleting as stored
from stratal.tracking.store import runs as rows

# Runs of these kinds are rows of a room, too: a study without its trials, or a pipeline without its steps, would not add up.
_OF_ROOMS = {"trial": "a study", "study": "a study", "step": "a pipeline", "pipeline": "a pipeline", "job": "its checkpoints"}
_DAY_NS = 86_400 * SECOND_NS


class Resumed(Record, frozen=True, kw_only=True):
    """A run to go on with. epoch: in which; is_alive: other processes of it go on, too."""

    experiment: str
    kind: str
    epoch: int
    is_alive: bool


class Purged(Record, frozen=True, kw_only=True):
    """What a purge did, or would do: runs that are gone, and runs that stayed, with the reason."""

    runs: tuple[RunId, ...]
    kept: dict[RunId, str]


class RunDecisions:
    """Changes what is stored of runs. The process that asks joins what it goes on with."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="run")
    def resume(self, *, run: RunId) -> Resumed:
        """Go on with a run that has ended or lost its process, or join one that goes on. Raises Conflict if it is leased to somebody."""
        self._store.settle()
        with self._store.command(runs=[run]) as tx:
            record = rows.get_record(tx, run)
            check_there(record.id, record.deleted_ns)
            if record.holder is not None and (record.expires_ns or 0) > tx.now_ns:
                raise Conflict(f"run {short(run)} is leased to {record.holder}", hint="wait until it ends; its owner goes on with it")
            is_alive = record.status == "running" and rows.is_attended(tx, run, self._store.living())
            if is_alive:
                epoch = record.epoch
                rows.join(tx, self._store, run)
            else:
                epoch = rows.resume(tx, self._store, run)
        return Resumed(experiment=record.experiment, kind=record.kind, epoch=epoch, is_alive=is_alive)

    @operation(needs=Role.CONTRIBUTOR, on="runs")
    def delete(self, *, runs: list[RunId]) -> list[RunId]:
        """Delete runs. Gives those that were not deleted before."""
        with self._store.command() as tx:
            changed = [id for id in dict.fromkeys(runs) if stored.mark_deleted(tx, rows.get_record(tx, id).no)]
            tell(tx, "deleted", changed)
        return changed

    @operation(needs=Role.CONTRIBUTOR, on="runs")
    def restore(self, *, runs: list[RunId]) -> list[RunId]:
        """Bring back deleted runs. Gives those that came back."""
        with self._store.command() as tx:
            changed = [id for id in dict.fromkeys(runs) if stored.unmark_deleted(tx, rows.get_record(tx, id).no)]
            tell(tx, "restored", changed)
        return changed

    @operation(needs=Role.ADMIN, on="runs")
    def purge(self, *, runs: list[RunId], dry_run: bool = False) -> Purged:
        """Drop deleted runs for good. Raises Refused, and changes nothing, if one of them is needed, Misuse for a run that is not
        deleted, Conflict for one that is alive."""
        with self._store.command(runs=runs) as tx:
            _check_deleted(tx, runs)
            if kept := needed(self._store, tx, runs):
                raise _refused(kept)
            _purge(tx, [] if dry_run else runs)
        return self._purged(runs, kept, dry_run)

    @operation(needs=Role.ADMIN)
    def purge_deleted(self, *, older_than_days: Days, dry_run: bool = False) -> Purged:
        """Drop for good all runs that were deleted so long ago; what is needed stays."""
        self._store.settle()
        with self._store.command() as tx:
            ids = stored.deleted_before(tx, tx.now_ns - int(older_than_days * _DAY_NS))
            settler = self._store.settler
            settler.drain(tx, settler.participants(tx, [bytes.fromhex(id) for id in ids]))
            kept = needed(self._store, tx, ids)
            gone = [id for id in ids if id not in kept]
            _purge(tx, [] if dry_run else gone)
        return self._purged(gone, kept, dry_run)

    def _purged(self, gone: Sequence[RunId], kept: dict[RunId, str], dry_run: bool) -> Purged:
        for id in () if dry_run else gone:
            remove_files(self._store.folder, id)
        return Purged(runs=tuple(gone), kept=kept)


def _purge(tx: Transaction, ids: Sequence[RunId]) -> None:
    for id in ids:
        stored.purge_run(tx, id, rows.get_record(tx, id).no)
    tell(tx, "purged", ids)


def _check_deleted(tx: Transaction, ids: Sequence[RunId]) -> None:
    shown = [id for id in ids if rows.get_record(tx, id).deleted_ns is None]
    if shown:
        raise Misuse(
            f"{len(shown)} of {len(ids)} runs are not deleted: {_some(shown)}" if len(ids) > 1 else f"run {short(ids[0])} is not deleted",
            hint="delete first, and purge when nobody missed it: what is purged cannot come back",
        )


def needed(store: Store, tx: Transaction, ids: Sequence[RunId]) -> dict[RunId, str]:
    """Say which runs must stay, and why; a run that stays may need others, which then stay too."""
    living = store.living()
    kept: dict[RunId, str] = {}
    while True:
        going = {id for id in ids if id not in kept}
        more = {id: reason for id in ids if id in going and (reason := _reason(tx, id, going, living))}
        kept.update(more)
        if not more:
            return kept


def _reason(tx: Transaction, id: RunId, going: set[RunId], living: set[str]) -> str:
    record = rows.get_record(tx, id)
    if record.status == "running" and (not rows.may_be_lost(record, tx.now_ns) or rows.is_attended(tx, id, living)):
        return "it is still running"
    if record.kind in _OF_ROOMS:
        return f"it is a {record.kind}: {_OF_ROOMS[record.kind]} would not add up without it"
    return "; ".join(stored.needed_by(tx, id, record.no, besides=going)[:3])


def _refused(kept: dict[RunId, str]) -> Conflict | Refused:
    id, reason = next(iter(kept.items()))
    more = f" (and {len(kept) - 1} more runs are needed)" if len(kept) > 1 else ""
    kind = Conflict if reason == "it is still running" else Refused
    return kind(f"run {short(id)} cannot be purged: {reason}{more}", hint="nothing was purged; it can stay deleted, which hides it")


def tell(tx: Transaction, what: str, ids: Sequence[RunId]) -> None:
    """Tell who follows of each run that was changed."""
    for id in ids:
        tx.emit(what, f"run:{id}")


def _some(ids: Sequence[RunId]) -> str:
    return ", ".join(short(id) for id in ids[:3]) + (" ..." if len(ids) > 3 else "")
