"""Retention: old runs of an experiment are deleted by a rule, as somebody would by hand; what is marked, alive or needed stays."""

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import RunId
from stratal.core.records import Record
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.operations.deciding import needed, tell
from stratal.tracking.store import deleting as stored
from stratal.tracking.store import runs as rows

KEEP = "keep"
# Values of the tag that say that a run need not stay after all.
_NO = ("", "0", "false", "no")
_DAY_NS = 86_400 * SECOND_NS


class Retained(Record, frozen=True, kw_only=True):
    """What a rule did, or would do. deleted: runs that can be restored until they are purged; kept: old ones that stay, and why."""

    dry_run: bool
    deleted: tuple[RunId, ...]
    kept: dict[RunId, str]


def retain(
    experiment: str, *, days: float, keep_tag: str = KEEP, newest: int = 0, dry_run: bool = False, store: Store | None = None
) -> Retained:
    """Delete an experiment's runs that ended more than `days` ago, unless they are tagged, alive, or needed by others.

    keep_tag: runs with this tag stay, unless its value is empty, 0, false or no. newest: so many stay whatever their age. What forks, other
    runs or versions of models need stays, as do trials, steps and jobs. Deleted runs come back by `restore`, and go for good by `purge`.
    Raises NotFound if there is no such experiment.
    """
    if not 0 <= days < 36_500 or newest < 0:
        raise Misuse(f"{days} days and the newest {newest} are no rule", hint='write st.retain("churn", days=90, newest=10, dry_run=True)')
    store = store or current_store()
    store.settle()  # a run may stand in another process's journal only
    with store.command() as tx:
        ids = stored.runs_of_experiment(tx, experiment)
        if not ids:
            raise NotFound(f"there is no experiment {experiment!r} in this store", hint="`stratal runs` shows the experiments of all runs")
        store.settler.drain(tx, store.settler.participants(tx, [bytes.fromhex(id) for id in ids]))
        before_ns, kept = tx.now_ns - int(days * _DAY_NS), {}
        records = [record for record in (rows.get_record(tx, id) for id in ids) if record.deleted_ns is None]
        records.sort(key=lambda record: record.started_ns or 0, reverse=True)
        old = [record for record in records[newest:] if (record.ended_ns or record.started_ns or tx.now_ns) < before_ns]
        for record in old:
            if str(record.doc.get("tags", {}).get(keep_tag, "")).lower() not in _NO:  # type: ignore[attr-defined]  # a document's tags are a map
                kept[record.id] = f"it has the tag {keep_tag}"
        going = [record for record in old if record.id not in kept]
        kept.update(needed(store, tx, [record.id for record in going]))
        gone = [record for record in going if record.id not in kept]
        if not dry_run:
            tell(tx, "deleted", [record.id for record in gone if stored.mark_deleted(tx, record.no)])
    return Retained(dry_run=dry_run, deleted=tuple(record.id for record in gone), kept=kept)
