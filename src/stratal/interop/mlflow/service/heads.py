"""The run that a call is about: found, and checked that it may be written to."""

from collections.abc import Iterable

from stratal.core.ids import is_id
from stratal.interop.mlflow.service.calls import Call, OfRun
from stratal.interop.mlflow.service.errors import invalid, missing
from stratal.interop.mlflow.service.store import runs as rows
from stratal.interop.mlflow.service.store.runs import Head
from stratal.store import relays


def head_of(call: Call, id: str) -> Head:
    """Give the head of a run. Raises MlflowError if there is none."""
    if (known := call.heads.get(id)) is not None:
        return known
    head = rows.find_head(call.tx, id) if is_id(id) else None
    if head is None:
        raise missing(f"Run with id={id[:60]} not found")
    call.heads[id] = head
    return head


def writable(head: Head) -> Head:
    """Give a head that may be written to. Raises MlflowError for a deleted run."""
    if head.is_deleted:
        raise invalid(f"The run {head.id} must be in the 'active' state. Current state is deleted.")
    return head


def hear(call: Call, head: Head) -> None:
    """Note that a client of a run is there, before anything of it goes to the journal."""
    ends = call.service.seen.of(head.bytes)
    if not call.service.is_relay or call.tx.now_ns - ends.heard_ns < relays.HEARD_EVERY_NS:
        return
    ends.heard_ns = relays.heard_ns(call.tx, head.bytes, call.store.writer.id)
    if call.tx.now_ns - ends.heard_ns >= relays.HEARD_EVERY_NS:
        with call.commanding(head.id) as inner:
            inner.attend(head.bytes)
        ends.heard_ns = call.tx.now_ns


def at_run(call: Call, request: OfRun) -> Iterable[str]:
    """Rights are asked on the run's experiment."""
    return [f"experiment:{head_of(call, request.run).experiment}"]
