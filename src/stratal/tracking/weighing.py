"""Which params matter: the rule of `importance`, applied to runs of a store."""

from collections.abc import Sequence

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.answering import listed
from stratal.tracking.finding import find_runs
from stratal.tracking.importance import Importance, Value, importance_of
from stratal.tracking.opening import current_store
from stratal.tracking.operations.searching import RunSearch
from stratal.tracking.table import RunTable


def importance(
    metric: str,
    where: str = "",
    *,
    experiment: str | Sequence[str] | None = None,
    params: str | Sequence[str] = "params.*",
    seed: int = 0,
    store: Store | None = None,
) -> Importance:
    """Say which params matter for a metric over the runs that a filter lets pass, and how sure that is.

    metric: "metrics.auc", "max(metrics.auc)". params: those that are looked at. The same runs and seed give the same answer.
    Raises Misuse for fewer than 20 runs that have the metric, or where nothing varies."""
    store = store or current_store()
    measured = RunSearch(store).name_metric(metric=metric, experiments=listed(experiment))
    table = find_runs(where, experiment=experiment, select=[metric, *([params] if isinstance(params, str) else params)], store=store)
    try:
        return importance_in(table, measured, seed=seed)
    except Misuse as error:
        if not table.remarks:
            raise
        raise Misuse("\n".join([error.message, *table.remarks]), hint=error.hint) from error  # a slip of the pen leaves few runs


def importance_in(table: RunTable, metric: str, *, seed: int = 0) -> Importance:
    """Say it over a table of runs that has the metric, and params as all other columns."""
    columns = {name: [_plain(value) for value in table.column(name)] for name in table.columns}
    values = [value if isinstance(value, int | float) else None for value in columns.pop(metric)]
    return importance_of(metric, values, {name.removeprefix("params."): column for name, column in columns.items()}, seed=seed)


def _plain(value: object) -> Value:
    return value if value is None or isinstance(value, bool | int | float) else str(value)
