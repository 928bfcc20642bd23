"""Opening stores that know what facts about runs mean, and the process's default one."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from stratal.core.clock import Clock
from stratal.core.settings import Settings, load_settings, place
from stratal.store.locating import need_store
from stratal.store.store import Store

if TYPE_CHECKING:
    from stratal.store.settling import FactApplier

_open: dict[tuple[str | None, ...], Store] = {}
_chosen: list[Store] = []
_is_made: ContextVar[bool] = ContextVar("stratal_store_is_made", default=True)


@contextlib.contextmanager
def only_existing() -> Iterator[None]:
    """Make no default store inside the block: who only reads raises NotFound where there is none."""
    before = _is_made.set(False)
    try:
        yield
    finally:
        _is_made.reset(before)


def open_store(url: str | Path | None = None, *, settings: Settings | None = None, clock: Clock | None = None) -> Store:
    """Open a store: a folder, or what the settings say. Raises Misuse for what cannot be one."""
    return Store(url, settings=settings, clock=clock, applier=_trunk_facts)


def current_store() -> Store:
    """Give the process's default store: the one that `use_store` chose, else the one that settings and folder say."""
    if _chosen:
        return _chosen[-1]
    here = place()
    if here not in _open:
        settings = load_settings()
        if not _is_made.get():
            need_store(None, settings, Path.cwd())
        _open[here] = open_store(settings=settings)
    return _open[here]


def use_store(url: str | Path | Store) -> Store:
    """Make a store the process's default from now on, and give it."""
    if not isinstance(url, Store) and not _is_made.get():
        need_store(str(url), load_settings(), Path.cwd())
    store = url if isinstance(url, Store) else open_store(url)
    _chosen[:] = [store]
    return store


def _trunk_facts() -> "FactApplier":
    from stratal.tracking.store.settling import TrunkFacts  # SQLAlchemy: a process that only logs must not pay for it

    return TrunkFacts()
