"""Links from runs to the logged models that they brought forth."""

from stratal.core.people import Role
from stratal.core.records import Record
from stratal.interop.mlflow.service.calls import Call, Empty, OfRun, commands
from stratal.interop.mlflow.service.errors import invalid, missing
from stratal.interop.mlflow.service.heads import head_of, writable
from stratal.interop.mlflow.service.store.logged import find_logged
from stratal.interop.mlflow.service.store.runs import MODEL_OUTPUT, state_once
from stratal.tracking.facts import EdgeFact
from stratal.tracking.store.settling import add_edge

MOST_LINKS = 1000


class ModelLink(Record, frozen=True, kw_only=True):
    """A logged model that a run names; step: of an output."""

    model_id: str | None = None
    step: int = 0


class LogOutputs(OfRun, frozen=True, kw_only=True):
    models: list[ModelLink] | None = None


@commands
def log_outputs(call: Call, request: LogOutputs) -> Empty:
    """Say which logged models a run brought forth, at which step; one that it names already stays as it is."""
    head = writable(head_of(call, request.run))
    if len(request.models or ()) > MOST_LINKS:
        raise invalid(f"A run can be told of at most {MOST_LINKS} outputs at a time.")
    for model in request.models or ():
        id = model.model_id or ""
        with call.finding():
            if (logged := find_logged(call.tx, id)) is None:
                raise missing(f"Logged model with ID '{id[:60]}' not found.")
        call.check(Role.VIEWER, f"experiment:{logged.experiment}")
        if state_once(call.tx, head.no, MODEL_OUTPUT, id, {"step": model.step}):
            add_edge(call.tx, head.no, EdgeFact(verb="produced", target=f"mlflow-model:{id}", role="model"), at_ns=call.tx.now_ns)
    call.tx.emit("run", head.id)
    return Empty()
