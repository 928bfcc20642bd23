"""Deleting runs, and bringing them back; purging them for good. Each is a command with an event that says who did it.

Laws (tested): 1 a deleted run is left out of searches, and comes back as it was. 2 only a deleted run can be purged. 3 nothing is
purged that forks, other runs or versions of models need, nor a run that is alive. 4 a purged run never rises again, whatever an old
journal brings. 5 blobs that others need too stay.
"""

from collections.abc import Sequence

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Conflict, Misuse, NotFound, Refused
from stratal.core.ids import RunId, short
from stratal.core.records import Record
from stratal.store.database import Transaction
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.output import remove_files
from stratal.tracking.refs import parse_ref
from stratal.tracking.runs import find_id
from stratal.tracking.store import deleting as stored
from stratal.tracking.store import runs as rows

# Runs of these kinds are rows of a room, too: a study without its trials, or a pipeline without its steps, would not add up.
_OF_ROOMS = {"trial": "a study", "study": "a study", "step": "a pipeline", "pipeline": "a pipeline", "job": "its checkpoints"}
_ELSEWHERE = {
    "dataset": 'a version can: st.get("dataset:churn@3").delete(), stratal data delete dataset:churn@3',
    "model": "versions of models are archived: stratal promote model:churn@3 Archived",
}
_DAY_NS = 86_400 * SECOND_NS


class Purged(Record, frozen=True, kw_only=True):
    """What a purge did, or would do: runs that are gone, and runs that stayed, with the reason."""

    runs: tuple[RunId, ...]
    kept: dict[RunId, str]


def delete(ref: str, *, children: bool = False, store: Store | None = None) -> list[RunId]:
    """Delete a run, or all runs that an experiment has now; `restore` brings them back. Gives those that were not deleted before.

    children: also all runs that are part of them. They are left out of searches, but forks, lineage and refs still reach them.
    """
    store = store or current_store()
    store.settle()  # a run may stand in another process's journal only
    with store.command() as tx:
        ids = _named(store, tx, ref, children=children)
        changed = [id for id in ids if stored.mark_deleted(tx, rows.get_record(tx, id).no)]
        _tell(tx, "deleted", changed)
    return changed


def restore(ref: str, *, children: bool = False, store: Store | None = None) -> list[RunId]:
    """Bring back a deleted run, or all of an experiment. children: also all runs that are part of them. Gives those that came back."""
    store = store or current_store()
    store.settle()  # a run may stand in another process's journal only
    with store.command() as tx:
        ids = _named(store, tx, ref, children=children)
        changed = [id for id in ids if stored.unmark_deleted(tx, rows.get_record(tx, id).no)]
        _tell(tx, "restored", changed)
    return changed


def purge(
    ref: str | None = None,
    *,
    children: bool = False,
    older_than_days: float | None = None,
    dry_run: bool = False,
    store: Store | None = None,
) -> Purged:
    """Drop deleted runs for good: points, params, artifacts' rows; `stratal gc` then frees files that nobody else needs.

    ref: a run or an experiment; raises Refused, and changes nothing, if one of them is needed. older_than_days: instead, all runs
    that were deleted so long ago; what is needed stays. dry_run: only say what would go.
    Raises Misuse for a run that is not deleted, Conflict for one that is alive.
    """
    if (ref is None) == (older_than_days is None):
        raise Misuse(
            "a purge needs a run, an experiment, or an age",
            hint='write st.purge("run:7c41e09b") or st.purge(older_than_days=30); stratal purge 7c41e09b or --older-than 30',
        )
    store = store or current_store()
    store.settle()  # a run may stand in another process's journal only
    with store.command() as tx:
        if ref is not None:
            ids = _named(store, tx, ref, children=children)
            _check_deleted(tx, ids)
        else:
            ids = stored.deleted_before(tx, tx.now_ns - int((older_than_days or 0) * _DAY_NS))
        store.settler.drain(tx, store.settler.participants(tx, [bytes.fromhex(id) for id in ids]))
        kept = _needed(store, tx, ids)
        if ref is not None and kept:
            raise _refused(kept)
        gone = [id for id in ids if id not in kept]
        if not dry_run:
            for id in gone:
                stored.purge_run(tx, id, rows.get_record(tx, id).no)
            _tell(tx, "purged", gone)
    if not dry_run:
        for id in gone:
            remove_files(store.folder, id)
    return Purged(runs=tuple(gone), kept=kept)


def _named(store: Store, tx: Transaction, ref: str, *, children: bool) -> list[RunId]:
    parsed = parse_ref(ref, default_kind="run")
    if parsed.kind == "run":
        ids = [find_id(store, parsed.name, tx=tx)]
    elif parsed.kind == "experiment":
        ids = stored.runs_of_experiment(tx, parsed.name)
        if not ids:
            raise NotFound(f"there is no experiment {parsed.name!r} in this store", hint="`stratal runs` shows the experiments of all runs")
    else:
        raise Misuse(f"a {parsed.kind} cannot be deleted", hint=_ELSEWHERE.get(parsed.kind, "runs and experiments can"))
    return stored.with_descendants(tx, ids) if children else ids


def _check_deleted(tx: Transaction, ids: Sequence[RunId]) -> None:
    shown = [id for id in ids if rows.get_record(tx, id).deleted_ns is None]
    if shown:
        raise Misuse(
            f"{len(shown)} of {len(ids)} runs are not deleted: {_some(shown)}" if len(ids) > 1 else f"run {short(ids[0])} is not deleted",
            hint="delete first, and purge when nobody missed it: what is purged cannot come back",
        )


def _needed(store: Store, tx: Transaction, ids: Sequence[RunId]) -> dict[RunId, str]:
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
    if record.status == "running" and (not rows.may_be_lost(record, tx.now_ns) or living.intersection(rows.writers_of(tx, id))):
        return "it is still running"
    if record.kind in _OF_ROOMS:
        return f"it is a {record.kind}: {_OF_ROOMS[record.kind]} would not add up without it"
    return "; ".join(stored.needed_by(tx, id, record.no, besides=going)[:3])


def _refused(kept: dict[RunId, str]) -> Conflict | Refused:
    id, reason = next(iter(kept.items()))
    more = f" (and {len(kept) - 1} more runs are needed)" if len(kept) > 1 else ""
    kind = Conflict if reason == "it is still running" else Refused
    return kind(f"run {short(id)} cannot be purged: {reason}{more}", hint="nothing was purged; it can stay deleted, which hides it")


def _tell(tx: Transaction, what: str, ids: Sequence[RunId]) -> None:
    for id in ids:
        tx.emit(what, f"run:{id}")


def _some(ids: Sequence[RunId]) -> str:
    return ", ".join(short(id) for id in ids[:3]) + (" ..." if len(ids) > 3 else "")
