"""Retention: old runs of an experiment are deleted by a rule, as somebody would by hand; what is marked, alive or needed stays."""

from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.operations.upkeep import KEEP, Retained, Upkeep

__all__ = ["KEEP", "Retained", "retain"]


def retain(
    experiment: str, *, days: float, keep_tag: str = KEEP, newest: int = 0, dry_run: bool = False, store: Store | None = None
) -> Retained:
    """Delete an experiment's runs that ended more than `days` ago, unless they are tagged, alive, or needed by others.

    keep_tag: runs with this tag stay, unless its value is empty, 0, false or no. newest: so many stay whatever their age. What forks, other
    runs or versions of models need stays, as do trials, steps and jobs. Deleted runs come back by `restore`, and go for good by `purge`.
    Raises NotFound if there is no such experiment. At a server it is for admins of the experiment.
    """
    return Upkeep(store or current_store()).retain(experiment=experiment, days=days, keep_tag=keep_tag, newest=newest, dry_run=dry_run)
