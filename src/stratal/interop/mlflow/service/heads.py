"""The run that a call is about: found, and checked that it may be written to."""

from collections.abc import Iterable

from stratal.core.ids import is_id
from stratal.interop.mlflow.service.calls import Call, OfRun
from stratal.interop.mlflow.service.errors import invalid, missing
from stratal.interop.mlflow.service.store import runs as rows
from stratal.interop.mlflow.service.store.runs import Head


def head_of(call: Call, id: str) -> Head:
    """Give the head of a run. Raises MlflowError if there is none."""
    head = rows.find_head(call.tx, id) if is_id(id) else None
    if head is None:
        raise missing(f"Run with id={id[:60]} not found")
    return head


def writable(head: Head) -> Head:
    """Give a head that may be written to. Raises MlflowError for a deleted run."""
    if head.is_deleted:
        raise invalid(f"The run {head.id} must be in the 'active' state. Current state is deleted.")
    return head


def at_run(call: Call, request: OfRun) -> Iterable[str]:
    """Rights are asked on the run's experiment."""
    return [f"experiment:{head_of(call, request.run).experiment}"]
