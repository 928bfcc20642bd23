"""Finding runs: a filter, an order and a limit in; runs, or a table of them, out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, overload

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.answering import listed, table_of, texts
from stratal.tracking.opening import current_store
from stratal.tracking.operations.searching import RunSearch
from stratal.tracking.reading import ReadRun
from stratal.tracking.search import Searchable, Summary
from stratal.tracking.store.search import MOST
from stratal.tracking.table import Framed, RunTable

if TYPE_CHECKING:  # as in stratal.tracking.table
    import polars as pl

_PAGE = 1000


class Runs(Framed, Sequence[ReadRun]):
    """Runs that were found, in order. `next` is the token of the page after them, None if there is none. `remarks`: what looks
    like a mistake, such as a metric that no run has."""

    def __init__(self, runs: Sequence[ReadRun], next: str | None, remarks: Sequence[str] = ()) -> None:
        self._runs = list(runs)
        self.next = next
        self.remarks = tuple(remarks)

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
        """Give a frame, one row per run: id, experiment, name, kind, status, group, job_type, parent, user, started, ended,
        duration_s, then params.*, metrics.* (last values) and tags.*."""
        from stratal.tracking.frames import columns_to_polars  # polars: only for those who ask for a frame

        return columns_to_polars(_columns(self._runs))

    def __repr__(self) -> str:
        more = ", and more" if self.next else ""
        return f"<{len(self._runs)} runs{more}>" + "".join(f"\n{remark}" for remark in self.remarks if not self._runs)


@overload
def find_runs(
    where: str = "", *, experiment: str | Sequence[str] | None = None, order_by: str | Sequence[str] = "", limit: int | None = None,
    after: str | None = None, select: None = None, store: Store | None = None,
) -> Runs: ...  # fmt: skip


@overload
def find_runs(
    where: str = "", *, experiment: str | Sequence[str] | None = None, order_by: str | Sequence[str] = "", limit: int | None = None,
    after: str | None = None, select: str | Sequence[str], store: Store | None = None,
) -> RunTable: ...  # fmt: skip


def find_runs(
    where: str = "",
    *,
    experiment: str | Sequence[str] | None = None,
    order_by: str | Sequence[str] = "",
    limit: int | None = None,
    after: str | None = None,
    select: str | Sequence[str] | None = None,
    store: Store | None = None,
) -> Runs | RunTable:
    """Find runs by a filter such as "metrics.auc > 0.9 and params.model = 'gbm'".

    experiment: one or several names; None: all. order_by: "metrics.auc desc, started"; ties and default: started last first.
    limit: None for all. after: the `next` of a result with the same order, to go on after it.
    select: columns such as ["name", "params.lr", "max(metrics.auc)"]; then only they are read, and a table of them is given.
    Raises Misuse, with the place, for what cannot be read."""
    store = store or current_store()
    if limit is not None and (type(limit) is not int or limit < 1):
        raise Misuse(f"limit = {limit!r:.60} is not possible", hint="give 1 or more, or None for all")
    search, experiments, order = RunSearch(store), listed(experiment), texts(order_by)
    if select is not None:
        return table_of(
            search.table(select=texts(select), where=where, experiments=experiments, order_by=order, limit=limit, after=after)
        )  # fmt: skip
    found: list[ReadRun] = []
    most = _PAGE if store.remote else MOST  # here few large pages, of one moment each; a server is asked for smaller ones
    while True:
        size = most if limit is None else min(most, limit - len(found))
        page = search.page(where=where, experiments=experiments, order_by=order, limit=size, after=after)
        found.extend(ReadRun(store, each.record, is_lost=each.is_lost) for each in page.runs)
        after = page.next
        if after is None or len(found) == limit:
            return Runs(found, after, page.remarks)


runs = find_runs  # as users call it: st.runs("metrics.auc > 0.9")


def count(where: str = "", *, experiment: str | Sequence[str] | None = None, store: Store | None = None) -> int:
    """Count the runs that a filter lets pass."""
    return RunSearch(store or current_store()).count(where=where, experiments=listed(experiment))


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
        job_type=run.job_type or None,
        parent=run.parent,
        started_ns=run.record.started_ns,
        ended_ns=run.record.ended_ns,
        deleted_ns=run.record.deleted_ns,
        params=plain_params(run),
        metrics=run.metrics,
        tags=run.tags,
        summaries={s.name: Summary(low=s.low, high=s.high, step=s.step, points=s.points) for s in run.summaries},
        texts=(run.name, *(note.text for note in run.notes)),
    )


def plain_params(run: ReadRun) -> dict[str, bool | int | float | str | None]:
    """Give the params that filters and comparisons see."""
    return {name: value for name, value in run.params.items() if value is None or isinstance(value, bool | int | float | str)}


_ATTRIBUTES: dict[str, Callable[[ReadRun], object]] = {
    "id": lambda run: run.id,
    "experiment": lambda run: run.experiment,
    "name": lambda run: run.name,
    "kind": lambda run: run.kind,
    "status": lambda run: run.status,
    "group": lambda run: run.group,
    "job_type": lambda run: run.job_type,
    "parent": lambda run: run.parent,
    "user": lambda run: run.user,
    "started": lambda run: run.started,
    "ended": lambda run: run.ended,
    "duration_s": lambda run: run.duration_s,
}
_PARTS: dict[str, Callable[[ReadRun], Mapping[str, object]]] = {
    "params": lambda run: run.params,
    "metrics": lambda run: run.metrics,
    "tags": lambda run: run.tags,
}


def _columns(runs: Sequence[ReadRun]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {name: [read_one(run) for run in runs] for name, read_one in _ATTRIBUTES.items()}
    for part, of in _PARTS.items():
        found: dict[str, list[object]] = {}
        for at, run in enumerate(runs):
            for name, value in of(run).items():
                column = found.get(name)
                if column is None:
                    column = found[name] = [None] * len(runs)
                column[at] = value
        columns.update({f"{part}.{name}": column for name, column in found.items()})
    return columns
