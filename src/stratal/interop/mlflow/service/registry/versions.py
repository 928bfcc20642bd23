"""Versions of registered models: made of what a run logged, described, tagged, deleted."""

from urllib.parse import quote

from stratal.core.ids import new_id
from stratal.core.people import Role
from stratal.interop.mlflow.service.calls import Answer, Call, Empty, commands, reads
from stratal.interop.mlflow.service.errors import invalid, required
from stratal.interop.mlflow.service.experiments import PROXY
from stratal.interop.mlflow.service.records import TagPair
from stratal.interop.mlflow.service.registry.models import (
    DELETED,
    OfModel,
    OneVersion,
    archive,
    check_is_no_prompt,
    check_tag,
    need_version,
)
from stratal.interop.mlflow.service.registry.naming import need_head
from stratal.interop.mlflow.service.registry.records import STAGES, ModelVersion, to_version
from stratal.interop.mlflow.service.registry.sources import check_source, find_source
from stratal.interop.mlflow.service.store import registered as rows
from stratal.interop.mlflow.service.store.registered import Head
from stratal.registry import Stage
from stratal.registry.store import adding, logs
from stratal.registry.store import rows as registry
from stratal.store.proofs import prove
from stratal.store.uses import holds
from stratal.tracking.facts import EdgeFact
from stratal.tracking.flavors.manifest import Manifest
from stratal.tracking.store.runs import find_record
from stratal.tracking.store.settling import add_edge

# How the registry calls files whose meaning is MLflow's. The importer of its stores calls them so, too.
FLAVOR = "mlflow"
FOLDER = "model-versions"


class CreateVersion(OfModel, frozen=True, kw_only=True):
    source: str | None = None
    run_id: str | None = None
    description: str | None = None
    tags: list[TagPair] | None = None
    run_link: str | None = None
    model_id: str | None = None


class OfVersion(OfModel, frozen=True, kw_only=True):
    """A request about one version."""

    version: str | int | None = None


class UpdateVersion(OfVersion, frozen=True, kw_only=True):
    description: str | None = None


class VersionTag(OfVersion, frozen=True, kw_only=True):
    key: str | None = None
    value: str | None = None


class LatestVersions(OfModel, frozen=True, kw_only=True):
    stages: list[str] | None = None


class SomeVersions(Answer, frozen=True, kw_only=True):
    model_versions: list[ModelVersion] = []


class DownloadUri(Answer, frozen=True, kw_only=True):
    artifact_uri: str


@commands
def create(call: Call, request: CreateVersion) -> OneVersion:
    """Make a version of files that this store has: a manifest of their digests, which nobody changes again.

    Each call makes one, of the same files, too, as MLflow does."""
    head = need_head(call.tx, request.name)
    if not request.source:
        raise required("source")
    tags = [check_tag(tag.key, tag.value) for tag in request.tags or ()]
    check_is_no_prompt(tags)
    blobs = call.store.blobs
    with call.finding():
        source = find_source(call.tx, blobs, request.source)
    call.check(Role.VIEWER, source.on)
    check_source(call.tx, source, request.source, run=request.run_id or "", logged_model=request.model_id or "")
    # Of a run, only what it holds: who may read more than whoever logged it shall not give them what they only named.
    held = [file for file in source.files if source.model or holds(call.tx, f"run:{source.run}", file.digest)]
    if lost := [file.path for file in source.files if file not in held or not blobs.renew(file.digest)]:
        raise invalid(f"Files of {request.source[:300]} have not arrived here yet: {', '.join(lost[:5])}. Try again when they have")
    identity = {"mlflow model version": f"{head.model}/{new_id(call.store.clock)}"}
    manifest = Manifest(flavor=FLAVOR, files=source.files, versions=identity)
    digest = blobs.put(manifest.encode())
    if call.tx.may_read is not None:
        prove(call.tx, digest, call.tx.actor.name)  # it was made here, of what the caller may read
    version, _ = adding.register(call.tx, head.model, digest, source.run, source.path, manifest)
    rows.say_of_version(
        call.tx, head.model, version.number, description=request.description or "", source=request.source,
        run=request.run_id or source.said_run, run_link=request.run_link or "", logged_model=source.logged_model,
    )  # fmt: skip
    for key, value in tags:
        rows.set_tag(call.tx, head.model, version.number, key, value)
    if (record := find_record(call.tx, source.run)) is not None:  # so that lineage leads from the version to its run
        add_edge(call.tx, record.no, EdgeFact(verb="produced", target=version.ref, role="model"), at_ns=call.tx.now_ns)
    return shown(call, head, version.number)


