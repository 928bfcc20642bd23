"""Rows of saved views."""

from sqlalchemy import bindparam, delete, select

from stratal.core.records import Record, from_json, to_json
from stratal.store.database import Transaction, insert
from stratal.tracking.tables import view

_new = insert(view).excluded
_SAVE = insert(view).on_conflict_do_update(
    index_elements=["name"], set_={name: _new[name] for name in ("query", "author", "at_ns")}
)  # fmt: skip
_ALL = select(view.c.name, view.c.query, view.c.author, view.c.at_ns).order_by(view.c.name)
_REMOVE = delete(view).where(view.c.name == bindparam("view_name"))


class ViewQuery(Record, frozen=True, kw_only=True):
    """What a view asks. experiments: None for all. limit: None for all."""

    where: str = ""
    experiments: tuple[str, ...] | None = None
    order_by: str = ""
    select: tuple[str, ...] = ()
    limit: int | None = None


def save(tx: Transaction, name: str, query: ViewQuery) -> tuple[str, int]:
    """Write a view, in place of one that has the name; give author and time."""
    tx.run(_SAVE, name=name, query=to_json(query), author=tx.actor.name, at_ns=tx.now_ns)
    tx.emit("view", name)
    return tx.actor.name, tx.now_ns


def all_views(tx: Transaction) -> list[tuple[str, ViewQuery, str, int]]:
    """List views by name: name, query, author, time."""
    return [(name, from_json(query, ViewQuery), author, at_ns) for name, query, author, at_ns in tx.rows(_ALL)]


def remove(tx: Transaction, name: str) -> None:
    """Take a view away."""
    tx.run(_REMOVE, view_name=name)
    tx.emit("view", name)
