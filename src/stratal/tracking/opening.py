"""Opening stores that know what facts about runs mean, and the process's default one."""

from pathlib import Path
from typing import TYPE_CHECKING

from stratal.core.clock import Clock
from stratal.core.settings import Settings, load_settings, place
from stratal.store.store import Store

if TYPE_CHECKING:
    from stratal.store.settling import FactApplier

_open: dict[tuple[str | None, ...], Store] = {}
_chosen: list[Store] = []


def open_store(url: str | Path | None = None, *, settings: Settings | None = None, clock: Clock | None = None) -> Store:
    """Open a store: a folder, or what the settings say. Raises Misuse for what cannot be one."""
    return Store(url, settings=settings, clock=clock, applier=_trunk_facts)


def current_store() -> Store:
    """Give the process's default store: the one that `use_store` chose, else the one that settings and folder say."""
    if _chosen:
        return _chosen[-1]
    here = place()
    if here not in _open:
        _open[here] = open_store(settings=load_settings())
    return _open[here]


def use_store(url: str | Path | Store) -> Store:
    """Make a store the process's default from now on, and give it."""
    store = url if isinstance(url, Store) else open_store(url)
    _chosen[:] = [store]
    return store


def _trunk_facts() -> "FactApplier":
    from stratal.tracking.store.settling import TrunkFacts  # SQLAlchemy: a process that only logs must not pay for it

    return TrunkFacts()
