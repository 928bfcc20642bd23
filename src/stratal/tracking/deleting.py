"""Deleting runs, and bringing them back; purging them for good. Each is a command with an event that says who did it.

Laws (tested): 1 a deleted run is left out of searches, and comes back as it was. 2 only a deleted run can be purged. 3 nothing is
purged that forks, other runs or versions of models need, nor a run that is alive. 4 a purged run never rises again, whatever an old
journal brings. 5 blobs that others need too stay.
"""

from stratal.core.errors import Misuse
from stratal.core.ids import RunId
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.operations.deciding import Purged, RunDecisions
from stratal.tracking.operations.reading import RunReads

__all__ = ["Purged", "delete", "purge", "restore"]


def delete(ref: str, *, children: bool = False, store: Store | None = None) -> list[RunId]:
    """Delete a run, or all runs that an experiment has now; `restore` brings them back. Gives those that were not deleted before.

    children: also all runs that are part of them. They are left out of searches, but forks, lineage and refs still reach them.
    """
    store = store or current_store()
    return RunDecisions(store).delete(runs=RunReads(store).named(ref=ref, children=children))


def restore(ref: str, *, children: bool = False, store: Store | None = None) -> list[RunId]:
    """Bring back a deleted run, or all of an experiment. children: also all runs that are part of them. Gives those that came back."""
    store = store or current_store()
    return RunDecisions(store).restore(runs=RunReads(store).named(ref=ref, children=children))


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
    decisions = RunDecisions(store)
    if ref is not None:
        return decisions.purge(runs=RunReads(store).named(ref=ref, children=children), dry_run=dry_run)
    return decisions.purge_deleted(older_than_days=older_than_days or 0, dry_run=dry_run)
