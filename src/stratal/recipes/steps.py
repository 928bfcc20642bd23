"""Verbs of the registry as pipeline steps: inside a pipeline they become nodes of its graph, outside they act at once."""

from collections.abc import Sequence

from stratal.pipelines import step
from stratal.pipelines.graph import current_builder
from stratal.registry import registering
from stratal.registry.assessing import Promotion
from stratal.registry.policies import Policy
from stratal.registry.versions import Version
from stratal.store.store import Store
from stratal.tracking.values import Evaluation, Model


def register(
    name: str,
    model: Model,
    *,
    evidence: Evaluation | Sequence[Evaluation] | None = None,
    policy: Policy | None = None,
    store: Store | None = None,
) -> Version:
    """Make a version of a model, in Development; inside a pipeline, add the step that does so.

    The same model gives the same version, however often it is registered. evidence: evaluations of this very model.
    Raises Misuse for evidence of another model, NotFound if files of the model are missing.
    """
    if current_builder() is not None:
        return _register(name, model, evidence, policy)
    return registering.register(name, model, evidence=evidence, policy=policy, store=store)


def promote(version: Version | str, stage: str, *, reason: str = "", store: Store | None = None) -> Promotion:
    """Move a version up a stage, if its gates and approvals let it; inside a pipeline, add the step that does so.

    Raises TransitionRefused with each gate's verdict, Conflict if somebody else changed the model in between.
    """
    if current_builder() is not None:
        return _promote(version, stage, reason)
    return registering.promote(version, stage, reason=reason, store=store)


# Their effect is in the store and not in their result, so they are never taken from a cache; both do nothing the second time.
@step(name="register", cache=False)
def _register(name: str, model: Model, evidence: Evaluation | Sequence[Evaluation] | None, policy: Policy | None) -> Version:
    return registering.register(name, model, evidence=evidence, policy=policy)


@step(name="promote", cache=False)
def _promote(version: Version | str, stage: str, reason: str) -> Promotion:
    return registering.promote(version, stage, reason=reason)
