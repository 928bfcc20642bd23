"""Following a store, as users ask for it."""

from collections.abc import Collection, Iterator

from stratal.store.events import Told
from stratal.store.following import follow as follow_store
from stratal.store.store import Store
from stratal.tracking.opening import current_store

__all__ = ["Told", "follow"]


def follow(
    *,
    since: int | None = None,
    kinds: Collection[str] = (),
    subjects: Collection[str] = (),
    on: Collection[str] = (),
    store: Store | None = None,
) -> Iterator[Told]:
    """Give what happens in the store as it happens, without end: runs that log or end, versions that move, alerts, and so on.

    since: the number (`seq`) of the last event that is known; 0 gives all that is kept, None what comes from now on. on: what events
    belong to, experiment:NAME or model:NAME. Over a server it goes on across cuts and restarts, each event once.
    Raises NotFound if events after `since` are not kept any more, or none has that number yet; Misuse for what no event can be about.
    """
    return follow_store(store or current_store(), since=since, kinds=kinds, subjects=subjects, on=on)
