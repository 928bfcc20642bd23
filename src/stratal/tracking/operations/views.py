"""Saved views: read, written and forgotten in the store that people share."""

from stratal.core.people import Role
from stratal.core.records import Record
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.tracking.operations.asking import ask
from stratal.tracking.search import parse_columns
from stratal.tracking.store import views as stored
from stratal.tracking.store.views import ViewQuery


class SavedView(Record, frozen=True, kw_only=True):
    """A saved view. at_ns: when it was saved, by whom."""

    name: str
    query: ViewQuery
    author: str
    at_ns: int


class ViewStore:
    """Views of one store, shared by all who may read it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR)
    def save_view(self, *, name: str, query: ViewQuery) -> SavedView:
        """Save a view; one that has the name is replaced. Raises Misuse, with the place, for what cannot be read."""
        with self._store.query() as tx:
            asked = ask(tx, query.where, experiments=query.experiments, order_by=query.order_by)
            parse_columns(query.select, names=asked.names)
        with self._store.command() as tx:
            author, at_ns = stored.save(tx, name, query)
        return SavedView(name=name, query=query, author=author, at_ns=at_ns)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def views(self) -> list[SavedView]:
        """List the saved views by name, without those that are only about what may not be seen."""
        with self._store.query() as tx:
            found = stored.all_views(tx)
            sees = tx.sees
        return [
            SavedView(name=name, query=query, author=author, at_ns=at_ns)
            for name, query, author, at_ns in found
            if sees is None or query.experiments is None or sees.issuperset(query.experiments)
        ]

    @operation(needs=Role.CONTRIBUTOR)
    def remove_view(self, *, name: str) -> None:
        """Forget a view."""
        with self._store.command() as tx:
            stored.remove(tx, name)
