"""Registered models: made, described, renamed, deleted, tagged, and called by aliases."""

from collections.abc import Iterable

from stratal.core.people import Role
from stratal.core.records import to_json
from stratal.interop.mlflow.service.calls import Answer, Call, Empty, Request, commands, reads
from stratal.interop.mlflow.service.errors import ABSENT, MlflowError, exists, invalid, missing, required
from stratal.interop.mlflow.service.records import TagPair
from stratal.interop.mlflow.service.registry.naming import check_alias, check_name, name_in_registry, need_head
from stratal.interop.mlflow.service.registry.records import ModelVersion, RegisteredModel, to_model, to_version
from stratal.interop.mlflow.service.store import registered as rows
from stratal.interop.mlflow.service.store.registered import Head, VersionRow
from stratal.interop.mlflow.service.store.registered_search import PROMPT
from stratal.interop.registering import clean_name
from stratal.registry import Stage
from stratal.registry.names import folded
from stratal.registry.stages import Verb
from stratal.registry.store import adding, logs, moving
from stratal.registry.store import rows as registry

MOST_TAG, MOST_KEY = 100_000, 250
DELETED = "deleted by a client of MLflow"


class CreateModel(Request, frozen=True, kw_only=True):
    name: str | None = None
    description: str | None = None
    tags: list[TagPair] | None = None


class OfModel(Request, frozen=True, kw_only=True):
    """A request about one registered model."""

    name: str | None = None


class RenameModel(OfModel, frozen=True, kw_only=True):
    new_name: str | None = None


class UpdateModel(OfModel, frozen=True, kw_only=True):
    description: str | None = None


class ModelTag(OfModel, frozen=True, kw_only=True):
    key: str | None = None
    value: str | None = None


class OfAlias(OfModel, frozen=True, kw_only=True):
    alias: str | None = None


class SetAlias(OfAlias, frozen=True, kw_only=True):
    version: str | int | None = None


class OneModel(Answer, frozen=True, kw_only=True):
    registered_model: RegisteredModel


class OneVersion(Answer, frozen=True, kw_only=True):
    model_version: ModelVersion


@commands
def create(call: Call, request: CreateModel) -> OneModel:
    """Make a model without versions. Raises MlflowError if there is one of that name."""
    name = check_name(request.name)
    tags = [check_tag(tag.key, tag.value) for tag in request.tags or ()]
    check_is_no_prompt(tags)
    if rows.find_head(call.tx, name) is not None:
        raise exists(f"Registered Model (name={name}) already exists.")
    model = name_in_registry(call.tx, name)
    call.check(Role.CONTRIBUTOR, f"model:{model}")  # it may be another name than the one that was said
    adding.ensure_model(call.tx, model)
    rows.show(call.tx, Head(model, name, "", 0, None, 0), name=name, description=request.description or "")
    for key, value in tags:
        rows.set_tag(call.tx, model, 0, key, value)
    logs.append(call.tx, "create", model, {"name": name})
    call.tx.emit("model", f"model:{model}")
    call.created(f"model:{model}")
    return OneModel(registered_model=shown(call, need_head(call.tx, name)))


@reads
def get(call: Call, request: OfModel) -> OneModel:
    """Give a model, with the newest version of each stage."""
    return OneModel(registered_model=shown(call, need_head(call.tx, request.name)))


@commands
def rename(call: Call, request: RenameModel) -> OneModel:
    """Let clients call a model otherwise. All that belongs to it stays with it; the registry's own name stays what it was.

    A name that others may look for takes the right to make a model of it: who gives it out says what it stands for."""
    head = need_head(call.tx, request.name)
    name = check_name(request.new_name, "new_name")
    if folded(clean_name(name)) not in {folded(clean_name(head.name)), folded(head.model)}:
        call.check(Role.CONTRIBUTOR, f"model:{clean_name(name)}")
    if name != head.name and rows.find_head(call.tx, name) is not None:
        raise exists(f"Registered Model (name={name}) already exists.")
    rows.show(call.tx, head, name=name)
    logs.append(call.tx, "rename", head.model, {"name": name, "was": head.name, "reason": f"clients of MLflow call it {name!r} now"})
    call.tx.emit("model", f"model:{head.model}", to_json({"name": name}))
    return OneModel(registered_model=shown(call, need_head(call.tx, name)))


@commands
def update(call: Call, request: UpdateModel) -> OneModel:
    """Describe a model."""
    head = need_head(call.tx, request.name)
    rows.show(call.tx, head, name=head.name, description=request.description or "")
    call.tx.emit("model", f"model:{head.model}")
    return OneModel(registered_model=shown(call, need_head(call.tx, head.name)))


@commands
def delete(call: Call, request: OfModel) -> Empty:
    """Hide a model and archive its versions. Its name is free again; its files, ids and log stay."""
    head = need_head(call.tx, request.name)
    for row in rows.versions_of(call.tx, head.model):
        archive(call, head.model, row)
    for alias in registry.aliases(call.tx, head.model):
        adding.drop_alias(call.tx, head.model, alias)
    rows.show(call.tx, head, name=None)
    logs.append(call.tx, "delete", head.model, {"was": head.name, "reason": DELETED})
    call.tx.emit("model", f"model:{head.model}", to_json({"is_deleted": True}))
    return Empty()


