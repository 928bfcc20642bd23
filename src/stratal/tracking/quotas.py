"""Quotas, as users ask for them: how many runs, and bytes of files, an experiment may hold at a server."""

from stratal.store.quotas.rules import UNLIMITED, OverQuota, Quota, Usage
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.operations.quotas import Quotas, QuotaStore, Recounted

__all__ = ["UNLIMITED", "OverQuota", "Quota", "Quotas", "Recounted", "Usage", "quotas", "recount_quotas", "remove_quota", "set_quota"]


def quotas(*, store: Store | None = None) -> Quotas:
    """List what experiments hold, and may hold."""
    return QuotaStore(store or current_store()).quotas()


def set_quota(experiment: str = "*", *, most_bytes: int | None = None, most_runs: int | None = None, store: Store | None = None) -> Quota:
    """Set how much an experiment may hold, by default: each that has no quota of its own. None: as it was; UNLIMITED: no limit.

    What is there stays. At a server new runs and new files are refused from then on, and wait where they were logged; points, params
    and all else of a run that goes on never are.
    """
    return QuotaStore(store or current_store()).set_quota(experiment=experiment, most_bytes=most_bytes, most_runs=most_runs)


def remove_quota(experiment: str = "*", *, store: Store | None = None) -> None:
    """Take a quota away; the default counts. Raises NotFound if there is none."""
    QuotaStore(store or current_store()).remove_quota(experiment=experiment)


def recount_quotas(*, store: Store | None = None) -> Recounted:
    """Count anew what experiments hold, as `stratal doctor` advises where counters are wrong."""
    return QuotaStore(store or current_store()).recount()
