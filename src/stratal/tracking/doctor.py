"""The doctor: what may be wrong with a store, and what to do."""

from stratal.core.ids import short
from stratal.store.examining import BAD, GOOD, NOTE, Check, examine
from stratal.store.quotas.counting import count_anew, counted, wrong_counts
from stratal.store.quotas.rows import usages
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import current_store
from stratal.tracking.store.quotas import sizes_said

__all__ = ["BAD", "GOOD", "NOTE", "Check", "doctor"]


def doctor(*, deep: bool = False, store: Store | None = None) -> list[Check]:
    """Examine a store that lies on this machine: database, journals, files, disk, clock, runs that were lost. Mends nothing.

    deep: read each file, and compare it with its digest.
    """
    opened = store or current_store()
    found = list(examine(opened, deep=deep))
    if not any(check.name == "garbage" for check in found):
        return found  # it went no further than what is spoilt
    return [*found, _check_lost(opened), _check_quotas(opened)]


def _check_lost(store: Store) -> Check:
    lost = find_runs("status = 'lost'", limit=1000, store=store)
    if not lost:
        return Check(name="runs", state=GOOD, says="each run has ended, or its process lives")
    count = f"{len(lost):,}" if len(lost) < 1000 else "1,000 or more"
    return Check(
        name="runs", state=NOTE, says=f"{count} runs never ended, and their processes are gone",
        details=tuple(f"run:{short(run.id)} of {run.experiment}" for run in lost[:10]),
        hint="resume them with st.run(resume=ID), or leave them: what they logged is there",
    )  # fmt: skip


def _check_quotas(store: Store) -> Check:
    with store.query() as tx:
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
