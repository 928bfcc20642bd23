"""Approvals: who may say yes to a request, and which of the yeses still count.

An approval binds to the evidence digest of its request. New evidence, a new champion, a new policy, an expiry or a lost
role makes it void: it is shown as such, and never deleted.
"""

import unicodedata
from collections.abc import Sequence
from enum import StrEnum

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Forbidden
from stratal.core.people import EVERYTHING, Grant, Identity, Role, holds
from stratal.core.records import Record
from stratal.registry.policies import Approvals
from stratal.store.access.records import Known


class RequestState(StrEnum):
    """OPEN takes approvals; APPLIED has moved the version; VOID can no longer."""

    OPEN = "open"
    APPLIED = "applied"
    VOID = "void"


class Request(Record, frozen=True, kw_only=True):
    """A wish to reach `target` (a stage, or "policy DIGEST"), on the evidence that was there. `number` 0: no version."""

    id: str
    model: str
    number: int
    target: str
    by: str
    at_ns: int
    evidence: str
    state: RequestState
    why: str = ""


class Approval(Record, frozen=True, kw_only=True):
    """One person's yes to a request, on the evidence that they saw."""

    request: str
    person: str
    is_authenticated: bool
    at_ns: int
    evidence: str
    note: str = ""


class Ruling(Record, frozen=True, kw_only=True):
    """What approvals are worth now: who counts, who does not and why, and what is still missing."""

    counted: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class People(Record, frozen=True, kw_only=True):
    """Who is who for a request. `grants` are those of the store that speak of the model or of everything; `disabled`: who is locked out."""

    model: str
    requester: str
    author: str
    grants: tuple[Grant, ...] = ()
    disabled: tuple[str, ...] = ()


def is_same_person(one: str, other: str) -> bool:
    """Tell whether two names are one person's: letter case, width and blanks make nobody else."""
    return _fold(one) == _fold(other)


def holds_role(people: People, person: str, role: str) -> bool:
    """Tell whether somebody holds a role on the model. A store without any grant for it trusts what is asserted."""
    on = f"model:{people.model}"
    known = [grant for grant in people.grants if grant.on in (EVERYTHING, on)]
    return not known or holds(known, person, role, on)


def is_disabled(people: People, person: str) -> bool:
    """Tell whether somebody is locked out, however their name is written."""
    return any(is_same_person(person, each) for each in people.disabled)


def check_may_approve(who: Identity, people: People, needs: Sequence[Approvals]) -> None:
    """Raise Forbidden if `who` may not approve: requester, author, locked out, without any role that is asked for, or only
    asserted; or by a token that is bounded to less than approver."""
    if is_disabled(people, who.name):
        raise Forbidden(f"{who.name} is locked out", hint="an admin lets them in again: stratal user enable NAME")
    if is_same_person(who.name, people.requester):
        raise Forbidden(f"{who.name} asked for this, and nobody approves what they asked for", hint="ask somebody else to approve it")
    if is_same_person(who.name, people.author):
        raise Forbidden(f"{who.name} made this, and nobody approves what they made", hint="ask somebody else to approve it")
    held = [need for need in needs if holds_role(people, who.name, need.role)]
    if not held:
        roles = ", ".join(sorted({need.role for need in needs}))
        raise Forbidden(f"{who.name} does not hold a role that may approve on model:{people.model}", hint=f"asked for: {roles}")
    if all(need.authenticated for need in held) and not who.is_authenticated:
        raise Forbidden(f"{who.name} is only asserted, and the policy asks for an identity that a server has checked", hint="sign in")
    if isinstance(who, Known) and not who.scope.lets(Role.APPROVER, f"model:{people.model}"):
        bound = who.scope.role.name.lower()
        raise Forbidden(f"this token of {who.name} is bounded to {bound}, and so approves nothing", hint="use another token, or sign in")


def rule(needs: Sequence[Approvals], given: Sequence[Approval], evidence: str, people: People, now_ns: int) -> Ruling:
    """Count the approvals of one request. One person counts once, and for one role only."""
    valid: dict[str, Approval] = {}
    void: list[str] = []
    for approval in sorted(given, key=lambda each: each.at_ns):
        why = _why_void(approval, needs, evidence, people, now_ns)
        if why is None:
            valid.setdefault(_fold(approval.person), approval)
        else:
            void.append(f"{approval.person}: {why}")
    seats = [need for need in needs for _ in range(need.count)]
    taken = _seat(seats, list(valid.values()), people, now_ns)
    missing = []
    for need in needs:
        lacking = sum(1 for index, seat in enumerate(seats) if seat == need and index not in taken)
        if lacking:
            missing.append(f"{lacking} approval{'s' if lacking > 1 else ''} by role {need.role}")
    counted = sorted(taken.values(), key=lambda each: each.at_ns)
    return Ruling(counted=tuple(each.person for each in counted), void=tuple(void), missing=tuple(missing))


def _why_void(approval: Approval, needs: Sequence[Approvals], evidence: str, people: People, now_ns: int) -> str | None:
    if approval.evidence != evidence:
        return "the evidence, the champion or the policy has changed since"
    if is_same_person(approval.person, people.requester):
        return "asked for it"
    if is_same_person(approval.person, people.author):
        return "made it"
    if is_disabled(people, approval.person):
        return "they are locked out"
    if approval.at_ns > now_ns:
        return "it lies in the future, the clock has been set back"
    if all(_is_expired(approval, need, now_ns) for need in needs):
        return "it has expired"
    if not any(_may_sit(approval, need, people, now_ns) for need in needs):
        return "they no longer hold a role that is asked for"
    return None


def _seat(seats: Sequence[Approvals], given: Sequence[Approval], people: People, now_ns: int) -> dict[int, Approval]:
    """Give each seat a person who may hold it, filling as many as possible (augmenting paths: few people, few seats)."""
    taken: dict[int, Approval] = {}

    def place(approval: Approval, tried: set[int]) -> bool:
        for index, need in enumerate(seats):
            if index in tried or not _may_sit(approval, need, people, now_ns):
                continue
            tried.add(index)
            if index not in taken or place(taken[index], tried):
                taken[index] = approval
                return True
        return False

    for approval in given:
        place(approval, set())
    return taken


def _may_sit(approval: Approval, need: Approvals, people: People, now_ns: int) -> bool:
    if _is_expired(approval, need, now_ns) or (need.authenticated and not approval.is_authenticated):
        return False
    return holds_role(people, approval.person, need.role)


def _is_expired(approval: Approval, need: Approvals, now_ns: int) -> bool:
    return now_ns > approval.at_ns + need.expires_s * SECOND_NS


def _fold(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
