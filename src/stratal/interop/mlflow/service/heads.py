"""The run that a call is about: found, by the id that it had in MLflow, too, and checked that it may be written to.

Answers name a run as it was asked for; else by its id of MLflow, if it came from there, so that clients find what they had.
"""

from collections.abc import Iterable, Mapping

from stratal.interop.mlflow.service.calls import Call, OfRun, Renamed
from stratal.interop.mlflow.service.errors import invalid, missing
from stratal.interop.mlflow.service.store import runs as rows
from stratal.interop.mlflow.service.store.runs import Head
from stratal.store import relays
from stratal.tracking.former_ids import TAG, is_named


def head_of(call: Call, id: str) -> Head:
    """Give the head of a run. Raises MlflowError if there is none."""
    if (known := call.heads.get(id)) is not None:
        return known
    head = rows.find_head(call.tx, id)
    if head is None:
        raise missing(f"Run with id={id[:60]} not found")
    if id in call.runs and head.id != id:
        raise Renamed(head.id)
    call.heads[id] = head
    return head


def run_of(call: Call, id: str) -> str:
    """Give our id of a run by any of its ids; of what is none here, the same."""
    head = rows.find_head(call.tx, id)
    return id if head is None else head.id


def shown_ids(call: Call, tags: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Give the ids that answers name runs by. tags: of each run, by our ids."""
    asked = {head.id: id for id, head in call.heads.items()}
    said = {run: str(each[TAG]) for run, each in tags.items() if run not in asked and TAG in each}
    said = {run: id for run, id in said.items() if is_named(run, id)}  # anybody may set that tag
    leads = rows.first_named(call.tx, said.values()) if said else {}
    return asked | {run: id for run, id in said.items() if leads.get(id) == run}


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
