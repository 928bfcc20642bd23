"""The doctor: what may be wrong with a store, and what to do."""

from stratal.core.ids import short
from stratal.store.examining import BAD, GOOD, NOTE, Check, examine
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import current_store

__all__ = ["BAD", "GOOD", "NOTE", "Check", "doctor"]


def doctor(*, deep: bool = False, store: Store | None = None) -> list[Check]:
    """Examine a store that lies on this machine: database, journals, files, disk, clock, runs that were lost. Mends nothing.

    deep: read each file, and compare it with its digest.
    """
    opened = store or current_store()
    found = list(examine(opened, deep=deep))
    if not any(check.name == "garbage" for check in found):
        return found  # it went no further than what is spoilt
    return [*found, _check_lost(opened)]


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
