"""Transitions: a version moves from stage to stage as the registry's rules let it, whoever asks.

A model without a policy is ungoverned: any stage to any stage. Under a policy a way up asks its gates and approvals, and what they say is
the error that the client reads; its limits archive the predecessor, whether the client asks for that or not.
"""

from stratal.interop.mlflow.service.calls import Call, commands
from stratal.interop.mlflow.service.errors import invalid
from stratal.interop.mlflow.service.registry.models import OneVersion, need_version
from stratal.interop.mlflow.service.registry.naming import need_head
from stratal.interop.mlflow.service.registry.versions import OfVersion, shown, to_stage
from stratal.interop.mlflow.service.store import registered as rows
from stratal.registry import Stage
from stratal.registry.assessing import TransitionRefused, nothing_to_do
from stratal.registry.stages import Verb
from stratal.registry.store import deciding, moving
from stratal.registry.store import rows as registry
from stratal.registry.store.rows import ModelRow

REASON = "asked for by a client of MLflow"
_ACTIVE = (Stage.STAGING, Stage.PRODUCTION)


class Transition(OfVersion, frozen=True, kw_only=True):
    stage: str | None = None
    archive_existing_versions: bool | None = None


@commands
def transition(call: Call, request: Transition) -> OneVersion:
    """Move a version. Raises TransitionRefused with each gate's verdict, MlflowError for a stage that is none."""
    head = need_head(call.tx, request.name)
    row = need_version(call, head, request.version)
    target, with_others = to_stage(request.stage), bool(request.archive_existing_versions)
    if with_others and target not in _ACTIVE:
        raise invalid(
            "Model version transition cannot archive existing model versions because"
            f" '{request.stage}' is not an Active stage. Valid stages are {', '.join(_ACTIVE)}"
        )
    model = registry.need_model(call.tx, head.model)
    if row.stage is not target:
        _move(call, model, row.number, row.stage, target, with_others)
    rows.show(call.tx, head, name=head.name)
    return shown(call, head, row.number)


def _move(call: Call, model: ModelRow, number: int, source: Stage, target: Stage, with_others: bool) -> None:
    tx, is_governed = call.tx, model.policy is not None
    if (verb := _plain_verb(source, target, is_governed)) is not None:
        moving.move(tx, model, number, verb, target, reason=REASON)
        return
    seen = deciding.assess(tx, model, number, target)
    if (nothing := nothing_to_do(seen)) is not None:
        raise invalid(f"{nothing.said}. Under its policy a version comes down by 'Archived' only")
    if not seen.is_ready:
        if seen.gates_pass and seen.request is None:
            deciding.open_request(tx, seen, tx.actor.name)
        call.refuse(TransitionRefused(seen))
        return
    keep_others = not is_governed and not with_others
    moving.promote(tx, model, seen, reason=REASON, keep_others=keep_others, archive_others=with_others)


def _plain_verb(source: Stage, target: Stage, is_governed: bool) -> Verb | None:
    """Give the verb of a way that no gate watches, None for the ways up, and for those that only an ungoverned model has."""
    if target is Stage.ARCHIVED:
        return Verb.ARCHIVE
    if target is not Stage.DEVELOPMENT or (source is Stage.PRODUCTION and not is_governed):
        return None
    return Verb.REVIVE if source is Stage.ARCHIVED else Verb.RETURN
