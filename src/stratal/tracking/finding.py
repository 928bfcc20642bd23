"""Finding runs: a filter, an order and a limit in; runs, or a table of them, out."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

from stratal.core.errors import Misuse
from stratal.core.ids import RunId
from stratal.store.database import Transaction
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.reading import ReadRun, may_be_lost, read
from stratal.tracking.search import Condition, OrderKey, Searchable, Summary, parse_columns, parse_filter, parse_order
from stratal.tracking.search.grammar import Names
from stratal.tracking.selecting import names_in, read_table, remarks_on
from stratal.tracking.store import runs as rows
from stratal.tracking.store.search import MOST, count_runs, pick_runs, search_runs
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
    living = store.living()
    with store.query() as tx:
        asked = ask(tx, where, experiment=experiment, order_by=order_by, living=living)
        if select is not None:
            columns = parse_columns(select, names=asked.names)
            if not columns:
                raise Misuse("no column is selected", hint='name some: select=["name", "params.lr", "metrics.auc"]')
            numbers, following = asked.numbers(tx, limit, after)
            table = read_table(tx, store, numbers, columns, living)
            return RunTable(table, next=following, remarks=remarks_on(tx, asked.names.places))
        found, following = _found(tx, store, asked, limit, after)
        return Runs(found, following, remarks_on(tx, asked.names.places))


runs = find_runs  # as users call it: st.runs("metrics.auc > 0.9")


class Asked(NamedTuple):
    """What was asked, read: and how it is asked of the store."""

    condition: Condition
    order: Sequence[OrderKey]
    experiments: Collection[str] | None
    living: Collection[str]
    names: Names

    def numbers(self, tx: Transaction, limit: int | None, after: str | None = None) -> tuple[list[int], str | None]:
        """Give the numbers of the runs in order, and the token of what comes after them."""
        got = pick_runs(
            tx, self.condition, self.order, experiments=self.experiments, living=self.living, limit=limit, page=after
        )  # fmt: skip
        return list(got.numbers), got.next


def ask(
    tx: Transaction,
    where: str,
    *,
    experiment: str | Sequence[str] | None = None,
    order_by: str | Sequence[str] = "",
    living: Collection[str] = (),
) -> Asked:
    """Read a filter and an order, told of the names and goals that the store has. Raises Misuse, with the place."""
    experiments = listed(experiment)
    names = names_in(tx, experiments)
    order = parse_order(order_by, names=names)
    return Asked(parse_filter(where, now_ns=tx.now_ns, names=names), order, experiments, living, names)


def listed(experiment: str | Sequence[str] | None) -> Sequence[str] | None:
    """Give experiments as a list; None stays: all."""
    return [experiment] if isinstance(experiment, str) else experiment


def count(where: str = "", *, experiment: str | Sequence[str] | None = None, store: Store | None = None) -> int:
    """Count the runs that a filter lets pass."""
    store = store or current_store()
    living = store.living()
    with store.query() as tx:
        asked = ask(tx, where, experiment=experiment)
        return count_runs(tx, asked.condition, experiments=asked.experiments, living=living)


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


def _found(tx: Transaction, store: Store, asked: Asked, limit: int | None, after: str | None) -> tuple[list[ReadRun], str | None]:
    found: list[ReadRun] = []
    while True:
        size = min(_PAGE, MOST) if limit is None else min(_PAGE, limit - len(found))
        got = search_runs(
            tx, asked.condition, asked.order, experiments=asked.experiments, living=asked.living, limit=size, page=after
        )  # fmt: skip
        after = got.next
        doubtful: dict[RunId, list[str]] = {run.id: rows.writers_of(tx, run.id) for run in got.runs if may_be_lost(run, tx.now_ns)}
        found.extend(read(store, list(got.runs), doubtful))
        if after is None or len(found) == limit:
            return found, after


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
