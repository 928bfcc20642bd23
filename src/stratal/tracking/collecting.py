"""Collecting garbage, as users ask for it."""

from stratal.store.collecting import EVENTS_KEPT, Collected, collect
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.output import deliver_left

__all__ = ["EVENTS_KEPT", "Collected", "gc"]

# A file is saved milliseconds before the fact that names it; a step of a pipeline may save hours before its result is recorded.
GRACE_HOURS, EVENTS_DAYS = 24.0, 90.0


def gc(
    *,
    dry_run: bool = False,
    grace_hours: float = GRACE_HOURS,
    events_days: float = EVENTS_DAYS,
    events_kept: int = EVENTS_KEPT,
    store: Store | None = None,
) -> Collected:
    """Free what nobody needs: files that no run, dataset, model or result names, leftovers of dead processes, dead journals, old events.

    grace_hours: nothing that was saved or used within them is taken; keep it longer than a step of a pipeline takes. Safe beside
    writers, and may die at any moment. dry_run: only say what would go.
    """
    store = store or current_store()
    if not dry_run:
        deliver_left(store)
    return collect(store, grace_s=grace_hours * 3600, events_s=events_days * 86_400, events_kept=events_kept, dry_run=dry_run)
