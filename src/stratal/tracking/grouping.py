"""Groups of runs: the best few of each, and how a metric spreads over runs that differ only in their seed."""

from collections.abc import Sequence

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.answering import listed, table_of, texts
from stratal.tracking.opening import current_store
from stratal.tracking.operations.searching import RunSearch
from stratal.tracking.table import RunTable

# Params that only say which draw a run was, when a group is made of all others.
SEEDS = ("seed", "random_seed", "random_state")


def top(
    by: str,
    *,
    where: str = "",
    k: int = 1,
    per: str | Sequence[str] = (),
    select: str | Sequence[str] = ("id", "name"),
    experiment: str | Sequence[str] | None = None,
    store: Store | None = None,
) -> RunTable:
    """Give the best `k` runs, of all or of each group: columns `per`, then `by`, then those of `select`.

    by: "metrics.auc desc", "min(metrics.loss)"; without asc or desc the goal that runs define says which way is better, else the name.
    per: keys whose values make a group, such as ["params.model"]. Runs that lack `by`, or have NaN there, are left out.
    Raises Misuse for what cannot be read, or where nobody knows which way is better."""
    store = store or current_store()
    if k < 1:
        raise Misuse(f"k = {k} is not possible", hint="give 1 or more")
    found = RunSearch(store).top(by=by, where=where, k=k, per=texts(per), select=texts(select), experiments=listed(experiment))
    return table_of(found)


def spread(
    of: str | Sequence[str],
    *,
    where: str = "",
    per: str | Sequence[str] | None = None,
    apart_from: Sequence[str] = SEEDS,
    experiment: str | Sequence[str] | None = None,
    store: Store | None = None,
) -> RunTable:
    """Say how metrics spread over the runs of each group: n, mean, std, min, p25, p50, p75, max. A row per group, most runs first.

    of: "metrics.auc", or several, or parts such as "max(metrics.auc)". per: keys that make a group; None: all params that the
    runs have, apart from `apart_from` (names, or last parts of nested ones), so that runs of one setting and many seeds meet.
    n counts numbers: NaN and missing are left out. std is of a sample (n - 1), None for one run; percentiles are interpolated."""
    found = RunSearch(store or current_store()).spread(
        of=texts(of), where=where, per=None if per is None else texts(per), apart_from=list(apart_from), experiments=listed(experiment)
    )
    return table_of(found)