@reads
def get(call: Call, request: OfVersion) -> OneVersion:
    """Give a version."""
    head = need_head(call.tx, request.name)
    return shown(call, head, need_version(call, head, request.version).number)


@commands
def update(call: Call, request: UpdateVersion) -> OneVersion:
    """Describe a version."""
    head = need_head(call.tx, request.name)
    row = need_version(call, head, request.version)
    rows.say_of_version(call.tx, head.model, row.number, description=request.description or "")
    return shown(call, head, row.number)


@commands
def delete(call: Call, request: OfVersion) -> Empty:
    """Hide a version: it is archived, and no alias names it any more. Its number is not used again."""
    head = need_head(call.tx, request.name)
    row = need_version(call, head, request.version)
    archive(call, head.model, row)
    for alias, number in registry.aliases(call.tx, head.model).items():
        if number == row.number:
            adding.drop_alias(call.tx, head.model, alias)
    rows.say_of_version(call.tx, head.model, row.number, description=row.description, is_deleted=True)
    rows.show(call.tx, head, name=head.name)
    logs.append(call.tx, "delete", head.model, {"of": row.number, "reason": f"version {row.number} was {DELETED}"})
    return Empty()


@reads
def latest(call: Call, request: LatestVersions) -> SomeVersions:
    """Give the newest version of each stage that is asked for, or of all."""
    head = need_head(call.tx, request.name)
    wanted = {to_stage(stage) for stage in request.stages or STAGES.values()}
    found = [row for row in rows.newest_by_stage(call.tx, [head.model])[head.model] if row.stage in wanted]
    words = rows.words(call.tx, [head.model], [row.number for row in found])
    return SomeVersions(model_versions=[to_version(head.name, row, words) for row in sorted(found, key=lambda each: each.number)])


@reads
def download_uri(call: Call, request: OfVersion) -> DownloadUri:
    """Say where a version's files are: its own place, so that they stay what they were whatever becomes of its run."""
    head = need_head(call.tx, request.name)
    row = need_version(call, head, request.version)
    return DownloadUri(artifact_uri=f"{PROXY}/{FOLDER}/{quote(head.model, safe='')}/{row.number}")


@commands
def set_tag(call: Call, request: VersionTag) -> Empty:
    """Set a tag of a version."""
    head = need_head(call.tx, request.name)
    row = need_version(call, head, request.version)
    key, value = check_tag(request.key, request.value)
    check_is_no_prompt([(key, value)])
    rows.set_tag(call.tx, head.model, row.number, key, value)
    return Empty()


@commands
def delete_tag(call: Call, request: VersionTag) -> Empty:
    """Take a tag of a version away; one that is not there is fine."""
    head = need_head(call.tx, request.name)
    row = need_version(call, head, request.version)
    rows.drop_tag(call.tx, head.model, row.number, check_tag(request.key, "")[0])
    return Empty()


def to_stage(text: str | None) -> Stage:
    """Read a stage of MLflow, in any case. Raises MlflowError."""
    for stage, word in STAGES.items():
        if word.lower() == (text or "").lower():
            return stage
    raise invalid(f"Invalid Model Version stage: {(text or '')[:60]}. Value must be one of {', '.join(STAGES.values())}.")


def shown(call: Call, head: Head, number: int) -> OneVersion:
    """Give a version as clients see it."""
    row = need_version(call, head, number)
    return OneVersion(model_version=to_version(head.name, row, rows.words(call.tx, [head.model], [row.number])))
