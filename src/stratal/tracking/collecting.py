"""Collecting garbage, as users ask for it."""

from stratal.store.collecting import EVENTS_KEPT, Collected
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.operations.upkeep import EVENTS_DAYS, GRACE_HOURS, Upkeep
from stratal.tracking.output import deliver_left

__all__ = ["EVENTS_DAYS", "EVENTS_KEPT", "GRACE_HOURS", "Collected", "gc"]


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
    writers, and may die at any moment. dry_run: only say what would go. At a server it is for admins of everything.
    """
    store = store or current_store()
    if not dry_run:
        deliver_left(store)
    return Upkeep(store).collect(dry_run=dry_run, grace_hours=grace_hours, events_days=events_days, events_kept=events_kept)
