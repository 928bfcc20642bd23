"""Which policy is in force. A change is asked for under the old one: what approves a version approves its rules."""

import hashlib

from stratal.core.errors import Misuse
from stratal.core.records import to_json
from stratal.registry.approving import Approval, Request, RequestState, check_may_approve
from stratal.registry.assessing import PolicyChange
from stratal.registry.policies import Policy
from stratal.registry.store import deciding, logs, moving, rows
from stratal.registry.store.rows import ModelRow
from stratal.store.database import Transaction


def change_policy(tx: Transaction, model: ModelRow, wanted: Policy, *, reason: str) -> PolicyChange:
    """Bring a policy into force, or ask for the approvals that the old one wants for it.

    Raises Conflict while the model breaks the new policy's limits.
    """
    digest = wanted.digest
    if model.policy == digest:
        said = f"model:{model.name} is under this policy already"
        return PolicyChange(name=model.name, digest=digest, is_in_force=True, changed=False, said=said)
    rows.add_policy(tx, wanted)
    old = None if model.policy is None else rows.read_policy(tx, model.policy)
    needs = () if old is None else old.approvals_to_change()
    if not needs:
        return _bring_into_force(tx, model, digest, reason=reason, request=None, approved_by=())
    target, evidence = f"{deciding.POLICY} {digest}", _evidence(model, digest)
    request = deciding.find_request(tx, model.name, 0, target, evidence)
    if request is None:
        request = deciding.ask(tx, model.name, 0, target, evidence, by=tx.actor.name)
    ruling = deciding.rule_on(tx, needs, request, request.by, evidence, model.name)
    if not ruling.missing:
        return _bring_into_force(tx, model, digest, reason=reason, request=request, approved_by=ruling.counted)
    said = f"the policy {digest[:12]}… of model:{model.name} waits for {', '.join(ruling.missing)}"
    return PolicyChange(
        name=model.name, digest=digest, is_in_force=False, changed=False, said=said, missing=ruling.missing, request=request
    )


def approve_policy(tx: Transaction, model: ModelRow, note: str) -> Approval:
    """Approve the newest policy that was asked for. Raises Misuse if there is none."""
    wanted = [each for each in logs.open_requests(tx, model.name) if each.number == 0]
    if not wanted or model.policy is None:
        raise Misuse(f"nobody has asked for another policy of model:{model.name}", hint="st.set_policy(NAME, policy) asks for one")
    request = wanted[0]
    needs = rows.read_policy(tx, model.policy).approvals_to_change()
    people = deciding.people_of(tx, model.name, requester=request.by, author=request.by)
    check_may_approve(tx.actor, people, needs)
    return deciding.say_yes(tx, request, note, {})


def _bring_into_force(
    tx: Transaction, model: ModelRow, digest: str, *, reason: str, request: Request | None, approved_by: tuple[str, ...]
) -> PolicyChange:
    rows.raise_epoch(tx, model.name, model.epoch)
    moving.check_limits(tx, model)
    if request is not None:
        logs.close_request(tx, request.id, RequestState.APPLIED, "")
    for other in logs.open_requests(tx, model.name):
        logs.close_request(tx, other.id, RequestState.VOID, "there is another policy")
    rows.set_policy_digest(tx, model.name, digest)
    logs.append(tx, "policy", model.name, {"policy": digest, "was": model.policy, "approved_by": approved_by, "reason": reason})
    tx.emit("policy", f"model:{model.name}", to_json({"policy": digest}))
    said = f"model:{model.name} is under policy {digest[:12]}… from now on"
    return PolicyChange(name=model.name, digest=digest, is_in_force=True, changed=True, said=said, request=request)


def _evidence(model: ModelRow, digest: str) -> str:
    return hashlib.sha256(to_json([model.name, model.policy, digest]).encode()).hexdigest()
