"""Annotating from outside: tags and notes on any run, by whoever may contribute to its experiment."""

from collections.abc import Mapping

from stratal.core.ids import RunId
from stratal.store.store import Store
from stratal.tracking.facts import to_tags
from stratal.tracking.opening import current_store
from stratal.tracking.operations.annotating import RunRemarks
from stratal.tracking.runs import find_id


def tag(run: str, tags: Mapping[str, object], *, store: Store | None = None) -> RunId:
    """Set tags of a run, alive or ended; None takes one away. Gives its id.

    run: id, short form or ref. Raises NotFound, or Misuse for a name that cannot be one and for a deleted run."""
    store, said = store or current_store(), to_tags(tags)
    id = find_id(store, run)
    RunRemarks(store).tag(run=id, tags=said)
    return id


def note(run: str, text: str, *, store: Store | None = None) -> RunId:
    """Add a note to a run, alive or ended, with author and time. Gives its id.

    run: id, short form or ref. Raises NotFound, or Misuse for an empty text and for a deleted run."""
    store = store or current_store()
    id = find_id(store, run)
    RunRemarks(store).note(run=id, text=text)
    return id