@commands
def set_tag(call: Call, request: ModelTag) -> Empty:
    """Set a tag of a model."""
    head = need_head(call.tx, request.name)
    key, value = check_tag(request.key, request.value)
    check_is_no_prompt([(key, value)])
    rows.set_tag(call.tx, head.model, 0, key, value)
    return Empty()


@commands
def delete_tag(call: Call, request: ModelTag) -> Empty:
    """Take a tag of a model away; one that is not there is fine."""
    rows.drop_tag(call.tx, need_head(call.tx, request.name).model, 0, check_tag(request.key, "")[0])
    return Empty()


@commands
def set_alias(call: Call, request: SetAlias) -> Empty:
    """Let an alias name a version."""
    head, alias = need_head(call.tx, request.name), check_alias(request.alias)
    row = need_version(call, head, request.version)
    adding.set_alias(call.tx, head.model, alias, row.number, is_foreign=True)
    call.tx.emit("model", f"model:{head.model}", to_json({"alias": alias, "number": row.number}))
    return Empty()


@commands
def delete_alias(call: Call, request: OfAlias) -> Empty:
    """Take an alias away; one that is not there is fine."""
    head = need_head(call.tx, request.name)
    if not request.alias:
        raise required("alias")
    if adding.drop_alias(call.tx, head.model, request.alias):
        call.tx.emit("model", f"model:{head.model}", to_json({"alias": request.alias, "number": None}))
    return Empty()


@reads
def get_by_alias(call: Call, request: OfAlias) -> OneVersion:
    """Give the version that an alias names; "latest" is the newest one."""
    head = need_head(call.tx, request.name)
    if not request.alias:
        raise required("alias")
    if request.alias.lower() == "latest":
        number = max((row.number for row in rows.newest_by_stage(call.tx, [head.model])[head.model]), default=None)
    else:
        number = registry.find_alias(call.tx, head.model, request.alias)
    row = None if number is None else rows.find_version(call.tx, head.model, number)
    if row is None:
        raise invalid(f"Registered model alias {request.alias[:300]} not found.")
    return OneVersion(model_version=to_version(head.name, row, rows.words(call.tx, [head.model], [row.number])))


def need_version(call: Call, head: Head, version: str | int | None) -> VersionRow:
    """Give a version of a model. Raises MlflowError for what is no number, or not there."""
    if version is None or version == "":
        raise required("version")
    text = str(version)
    if not text.isascii() or not text.isdigit():
        raise invalid(f"Parameter 'version' must be an integer, got '{text[:60]}'.")
    row = rows.find_version(call.tx, head.model, int(text[:20]))
    if row is None:
        raise missing(f"Model Version (name={head.name}, version={text[:20]}) not found")
    return row


def shown(call: Call, head: Head) -> RegisteredModel:
    """Give a model as clients see it."""
    latest = rows.newest_by_stage(call.tx, [head.model])[head.model]
    return to_model(head, latest, rows.words(call.tx, [head.model], [0, *(row.number for row in latest)]))


def archive(call: Call, model: str, row: VersionRow) -> None:
    """Take a version out of use before it is hidden."""
    if row.stage is not Stage.ARCHIVED:
        moving.move(call.tx, registry.need_model(call.tx, model), row.number, Verb.ARCHIVE, Stage.ARCHIVED, reason=DELETED)


def check_tag(key: str | None, value: str | None) -> tuple[str, str]:
    """Give a tag of the registry. Raises MlflowError for one that is too long, or has no name."""
    if not key:
        raise required("key")
    if len(key) > MOST_KEY or not key.isprintable():
        raise invalid(f"Invalid value {key[:60]!r} for parameter 'key' supplied: it has at most {MOST_KEY} characters that can be printed")
    if value is not None and (len(value) > MOST_TAG or "\0" in value):
        raise invalid(
            f"Invalid value for the tag {key!r}: it has {len(value)} characters, and at most {MOST_TAG} are kept, none of them NUL"
        )
    return key, value or ""


def check_is_no_prompt(tags: Iterable[tuple[str, str]]) -> None:
    """Refuse prompts, which MLflow keeps among its models. Raises MlflowError."""
    if any(key == PROMPT and value.lower() == "true" for key, value in tags):
        raise MlflowError(ABSENT, "Prompts are not kept by this server: it keeps models")


def at_model(call: Call, request: OfModel) -> Iterable[str]:
    """Rights are asked on the model, by the registry's name."""
    return [f"model:{need_head(call.tx, request.name).model}"]


def at_new(call: Call, request: CreateModel) -> Iterable[str]:
    """Rights are asked on the model that will be."""
    name = check_name(request.name)
    head = rows.find_head(call.tx, name)
    return [f"model:{clean_name(name) if head is None else head.model}"]
