"""Assessing a transition, and asking for and giving approvals, inside the caller's transaction."""

from collections.abc import Sequence

from stratal.core.errors import Misuse
from stratal.core.ids import new_id
from stratal.core.records import to_json
from stratal.registry.approving import Approval, People, Request, RequestState, Ruling, check_may_approve, is_same_person, rule
from stratal.registry.assessing import Assessment, TransitionRefused
from stratal.registry.facts import collect
from stratal.registry.gates import Champion, Facts, GateResult, evidence_digest, judge
from stratal.registry.policies import Approvals, Policy
from stratal.registry.stages import Stage, Verb, find_transition, has_passed
from stratal.registry.store import logs, rows
from stratal.registry.store.rows import ModelRow
from stratal.registry.versions import Version
from stratal.store.access.rows import disabled
from stratal.store.database import Transaction

POLICY = "policy"


def assess(tx: Transaction, model: ModelRow, number: int, target: Stage) -> Assessment:
    """Give verdicts and approvals for one transition. Raises Misuse if the table has no such promotion.

    A stage already held or passed needs nothing, so no gate is asked.
    """
    version = rows.need_version(tx, model.name, number)
    stage = rows.need_standing(tx, model.name, number).stage
    policy = None if model.policy is None else rows.read_policy(tx, model.policy)
    if policy is not None and not has_passed(stage, target):
        find_transition(stage, Verb.PROMOTE, target)
    champion = _champion(tx, model.name)
    now_ns = logs.now_ns(tx)
    if policy is None or has_passed(stage, target):
        facts = Facts(digest=version.digest, now_ns=now_ns, champion=champion)
        results: tuple[GateResult, ...] = ()
    else:
        facts = collect(tx, version, champion, now_ns)
        results = judge(policy, target, facts)
    evidence = evidence_digest(policy, target, facts, results)
    request = find_request(tx, model.name, number, target, evidence)
    return Assessment(
        name=model.name,
        number=number,
        digest=version.digest,
        stage=stage,
        target=target,
        epoch=model.epoch,
        policy=model.policy,
        champion=None if champion is None else champion.ref,
        results=results,
        ruling=_ruling(tx, policy, target, request, version.author, evidence, model.name),
        evidence=evidence,
        request=request,
    )


def find_request(tx: Transaction, name: str, number: int, target: str, evidence: str) -> Request | None:
    """Give the open request for that, on that very evidence."""
    wanted = (number, target, evidence)
    return next((each for each in logs.open_requests(tx, name) if (each.number, each.target, each.evidence) == wanted), None)


def open_request(tx: Transaction, seen: Assessment, by: str) -> Request:
    """Open a request on the evidence that is there; those on other evidence become void. `seen` has none yet."""
    for older in logs.open_requests(tx, seen.name):
        if (older.number, older.target) == (seen.number, seen.target):
            logs.close_request(tx, older.id, RequestState.VOID, "there is other evidence")
    return ask(tx, seen.name, seen.number, seen.target, seen.evidence, by=by)


def ask(tx: Transaction, name: str, number: int, target: str, evidence: str, *, by: str) -> Request:
    """Write a request and its entry in the log."""
    request = Request(
        id=new_id(_Fixed(tx.now_ns)),
        model=name,
        number=number,
        target=target,
        by=by,
        at_ns=logs.now_ns(tx),
        evidence=evidence,
        state=RequestState.OPEN,
    )
    logs.add_request(tx, request)
    logs.append(tx, "request", name, {"request": request.id, "of": number, "target": target, "evidence": evidence, "by": by})
    tx.emit(
        "approval asked",
        f"model:{name}@{number}" if number else f"model:{name}",
        to_json({"request": request.id, "target": target, "by": by}),
    )
    return request


def approve(tx: Transaction, model: ModelRow, number: int, target: Stage, note: str) -> Approval:
    """Give the acting person's approval for what `assess` sees now. Without a request, its author is taken to have asked.

    Raises TransitionRefused if gates hold it back: such evidence can never be used, so there is nothing to approve.
    """
    policy = None if model.policy is None else rows.read_policy(tx, model.policy)
    needs = () if policy is None else policy.approvals(target)
    if not needs:
        raise Misuse(f"nobody has to approve model:{model.name} for {target}", hint="its policy asks for no approvals there")
    seen = assess(tx, model, number, target)
    if has_passed(seen.stage, target):
        raise Misuse(f"{seen.ref} is in {seen.stage} already", hint="there is nothing to approve")
    if not seen.gates_pass:
        raise TransitionRefused(seen)
    author = rows.need_version(tx, model.name, number).author
    requester = seen.request.by if seen.request is not None else author
    people = people_of(tx, model.name, requester=requester, author=author)
    check_may_approve(tx.actor, people, needs)
    request = seen.request or open_request(tx, seen, author)
    return say_yes(tx, request, note, {"results": seen.results})


def people_of(tx: Transaction, name: str, *, requester: str, author: str) -> People:
    """Give who is who for a request about a model."""
    return People(model=name, requester=requester, author=author, grants=rows.grants_on(tx, name), disabled=disabled(tx))


def say_yes(tx: Transaction, request: Request, note: str, shown: dict[str, object]) -> Approval:
    """Write an approval and its entry in the log; one person's second yes to the same request changes nothing."""
    for given in logs.approvals_of(tx, request.id):
        if is_same_person(given.person, tx.actor.name):
            return given
    approval = Approval(
        request=request.id,
        person=tx.actor.name,
        is_authenticated=tx.actor.is_authenticated,
        at_ns=logs.now_ns(tx),
        evidence=request.evidence,
        note=note,
    )
    logs.add_approval(tx, approval)
    body: dict[str, object] = {"request": request.id, "of": request.number, "target": request.target, "evidence": request.evidence, **shown}
    logs.append(tx, "approve", request.model, {**body, "reason": note})
    of = f"model:{request.model}@{request.number}" if request.number else f"model:{request.model}"
    tx.emit("approved", of, to_json({"request": request.id, "target": request.target, "by": approval.person}))
    return approval


def rule_on(tx: Transaction, needs: Sequence[Approvals], request: Request | None, author: str, evidence: str, name: str) -> Ruling:
    """Count a request's approvals; without a request, none are there."""
    given = [] if request is None else logs.approvals_of(tx, request.id)
    requester = author if request is None else request.by
    people = people_of(tx, name, requester=requester, author=author)
    return rule(needs, given, evidence, people, logs.now_ns(tx))


def _ruling(
    tx: Transaction, policy: Policy | None, target: Stage, request: Request | None, author: str, evidence: str, name: str
) -> Ruling:
    needs = () if policy is None else policy.approvals(target)
    return rule_on(tx, needs, request, author, evidence, name) if needs else Ruling()


def _champion(tx: Transaction, name: str) -> Champion | None:
    """Give who serves: the one version in Production, of an ungoverned model the latest comer."""
    for standing in rows.in_stage(tx, name, Stage.PRODUCTION):
        version: Version = rows.need_version(tx, name, standing.number)
        return Champion(ref=version.ref, digest=version.digest)
    return None


class _Fixed:
    """The transaction's time, for ids."""

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_s(self) -> float:
        return 0.0
