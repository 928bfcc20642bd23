"""Searching: runs by a filter, as rows, as a table of what was named, as groups, or as a number."""

from collections.abc import Sequence

from stratal.core.errors import Misuse
from stratal.core.ids import RunId
from stratal.core.people import Role
from stratal.core.records import Record
from stratal.store.database import Transaction
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.tracking.alerting import LEVELS
from stratal.tracking.operations.asking import Asked, ask
from stratal.tracking.operations.bounds import Count
from stratal.tracking.operations.grouping import check_measurable, check_no_stars, directed, first_of_groups, is_apart, spread_over
from stratal.tracking.operations.reading import Found, found_of
from stratal.tracking.search import parse_columns
from stratal.tracking.search.evaluation import Value
from stratal.tracking.search.grammar import Column
from stratal.tracking.selecting import Columns, names_in, read_table, remarks_on, times_among
from stratal.tracking.store.alerts import ToldAlert, alerts_of
from stratal.tracking.store.search import count_runs, search_runs


class FoundPage(Record, frozen=True, kw_only=True):
    """Runs in order. next: the token of what comes after them, None at the end. remarks: what looks like a mistake."""

    runs: list[Found]
    next: str | None
    remarks: list[str]


class FoundTable(Record, frozen=True, kw_only=True):
    """Columns of runs or of groups, all of one length. times: the names of those that hold nanoseconds since 1970, in UTC."""

    columns: dict[str, list[Value]]
    times: list[str]
    next: str | None
    remarks: list[str]


class RunSearch:
    """Finds runs. Filters, orders and columns are texts; those that cannot be read raise Misuse, with the place."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.VIEWER, is_scoped=True)
    def page(
        self,
        *,
        where: str = "",
        experiments: list[str] | None = None,
        order_by: str | list[str] = "",
        limit: Count = 100,
        after: str | None = None,
    ) -> FoundPage:
        """Find runs. experiments: None for all. limit: 1 to 10,000. after: the `next` of a page under the same order, to go on."""
        living = self._store.living()
        with self._store.query() as tx:
            asked = ask(tx, where, experiments=experiments, order_by=order_by, living=living)
            got = search_runs(
                tx, asked.condition, asked.order, experiments=asked.experiments, living=living, limit=limit, page=after
            )  # fmt: skip
            return FoundPage(runs=found_of(self._store, tx, got.runs), next=got.next, remarks=remarks_on(tx, asked.names.places))

    @operation(needs=Role.VIEWER, is_scoped=True)
    def table(
        self,
        *,
        select: str | list[str],
        where: str = "",
        experiments: list[str] | None = None,
        order_by: str | list[str] = "",
        limit: Count | None = None,
        after: str | None = None,
    ) -> FoundTable:
        """Give columns of the runs that a filter lets pass. limit: None for all."""
        living = self._store.living()
        with self._store.query() as tx:
            asked = ask(tx, where, experiments=experiments, order_by=order_by, living=living)
            columns = parse_columns(select, names=asked.names)
            if not columns:
                raise Misuse("no column is selected", hint='name some: select=["name", "params.lr", "metrics.auc"]')
            numbers, following = asked.numbers(tx, limit, after)
            return _table(tx, asked, read_table(tx, self._store, numbers, columns, living), columns, following)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def count(self, *, where: str = "", experiments: list[str] | None = None) -> int:
        """Count the runs that a filter lets pass."""
        living = self._store.living()
        with self._store.query() as tx:
            asked = ask(tx, where, experiments=experiments)
            return count_runs(tx, asked.condition, experiments=asked.experiments, living=living)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def top(
        self, *, by: str, where: str, k: Count, per: str | list[str], select: str | list[str], experiments: list[str] | None = None
    ) -> FoundTable:
        """Give the best `k` runs, of all or of each group: columns `per`, then `by`, then those of `select`."""
        living = self._store.living()
        with self._store.query() as tx:
            order = directed(by, names_in(tx, experiments))
            asked = ask(tx, where, experiments=experiments, order_by=order, living=living)
            measured = asked.order[0].key
            wanted = [*parse_columns(per, names=asked.names), Column(name=str(measured), key=measured)]
            check_no_stars(wanted)
            chosen = first_of_groups(tx, self._store, asked, wanted, k)
            columns = list({column.name: column for column in [*wanted, *parse_columns(select, names=asked.names)]}.values())
            return _table(tx, asked, read_table(tx, self._store, chosen, columns, living), columns)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def spread(
        self,
        *,
        of: str | list[str],
        where: str,
        per: str | list[str] | None,
        apart_from: list[str],
        experiments: list[str] | None = None,
    ) -> FoundTable:
        """Say how metrics spread over the runs of each group. per: None for all params that the runs have, but `apart_from`."""
        living = self._store.living()
        with self._store.query() as tx:
            asked = ask(tx, where, experiments=experiments, living=living)
            measured = parse_columns(of, names=asked.names)
            check_no_stars(measured)
            check_measurable(measured)
            numbers, _ = asked.numbers(tx, None)
            grouping = parse_columns("params.*" if per is None else per, names=asked.names)
            table = read_table(tx, self._store, numbers, [*grouping, *measured], living)
            keys = [name for name in table if name not in {column.name for column in measured}]
            if per is None:
                keys = [name for name in keys if not is_apart(name.removeprefix("params."), apart_from)]
            return _table(tx, asked, spread_over(table, keys, [column.name for column in measured]), grouping)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def name_metric(self, *, metric: str, experiments: list[str] | None = None) -> str:
        """Give the column of one metric, "metrics.auc" or "max(metrics.auc)", as tables head it. Raises Misuse for anything else."""
        with self._store.query() as tx:
            measured = parse_columns(metric, names=names_in(tx, experiments))
        if len(measured) != 1 or measured[0].is_all or measured[0].key.entity != "metrics":
            raise Misuse(f"{metric!r} is not one metric", hint='for example "metrics.auc" or "max(metrics.auc)"')
        return measured[0].name

    @operation(needs=Role.VIEWER, is_scoped=True)
    def alerts(self, *, levels: list[str], experiment: str | None = None, run: RunId | None = None, limit: Count = 100) -> list[ToldAlert]:
        """List alerts of some levels, the newest first; without a run, none of runs that were deleted."""
        known = [level for level in LEVELS if level in levels]  # there are no others, however many are named
        with self._store.query() as tx:
            return alerts_of(tx, levels=known, experiment=experiment, run_id=run, limit=limit)


def _table(tx: Transaction, asked: Asked, columns: Columns, read: Sequence[Column], following: str | None = None) -> FoundTable:
    return FoundTable(columns=columns, times=times_among(read), next=following, remarks=remarks_on(tx, asked.names.places))
