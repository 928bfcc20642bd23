"""The verbs of the registry, as people call them. Each is one decision; the store's operations below do the work."""

from collections.abc import Sequence

from stratal.core.errors import Misuse, NotFound, Refused
from stratal.registry.approving import Approval
from stratal.registry.assessing import Assessment, PolicyChange, Promotion, TransitionRefused, nothing_to_do
from stratal.registry.audit import AuditReport, Entry
from stratal.registry.policies import Policy, policy_to_json
from stratal.registry.resolving import find_version, model_name
from stratal.registry.store import ModelStore
from stratal.registry.store.deciding import POLICY
from stratal.registry.versions import ModelSummary, Version
from stratal.store.store import Store
from stratal.tracking.active import active_run
from stratal.tracking.opening import current_store
from stratal.tracking.operations.reading import RunReads
from stratal.tracking.values import Evaluation, Model


def register(
    name: str,
    model: Model,
    *,
    evidence: Evaluation | Sequence[Evaluation] | None = None,
    policy: Policy | None = None,
    store: Store | None = None,
) -> Version:
    """Make a version of a model, in Development. The same model gives the same version, however often it is registered.

    evidence: evaluations of this very model, whose facts its gates will read. policy: brought into force for the model.
    Raises Misuse for evidence of another model, NotFound if files of the model are missing, Refused if the policy in force
    asks for approvals of another one (the version is there all the same).
    """
    store = store or current_store()
    given = [evidence] if isinstance(evidence, Evaluation) else list(evidence or ())
    _check_evidence(store, model, given)
    text = None if policy is None else policy_to_json(policy)
    done = ModelStore(store).register_version(name=name, digest=model.digest, run=model.run, path=model.path, policy=text)
    active = active_run()
    if active is not None and active.store.folder == store.folder:
        active.edge("produced", done.version.ref, role="model")
    if done.policy is not None and not done.policy.is_in_force:
        raise Refused(done.policy.said, hint=f"{done.version.ref} is there; somebody else approves: stratal approve model:{name} {POLICY}")
    return done.version


def promote(version: Version | str, stage: str, *, reason: str = "", store: Store | None = None) -> Promotion:
    """Move a version up a stage, if its gates and approvals let it. A stage already held or passed changes nothing.

    version: a Version, or a ref as "model:churn@7". Into Production it archives the predecessor, in the same transaction.
    Raises TransitionRefused with each gate's verdict (and asks for missing approvals), Misuse for a transition that the table
    does not have, Conflict if somebody else changed the model in between.
    """
    models = ModelStore(store or current_store())
    found = find_version(models, version)
    seen = models.assess(name=found.name, number=found.number, stage=stage)
    nothing = nothing_to_do(seen)
    if nothing is not None:
        return nothing
    if not seen.is_ready:
        if seen.gates_pass:
            seen = models.open_request(name=found.name, number=found.number, stage=stage)
        if not seen.is_ready:
            raise TransitionRefused(seen)
    return models.promote(name=found.name, number=found.number, stage=stage, epoch=seen.epoch, evidence=seen.evidence, reason=reason)


def assess(version: Version | str, stage: str, *, store: Store | None = None) -> Assessment:
    """Say what gates and approvals say of a transition, and change nothing."""
    models = ModelStore(store or current_store())
    found = find_version(models, version)
    return models.assess(name=found.name, number=found.number, stage=stage)


def approve(version: Version | str, stage: str, *, note: str = "", store: Store | None = None) -> Approval:
    """Approve a version for a stage, on the evidence that is there now; or, with stage "policy", the policy asked for.

    Raises Forbidden for who requested or made it or lacks the role, TransitionRefused if gates hold it back.
    """
    models = ModelStore(store or current_store())
    if stage.lower() == POLICY:
        name = version.name if isinstance(version, Version) else model_name(version)
        return models.approve_policy(name=name, note=note)
    found = find_version(models, version)
    return models.approve(name=found.name, number=found.number, stage=stage, note=note)


def set_policy(name: str, policy: Policy, *, reason: str = "", store: Store | None = None) -> PolicyChange:
    """Bring a policy into force. Where the old one asks for approvals, it waits for them; call again when they are given."""
    models = ModelStore(store or current_store())
    return models.set_policy(name=model_name(name), policy=policy_to_json(policy), reason=reason)


def rollback(name: str, *, reason: str, store: Store | None = None) -> Promotion:
    """Bring the predecessor back into Production. Raises NotFound if there is none."""
    return ModelStore(store or current_store()).rollback(name=model_name(name), reason=reason)


def archive(version: Version | str, *, reason: str, store: Store | None = None) -> Promotion:
    """Take a version out of use. Nothing is deleted."""
    models = ModelStore(store or current_store())
    found = find_version(models, version)
    return models.archive(name=found.name, number=found.number, reason=reason)


def send_back(version: Version | str, *, reason: str, store: Store | None = None) -> Promotion:
    """Return a version from Staging to Development."""
    models = ModelStore(store or current_store())
    found = find_version(models, version)
    return models.send_back(name=found.name, number=found.number, reason=reason)


def revive(version: Version | str, *, reason: str, store: Store | None = None) -> Promotion:
    """Bring an archived version back to Development."""
    models = ModelStore(store or current_store())
    found = find_version(models, version)
    return models.revive(name=found.name, number=found.number, reason=reason)


def alias(name: str, word: str, version: Version | str | int, *, store: Store | None = None) -> Version:
    """Let a word name a version: afterwards "model:NAME@WORD" does. No gate is asked; who serves reads a stage."""
    models = ModelStore(store or current_store())
    name = model_name(name)
    number = version if isinstance(version, int) else _same_model(name, find_version(models, version)).number
    return models.set_alias(name=name, alias=word, number=number)


def history(name: str, *, store: Store | None = None) -> list[Entry]:
    """List all that happened to a model, oldest first: who did what, when, and why."""
    return ModelStore(store or current_store()).history(name=model_name(name))


def list_models(*, store: Store | None = None) -> list[ModelSummary]:
    """List all models by name."""
    return ModelStore(store or current_store()).models()


def list_versions(name: str, *, limit: int = 100, store: Store | None = None) -> list[Version]:
    """List a model's versions, the newest first."""
    return ModelStore(store or current_store()).versions(name=model_name(name), limit=limit)


def verify_audit(*, checkpoint: str | None = None, store: Store | None = None) -> AuditReport:
    """Check the audit log: its chain, a checkpoint kept elsewhere, and that it gives the standings that are there."""
    return ModelStore(store or current_store()).verify_audit(checkpoint=checkpoint)


def _check_evidence(store: Store, model: Model, given: Sequence[Evaluation]) -> None:
    subject = f"sha256:{model.digest}"
    for each in given:
        if each.subject != subject:
            raise Misuse(
                f"the evaluation in run {each.run[-8:]} speaks of another model", hint="evaluate this model, and give that evaluation"
            )
    if not given:
        return
    stating = {each.run for each in RunReads(store).stated(kind="evaluation", subject=subject)}
    for each in given:
        if each.run not in stating:
            raise NotFound(
                f"run {each.run[-8:]} states no evaluation of this model", hint="evaluate it: st.evaluate(model, test, target=...)"
            )


def _same_model(name: str, found: Version) -> Version:
    if found.name != name:
        raise Misuse(f"{found.ref} is no version of model:{name}", hint="an alias names a version of its own model")
    return found
