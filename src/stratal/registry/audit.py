"""The audit log as a chain: each entry's hash covers its content and the hash before it.

`verify` finds what was changed, removed, inserted or reordered. A tail that was cut, or a log that was written anew from
some point on, is found by a checkpoint that was kept outside of the database, and by folding the log: it must give the
standings that are there.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from stratal.core.errors import Misuse
from stratal.core.records import Record, from_json, to_json
from stratal.registry.versions import Move

NOTHING = "0" * 64
# What is shown of "policy DIGEST", as elsewhere: twelve digits.
SHORT_POLICY = len("policy ") + 12


class Entry(Record, frozen=True, kw_only=True):
    """One change: who, when, what, on which model. `body` is JSON text."""

    seq: int
    at_ns: int
    actor: str
    is_authenticated: bool
    action: str
    model: str
    body: str
    prev: str
    hash: str

    @property
    def moves(self) -> tuple[Move, ...]:
        return from_json(self.body, _Body).moves

    @property
    def about(self) -> str:
        """What it changed, as people read it: `@1 Staging → Production`; of a request or an approval, what for: `@1 → Production`."""
        body = from_json(self.body, _Body)
        if body.moves:
            return ", ".join(f"@{move.number} {'' if move.source is None else f'{move.source} '}→ {move.target}" for move in body.moves)
        if body.alias is not None:
            return f"{body.alias} → {'nothing' if body.number is None else f'@{body.number}'}"
        if body.target and body.of:
            return f"@{body.of} → {body.target}"
        return (body.target or (f"policy {body.policy}" if body.policy else ""))[:SHORT_POLICY]

    @property
    def reason(self) -> str:
        return from_json(self.body, _Body).reason


class Checkpoint(Record, frozen=True, kw_only=True):
    """The head of the log at some time. Keep it where who can write the database cannot."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class AuditReport(Record, frozen=True, kw_only=True):
    """What `verify` found. `head` is the checkpoint to keep."""

    entries: int
    head: Checkpoint
    findings: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        return not self.findings


class _Body(Record, frozen=True, kw_only=True):
    moves: tuple[Move, ...] = ()
    reason: str = ""
    alias: str | None = None
    number: int | None = None
    digest: str | None = None
    policy: str | None = None
    request: str | None = None
    of: int = 0
    target: str = ""


class Folded(Record, frozen=True, kw_only=True):
    """What is so, as text by thing: stages, digests, aliases, policies and approvals. From the log, or from the tables."""

    stages: dict[str, str]
    digests: dict[str, str]
    aliases: dict[str, str]
    policies: dict[str, str]
    approvals: dict[str, str]


def read_checkpoint(text: str) -> Checkpoint:
    """Read "SEQ:HASH". Raises Misuse."""
    seq, _, digest = text.strip().partition(":")
    if not seq.isdecimal() or len(digest) != 64:
        raise Misuse(f"{text[:100]!r} is not a checkpoint", hint="it is what `stratal audit verify` printed: SEQ:HASH")
    return Checkpoint(seq=int(seq), hash=digest)


def chain(prev: str, *, seq: int, at_ns: int, actor: str, is_authenticated: bool, action: str, model: str, body: str) -> Entry:
    """Make the next entry of the log."""
    digest = _hash(prev, seq, at_ns, actor, is_authenticated, action, model, body)
    return Entry(
        seq=seq,
        at_ns=at_ns,
        actor=actor,
        is_authenticated=is_authenticated,
        action=action,
        model=model,
        body=body,
        prev=prev,
        hash=digest,
    )


def find_breaks(entries: Iterable[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
    """List what is wrong with a log, in plain words; empty: it is whole."""
    findings: list[str] = []
    prev, expected = NOTHING, 1
    for entry in entries:
        if entry.seq != expected:
            findings.append(f"entry {expected} is missing or out of order: entry {entry.seq} stands in its place")
        if entry.prev != prev:
            findings.append(f"entry {entry.seq} does not follow the one before it")
        own = _hash(entry.prev, entry.seq, entry.at_ns, entry.actor, entry.is_authenticated, entry.action, entry.model, entry.body)
        if own != entry.hash:
            findings.append(f"entry {entry.seq} was changed: its content does not give its hash")
        if checkpoint is not None and entry.seq == checkpoint.seq and entry.hash != checkpoint.hash:
            findings.append(f"entry {entry.seq} is not the one of the checkpoint: the log was written anew")
        prev, expected = entry.hash, entry.seq + 1
    if checkpoint is not None and expected <= checkpoint.seq:
        findings.append(f"the log ends at entry {expected - 1}, and the checkpoint is of entry {checkpoint.seq}: its end was cut")
    return findings


def fold(entries: Iterable[Entry]) -> Folded:
    """Give what the log says is so, from empty."""
    folded = Folded(stages={}, digests={}, aliases={}, policies={}, approvals={})
    for entry in entries:
        body = from_json(entry.body, _Body)
        for move in body.moves:
            folded.stages[name_version(entry.model, move.number)] = move.target
        if body.digest is not None and body.number is not None:
            folded.digests[name_version(entry.model, body.number)] = body.digest
        if body.alias is not None:
            alias = name_alias(entry.model, body.alias)
            folded.aliases.pop(alias, None)
            if body.number is not None:
                folded.aliases[alias] = str(body.number)
        if body.policy is not None:
            folded.policies[f"model:{entry.model}"] = body.policy
        if body.request is not None and entry.action == "approve":
            folded.approvals[name_approval(body.request, entry.actor)] = "given"
    return folded


def compare(folded: Folded, actual: Folded) -> list[str]:
    """List where the tables say other than the log."""
    return [
        *_differences(folded.stages, actual.stages, "stands in"),
        *_differences(folded.digests, actual.digests, "has digest"),
        *_differences(folded.aliases, actual.aliases, "names version"),
        *_differences(folded.policies, actual.policies, "is under policy"),
        *_differences(folded.approvals, actual.approvals, "is"),
    ]


def name_version(model: str, number: int) -> str:
    return f"model:{model}@{number}"


def name_alias(model: str, alias: str) -> str:
    return f"alias {alias} of model:{model}"


def name_approval(request: str, person: str) -> str:
    return f"approval of {request} by {person}"


def _differences(said: Mapping[str, str], found: Mapping[str, str], verb: str) -> list[str]:
    keys: Sequence[str] = sorted(said.keys() | found.keys())
    return [
        f"{key} {verb} {found.get(key, 'nothing')}, and the log says {said.get(key, 'nothing')}"
        for key in keys
        if said.get(key) != found.get(key)
    ]


def _hash(prev: str, *content: object) -> str:
    # A JSON list has one reading only: no two contents run together to the same bytes.
    return hashlib.sha256(f"{prev}{to_json(list(content))}".encode()).hexdigest()
