"""Finding runs: a filter, an order and a limit in; runs, or a frame of them, out."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

from stratal.core.errors import Misuse
from stratal.core.ids import RunId
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.reading import ReadRun, may_be_lost, read
from stratal.tracking.search import Searchable, parse_filter, parse_order
from stratal.tracking.store import runs as rows
from stratal.tracking.store.search import MOST, count_runs, search_runs

if TYPE_CHECKING:  # a frame costs an import of 0.2 s, and is asked for last
    import pandas as pd
    import polars as pl

_PAGE = 1000


class Runs(Sequence[ReadRun]):
    """Runs that were found, in order. `next` is the token of the page after them, None if there is none."""

    def __init__(self, runs: Sequence[ReadRun], next: str | None) -> None:
        self._runs = list(runs)
        self.next = next

    def __iter__(self) -> Iterator[ReadRun]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, at: int) -> ReadRun: ...

    @overload
    def __getitem__(self, at: slice) -> "list[ReadRun]": ...

    def __getitem__(self, at: int | slice) -> "ReadRun | list[ReadRun]":
        return self._runs[at]

    def to_polars(self) -> "pl.DataFrame":
        """Give a frame, one row per run: id, experiment, name, kind, status, user, started, ended, duration_s, then params.*,
        metrics.* (last values) and tags.*."""
        from stratal.tracking.frames import runs_to_polars  # polars: only for those who ask for a frame

        return runs_to_polars([_row(run) for run in self._runs])

    def to_pandas(self) -> "pd.DataFrame":
        """Give the same frame for pandas."""
        from stratal.tracking.frames import to_pandas

        return to_pandas(self.to_polars())

    def __repr__(self) -> str:
        more = ", and more" if self.next else ""
        return f"<{len(self._runs)} runs{more}>"


def find_runs(
    where: str = "",
    *,
    experiment: str | Sequence[str] | None = None,
    order_by: str | Sequence[str] = "",
    limit: int | None = None,
    page: str | None = None,
    store: Store | None = None,
) -> Runs:
    """Find runs by a filter such as "metrics.auc > 0.9 and params.model = 'gbm'".

    experiment: one or several names; None: all. order_by: "metrics.auc desc, started"; ties and default: started last first.
    limit: None for all. page: the `next` of a result with the same order, to go on after it.
    Raises Misuse, with the place, for what cannot be read."""
    store = store or current_store()
    if limit is not None and limit < 1:
        raise Misuse(f"limit = {limit} is not possible", hint="give 1 or more, or None for all")
    order = parse_order(order_by)
    experiments = [experiment] if isinstance(experiment, str) else experiment
    living = store.living()
    found: list[ReadRun] = []
    with store.query() as tx:
        condition = parse_filter(where, now_ns=tx.now_ns)
        while True:
            size = min(_PAGE, MOST) if limit is None else min(_PAGE, limit - len(found))
            got = search_runs(tx, condition, order, experiments=experiments, living=living, limit=size, page=page)
            page = got.next
            doubtful: dict[RunId, list[str]] = {run.id: rows.writers_of(tx, run.id) for run in got.runs if may_be_lost(run, tx.now_ns)}
            found.extend(read(store, list(got.runs), doubtful))
            if page is None or len(found) == limit:
                return Runs(found, page)


runs = find_runs  # as users call it: st.runs("metrics.auc > 0.9")


def count(where: str = "", *, experiment: str | Sequence[str] | None = None, store: Store | None = None) -> int:
    """Count the runs that a filter lets pass."""
    store = store or current_store()
    experiments = [experiment] if isinstance(experiment, str) else experiment
    living = store.living()
    with store.query() as tx:
        return count_runs(tx, parse_filter(where, now_ns=tx.now_ns), experiments=experiments, living=living)


def searchable(run: ReadRun) -> Searchable:
    """Give what filters see of a run, for `evaluate` on live rows."""
    return Searchable(
        id=run.id,
        experiment=run.experiment,
        name=run.name or None,
        kind=run.kind,
        status=run.status,
        user=run.user or None,
        group=run.group or None,
        parent=run.parent,
        started_ns=run.record.started_ns,
        ended_ns=run.record.ended_ns,
        params={name: value for name, value in run.params.items() if value is None or isinstance(value, bool | int | float | str)},
        metrics=run.metrics,
        tags=run.tags,
    )


def _row(run: ReadRun) -> dict[str, object]:
    row: dict[str, object] = {
        "id": run.id,
        "experiment": run.experiment,
        "name": run.name,
        "kind": run.kind,
        "status": run.status,
        "user": run.user,
        "started": run.started,
        "ended": run.ended,
        "duration_s": run.duration_s,
    }
    for part, values in (("params", run.params), ("metrics", run.metrics), ("tags", run.tags)):
        row.update({f"{part}.{name}": value for name, value in values.items()})
    return row
