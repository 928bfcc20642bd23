"""What a fork goes on from: what a run says of itself, and its points before a step. A command makes a fork; no point is copied."""

from operator import index

from stratal.core.errors import Misuse
from stratal.core.ids import RunId
from stratal.store.store import Store
from stratal.tracking.facts import Start
from stratal.tracking.operations.forking import Origin, RunForks

__all__ = ["Origin", "find_origin", "insert_fork"]


def find_origin(store: Store, id: RunId, step: object) -> Origin:
    """Read what a fork of a run would inherit. Raises NotFound, or Misuse for a step that cannot be."""
    if isinstance(step, bool) or not hasattr(step, "__index__") or not -(2**63) < index(step) < 2**63:
        raise Misuse(f"step {step!r} is no step to fork at", hint="give the first step that the fork logs itself, a whole number")
    return RunForks(store).origin(run=id, step=index(step))


def insert_fork(store: Store, origin: Origin, start: Start, *, is_open: bool) -> RunId:
    """Make a fork. is_open: this process writes to it from now on; else it waits, stopped, for somebody to resume it."""
    if is_open:
        store.writer.show()  # else it would pass for lost until it logs something
    return RunForks(store).fork(experiment=start.experiment, start=start, origin=origin.id, step=origin.step, is_open=is_open)
