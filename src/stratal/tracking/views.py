"""Saved views: a filter, an order and columns under a name, for all who share the store."""

from collections.abc import Sequence

from stratal.core.errors import Misuse, NotFound
from stratal.core.records import Record
from stratal.store.store import Store
from stratal.tracking.answering import listed
from stratal.tracking.facts import check_name
from stratal.tracking.finding import Runs, find_runs
from stratal.tracking.opening import current_store
from stratal.tracking.operations.views import SavedView, ViewStore
from stratal.tracking.search.errors import nearest
from stratal.tracking.store.views import ViewQuery
from stratal.tracking.table import RunTable


class View(Record, frozen=True, kw_only=True):
    """A saved view. at_ns: when it was saved, by whom."""

    name: str
    query: ViewQuery
    author: str
    at_ns: int

    def runs(self, *, limit: int | None = None, after: str | None = None, store: Store | None = None) -> Runs:
        """Find the runs of the view. limit: instead of its own."""
        query = self.query
        return find_runs(
            query.where, experiment=_experiments(query), order_by=query.order_by, limit=limit or query.limit, after=after, store=store
        )  # fmt: skip

    def table(self, *, limit: int | None = None, after: str | None = None, store: Store | None = None) -> RunTable:
        """Give its columns; id and name if it names none. limit: instead of its own."""
        query = self.query
        return find_runs(
            query.where, experiment=_experiments(query), order_by=query.order_by, limit=limit or query.limit, after=after,
            select=query.select or ("id", "name"), store=store,
        )  # fmt: skip


def save_view(
    name: str,
    where: str = "",
    *,
    experiment: str | Sequence[str] | None = None,
    order_by: str | Sequence[str] = "",
    select: str | Sequence[str] = (),
    limit: int | None = None,
    store: Store | None = None,
) -> View:
    """Save what `st.runs` is asked under a name; one that is there is replaced. Raises Misuse, with the place, if it cannot be read."""
    store = store or current_store()
    check_name("view", name)
    if limit is not None and limit < 1:
        raise Misuse(f"limit = {limit} is not possible", hint="give 1 or more, or None for all")
    experiments = listed(experiment)
    query = ViewQuery(
        where=where,
        experiments=None if experiments is None else tuple(experiments),
        order_by=order_by if isinstance(order_by, str) else ", ".join(order_by),
        select=tuple([select] if isinstance(select, str) else select),
        limit=limit,
    )
    return _view(ViewStore(store).save_view(name=name, query=query))


def views(*, store: Store | None = None) -> list[View]:
    """List the saved views by name."""
    return [_view(saved) for saved in ViewStore(store or current_store()).views()]


def view(name: str, *, store: Store | None = None) -> View:
    """Give a saved view. Raises NotFound, with the nearest name."""
    saved = {each.name: each for each in views(store=store)}
    if name not in saved:
        known = ", ".join(list(saved)[:10]) or "none yet: st.save_view(...), or stratal views save"
        raise NotFound(f"there is no view {name!r}", hint=f"{nearest(name, saved)}saved are: {known}")
    return saved[name]


def remove_view(name: str, *, store: Store | None = None) -> None:
    """Forget a saved view. Raises NotFound."""
    store = store or current_store()
    view(name, store=store)
    ViewStore(store).remove_view(name=name)


def _view(saved: SavedView) -> View:
    return View(name=saved.name, query=saved.query, author=saved.author, at_ns=saved.at_ns)


def _experiments(query: ViewQuery) -> list[str] | None:
    return None if query.experiments is None else list(query.experiments)
