"""Upkeep: what an admin has done to a whole store, from wherever they are: examined, freed of garbage, thinned out by a rule."""

from typing import Annotated

from msgspec import Meta

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import RunId, short
from stratal.core.people import Role
from stratal.core.records import Record
from stratal.store.collecting import EVENTS_KEPT, Collected, collect
from stratal.store.examining import GOOD, NOTE, Check, examine
from stratal.store.operations import operation
from stratal.store.quotas.counting import count_anew, counted, wrong_counts
from stratal.store.quotas.rows import usages
from stratal.store.store import Store
from stratal.tracking.operations.bounds import Days
from stratal.tracking.operations.deciding import needed, tell
from stratal.tracking.operations.searching import RunSearch
from stratal.tracking.store import deleting as stored
from stratal.tracking.store import runs as rows
from stratal.tracking.store.quotas import sizes_said

# A file is saved milliseconds before the fact that names it; a step of a pipeline may save hours before its result is recorded.
GRACE_HOURS, EVENTS_DAYS = 24.0, 90.0
KEEP = "keep"
Hours = Annotated[float, Meta(ge=0, le=1e6)]
Whole = Annotated[int, Meta(ge=0, le=2**53)]
# Values of the tag that say that a run need not stay after all.
_NO = ("", "0", "false", "no")
_DAY_NS = 86_400 * SECOND_NS


class Retained(Record, frozen=True, kw_only=True):
    """What a rule did, or would do. deleted: runs that can be restored until they are purged; kept: old ones that stay, and why."""

    dry_run: bool
    deleted: tuple[RunId, ...]
    kept: dict[RunId, str]


class Upkeep:
    """Looks after one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.ADMIN, takes_long=True)
    def examine(self, *, deep: bool = False) -> list[Check]:
        """Examine the store where it lies. Mends nothing. deep: read each file, and compare it with its digest."""
        found = list(examine(self._store, deep=deep))
        if not any(check.name == "files" for check in found):
            return found  # it went no further than what is spoilt
        return [*found, self._check_lost(), self._check_quotas()]

    @operation(needs=Role.ADMIN, takes_long=True)
    def collect(
        self,
        *,
        dry_run: bool = False,
        grace_hours: Hours = GRACE_HOURS,
        events_days: Days = EVENTS_DAYS,
        events_kept: Whole = EVENTS_KEPT,
    ) -> Collected:
        """Free what nobody needs and was saved longer ago than `grace_hours`, and old events. dry_run: only say what would go."""
        return collect(self._store, grace_s=grace_hours * 3600, events_s=events_days * 86_400, events_kept=events_kept, dry_run=dry_run)

    @operation(needs=Role.ADMIN, on="experiment")
    def retain(self, *, experiment: str, days: Days, keep_tag: str = KEEP, newest: Whole = 0, dry_run: bool = False) -> Retained:
        """Delete an experiment's runs that ended more than `days` ago, unless they are tagged, alive, or needed by others.

        Raises NotFound if there is no such experiment."""
        if not 0 <= days < 36_500 or newest < 0:
            raise Misuse(
                f"{days} days and the newest {newest} are no rule", hint='write st.retain("churn", days=90, newest=10, dry_run=True)'
            )
        store = self._store
        store.settle()  # a run may stand in another process's journal only
        with store.command() as tx:
            ids = stored.runs_of_experiment(tx, experiment)
            if not ids:
                raise NotFound(
                    f"there is no experiment {experiment!r} in this store", hint="`stratal runs` shows the experiments of all runs"
                )
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

    def _check_lost(self) -> Check:
        lost = RunSearch(self._store).page(where="status = 'lost'", limit=1000).runs
        if not lost:
            return Check(name="runs", state=GOOD, says="each run has ended, or its process lives")
        count = f"{len(lost):,}" if len(lost) < 1000 else "1,000 or more"
        return Check(
            name="runs", state=NOTE, says=f"{count} runs never ended, and their processes are gone",
            details=tuple(f"run:{short(each.record.id)} of {each.record.experiment}" for each in lost[:10]),
            hint="resume them with st.run(resume=ID), or leave them: what they logged is there",
        )  # fmt: skip

    def _check_quotas(self) -> Check:
        with self._store.query() as tx:
            before, used = counted(tx), usages(tx)
            wrong = wrong_counts(count_anew(tx, sizes_said(tx)), before)
        if wrong:
            return Check(
                name="quotas", state=NOTE, says=f"what {len(wrong):,} experiments hold is not what their counters say",
                details=tuple(f"experiment:{name}" for name in wrong[:10]), hint="count anew: stratal quota recount",
            )  # fmt: skip
        over = [each for each in used if any(limit is not None and held > limit for _, held, limit in each.parts())]
        if over:
            return Check(
                name="quotas", state=NOTE, says=f"{len(over):,} experiments hold more than their quota",
                details=tuple(f"experiment:{each.experiment}" for each in over[:10]), hint="stratal quota list shows how much",
            )  # fmt: skip
        return Check(name="quotas", state=GOOD, says=f"the counters of {len(used):,} experiments are right")
