"""What a fork goes on from: what a run says of itself, and its points before a step. A command makes a fork; no point is copied."""

from operator import index
from typing import NamedTuple

from stratal.core.errors import Misuse
from stratal.core.ids import RunId, short
from stratal.store.store import Store
from stratal.tracking.facts import Scalar, Start
from stratal.tracking.store import forks
from stratal.tracking.store import runs as rows


class Origin(NamedTuple):
    """A run at a step, and what a fork of it inherits by value."""

    id: RunId
    step: int
    experiment: str
    kind: str
    group: str
    job_type: str
    params: dict[str, Scalar]
    tags: dict[str, str]


def find_origin(store: Store, id: RunId, step: object) -> Origin:
    """Read what a fork of a run would inherit. Raises NotFound, or Misuse for a step that cannot be."""
    if isinstance(step, bool) or not hasattr(step, "__index__") or not -(2**63) < index(step) < 2**63:
        raise Misuse(f"step {step!r} is no step to fork at", hint="give the first step that the fork logs itself, a whole number")
    with store.query() as tx:
        record = rows.get_record(tx, id)
        params, tags = forks.said_of(tx, record)
    if record.deleted_ns is not None:
        raise Misuse(f"run {short(id)} was deleted", hint=f"bring it back first: stratal restore {short(id)}")
    if record.started_ns is None:
        raise Misuse(f"run {short(id)} has not said how it began, so nothing can go on from it", hint="wait for its journal to arrive")
    group, job_type = (str(record.doc.get(name, "")) for name in ("group", "job_type"))
    return Origin(id, index(step), record.experiment, record.kind, group, job_type, params, tags)


def insert_fork(store: Store, origin: Origin, start: Start, *, is_open: bool) -> RunId:
    """Make a fork. is_open: this process writes to it from now on; else it waits, stopped, for somebody to resume it."""
    if is_open:
        store.writer.show()  # else it would pass for lost until it logs something
    with store.command(runs=[origin.id]) as tx:
        return forks.insert_fork(tx, store, start, origin.id, origin.step, is_open=is_open)
