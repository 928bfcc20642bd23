"""The operations of the registry. Each is one transaction; a server may serve them as they are."""

import re

from stratal.core.errors import Conflict, Misuse, NotFound
from stratal.core.people import Role
from stratal.core.records import Record
from stratal.registry.approving import Approval, Request
from stratal.registry.assessing import Assessment, PolicyChange, Promotion, TransitionRefused, nothing_to_do
from stratal.registry.audit import AuditReport, Checkpoint, Entry, compare, find_breaks, fold, read_checkpoint
from stratal.registry.manifests import read_checked_manifest
from stratal.registry.names import check_model_name
from stratal.registry.policies import policy_from_json, policy_to_json
from stratal.registry.stages import Stage, Verb, find_stage, to_stage
from stratal.registry.store import adding, deciding, logs, moving, policies, rows
from stratal.registry.versions import ModelSummary, Standing, Version
from stratal.store.database import Transaction
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.store.uses import check_named

LARGEST = 2**31 - 1


class Registered(Record, frozen=True, kw_only=True):
    """What registering did. `is_new` False: these bytes were a version already. `policy`: what became of the one given."""

    version: Version
    is_new: bool
    policy: PolicyChange | None = None


class ModelStore:
    """Models, versions and stages in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def register_version(self, *, name: str, digest: str, run: str, path: str, policy: str | None = None) -> Registered:
        """Make a version, or give the one that these bytes are already. Key: (name, digest).

        digest: of the model's manifest, which the store must hold with all files that it names, unchanged. Where a server asks: which
        the run must hold, too, and which the caller may read or has sent.
        policy: JSON, brought into force as by `set_policy`.
        """
        check_model_name(name)
        wanted = None if policy is None else policy_from_json(policy)
        manifest = read_checked_manifest(self._store, digest, check_named)
        with self._store.command(runs=[run]) as tx:
            adding.check_run_holds(tx, run, digest, manifest)
            version, is_new = adding.register(tx, name, digest, run, path, manifest)
            outcome = None
            if wanted is not None:
                outcome = policies.change_policy(tx, rows.need_model(tx, name), wanted, reason=f"given with {version.ref}")
            return Registered(version=version, is_new=is_new, policy=outcome)

    @operation(needs=Role.VIEWER, on="name")
    def assess(self, *, name: str, number: int, stage: str) -> Assessment:
        """Say what stands between a version and a stage, on one snapshot, and change nothing."""
        with self._store.query() as tx:
            return deciding.assess(tx, rows.need_model(tx, name), number, to_stage(stage))

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def promote(
        self, *, name: str, number: int, stage: str, epoch: int, evidence: str, reason: str = "", keep_others: bool = False
    ) -> Promotion:
        """Move a version up, if all that was seen at `epoch` and `evidence` is still so.

        Raises Conflict if it is not, TransitionRefused if gates or approvals hold it back.
        keep_others: of an ungoverned model, leave who is in Production there.
        """
        with self._store.command() as tx:
            model = rows.need_model(tx, name)
            seen = deciding.assess(tx, model, number, to_stage(stage))
            if model.epoch != epoch or seen.evidence != evidence:
                raise Conflict(
                    f"what was decided on has changed: {seen.ref} is in {seen.stage}, the champion is {seen.champion or 'nobody'}",
                    hint=f"look at it again: stratal gates {seen.ref} {seen.target}",
                )
            if (nothing := nothing_to_do(seen)) is not None:
                return nothing
            if not seen.is_ready:
                raise TransitionRefused(seen)
            if keep_others and model.policy is not None:
                raise Misuse(f"model:{name} has a policy, and its limits hold", hint="leave keep_others out")
            return moving.promote(tx, model, seen, reason=reason, keep_others=keep_others)

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def open_request(self, *, name: str, number: int, stage: str) -> Assessment:
        """Ask for the approvals that a transition lacks, and give what is there afterwards. Key: the evidence.

        Opens nothing while gates hold it back, or when nothing lacks.
        """
        with self._store.command() as tx:
            model = rows.need_model(tx, name)
            seen = deciding.assess(tx, model, number, to_stage(stage))
            if seen.gates_pass and seen.ruling.missing and seen.request is None:
                deciding.open_request(tx, seen, tx.actor.name)
                return deciding.assess(tx, model, number, to_stage(stage))
            return seen

    @operation(needs=Role.CONTRIBUTOR, on="name", asks_itself=True)
    def approve(self, *, name: str, number: int, stage: str, note: str = "") -> Approval:
        """Approve a transition on the evidence that is there now. Key: (request, person)."""
        with self._store.command() as tx:
            return deciding.approve(tx, rows.need_model(tx, name), number, to_stage(stage), note)

    @operation(needs=Role.CONTRIBUTOR, on="name", asks_itself=True)
    def approve_policy(self, *, name: str, note: str = "") -> Approval:
        """Approve the policy that was asked for. Key: (request, person)."""
        with self._store.command() as tx:
            return policies.approve_policy(tx, rows.need_model(tx, name), note)

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def set_policy(self, *, name: str, policy: str, reason: str = "") -> PolicyChange:
        """Bring a policy (JSON) into force, or ask for the approvals that the old one wants. Key: its digest."""
        wanted = policy_from_json(policy)
        with self._store.command() as tx:
            return policies.change_policy(tx, rows.need_model(tx, name), wanted, reason=reason)

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def archive(self, *, name: str, number: int, reason: str) -> Promotion:
        """Take a version out of use."""
        return self._move(name, number, Verb.ARCHIVE, Stage.ARCHIVED, reason)

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def send_back(self, *, name: str, number: int, reason: str) -> Promotion:
        """Return a version from Staging to Development."""
        return self._move(name, number, Verb.RETURN, Stage.DEVELOPMENT, reason)

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def revive(self, *, name: str, number: int, reason: str) -> Promotion:
        """Bring an archived version back to Development."""
        return self._move(name, number, Verb.REVIVE, Stage.DEVELOPMENT, reason)

    @operation(needs=Role.APPROVER, on="name")
    def rollback(self, *, name: str, reason: str) -> Promotion:
        """Bring the predecessor back into Production. Raises NotFound if there is none, or its files are gone."""
        while True:
            with self._store.query() as tx:
                number = moving.find_predecessor(tx, rows.need_model(tx, name).name)
                needed = rows.blobs_of(tx, f"model:{name}@{number}")
            for blob in needed:  # outside of the transaction: an object store that is away must not keep all writers waiting
                if not self._store.blobs.has(blob):
                    raise NotFound(
                        f"model:{name}@{number} cannot serve: its file {blob[:12]}… is not in the store", hint="restore it from a backup"
                    )
            with self._store.command() as tx:
                model = rows.need_model(tx, name)
                if moving.find_predecessor(tx, model.name) == number:  # else somebody was faster, and another one's files count
                    return moving.rollback(tx, model, reason=reason)

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def set_alias(self, *, name: str, alias: str, number: int, is_foreign: bool = False) -> Version:
        """Let an alias name a version. Key: (name, alias). is_foreign: another tool brought it; it may be a word of refs."""
        with self._store.command() as tx:
            return adding.set_alias(tx, name, alias, number, is_foreign=is_foreign)

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def drop_alias(self, *, name: str, alias: str) -> bool:
        """Take an alias away; False if there was none."""
        with self._store.command() as tx:
            return adding.drop_alias(tx, name, alias)

    @operation(needs=Role.VIEWER)
    def models(self) -> list[ModelSummary]:
        """List all models by name."""
        with self._store.query() as tx:
            return rows.summaries(tx)

    @operation(needs=Role.VIEWER, on="name")
    def version(self, *, name: str, number: int) -> Version:
        """Give one version."""
        with self._store.query() as tx:
            return rows.need_version(tx, name, number)

    @operation(needs=Role.VIEWER, on="name")
    def versions(self, *, name: str, below: int = LARGEST, limit: int = 100) -> list[Version]:
        """List versions, the newest first, a page at a time: those with numbers under `below`."""
        with self._store.query() as tx:
            rows.need_model(tx, name)
            return rows.versions(tx, name, below=below, limit=limit)

    @operation(needs=Role.VIEWER, on="name")
    def standings(self, *, name: str) -> dict[int, Standing]:
        """Give where each version stands, by number."""
        with self._store.query() as tx:
            rows.need_model(tx, name)
            return rows.standings(tx, name)

    @operation(needs=Role.VIEWER, on="name")
    def aliases(self, *, name: str) -> dict[str, int]:
        """Give version numbers by alias."""
        with self._store.query() as tx:
            rows.need_model(tx, name)
            return rows.aliases(tx, name)

    @operation(needs=Role.VIEWER, on="name")
    def policy(self, *, name: str) -> str | None:
        """Give the policy in force as JSON, None if the model is ungoverned."""
        with self._store.query() as tx:
            digest = rows.need_model(tx, name).policy
            return None if digest is None else policy_to_json(rows.read_policy(tx, digest))

    @operation(needs=Role.VIEWER, on="name")
    def requests(self, *, name: str) -> list[Request]:
        """List open requests, the newest first."""
        with self._store.query() as tx:
            rows.need_model(tx, name)
            return logs.open_requests(tx, name)

    @operation(needs=Role.VIEWER, on="name")
    def history(self, *, name: str) -> list[Entry]:
        """List all that happened to a model, oldest first."""
        with self._store.query() as tx:
            rows.need_model(tx, name)
            return logs.entries_of(tx, name)

    @operation(needs=Role.VIEWER, takes_long=True)
    def verify_audit(self, *, checkpoint: str | None = None) -> AuditReport:
        """Check the chain, a checkpoint that was kept outside, and that the log gives the standings that are there."""
        kept = None if checkpoint is None else read_checkpoint(checkpoint)
        with self._store.query() as tx:
            entries = logs.entries(tx)
            findings = find_breaks(entries, kept)
            findings += compare(fold(entries), logs.actual(tx))
        head = Checkpoint(seq=entries[-1].seq, hash=entries[-1].hash) if entries else Checkpoint(seq=0, hash="0" * 64)
        return AuditReport(entries=len(entries), head=head, findings=tuple(findings))

    @operation(needs=Role.VIEWER, on="name")
    def find(self, *, name: str, selector: str = "latest") -> Version:
        """Give the version that a selector names: an integer, latest, previous, champion, a stage in any case, an alias.

        `alias:WORD` reads only aliases, `sha256:DIGEST` is by content. Raises NotFound, or Misuse that lists the candidates
        of an ambiguous one.
        """
        with self._store.query() as tx:
            rows.need_model(tx, name)
            return rows.need_version(tx, name, _select(tx, name, selector))

    def _move(self, name: str, number: int, verb: Verb, target: Stage, reason: str) -> Promotion:
        with self._store.command() as tx:
            rows.need_version(tx, name, number)
            return moving.move(tx, rows.need_model(tx, name), number, verb, target, reason=reason)


def _select(tx: Transaction, name: str, selector: str) -> int:
    """Read a selector in the order of the refs' grammar: integer, latest or previous, champion, stage, alias."""
    word = selector.lower()
    if re.fullmatch(r"[0-9]{1,10}", selector):
        return int(selector)
    if word in ("latest", "previous"):
        return _known(rows.number_from_latest(tx, name, 0 if word == "latest" else 1), f"model:{name}@{word}", "register a version")
    stage = Stage.PRODUCTION if word == "champion" else find_stage(selector)
    if stage is not None:
        return _only_one(name, selector, rows.in_stage(tx, name, stage))
    if word.startswith("sha256:"):
        found = rows.find_by_digest(tx, name, word.removeprefix("sha256:"))
        return _known(None if found is None else found.number, f"model:{name}@{selector}", f"see: stratal models {name}")
    number = rows.find_alias(tx, name, selector.removeprefix("alias:"))
    there = ", ".join(rows.aliases(tx, name)) or "none"
    return _known(
        number, f"model:{name}@{selector}", f"selectors are a number, latest, previous, champion, a stage, or an alias (here: {there})"
    )


def _only_one(name: str, selector: str, standing: list[Standing]) -> int:
    if len(standing) > 1:
        candidates = ", ".join(f"model:{name}@{each.number}" for each in standing)
        raise Misuse(f"model:{name}@{selector} is ambiguous", hint=f"name one of: {candidates}")
    return _known(standing[0].number if standing else None, f"model:{name}@{selector}", f"nobody stands there: stratal models {name}")


def _known(number: int | None, ref: str, hint: str) -> int:
    if number is None:
        raise NotFound(f"there is no {ref[:300]}", hint=hint)
    return number
