"""Logged models: made when a run begins to upload one, ready when its files are there, then changed and deleted."""

import re
from collections.abc import Iterable, Mapping, Sequence

from stratal.core.ids import new_id
from stratal.core.people import Role
from stratal.core.records import number_to_json
from stratal.interop.mlflow.service import experiments
from stratal.interop.mlflow.service.calls import Answer, Call, Empty, Request, commands, reads
from stratal.interop.mlflow.service.errors import invalid, missing, required
from stratal.interop.mlflow.service.experiments import PROXY
from stratal.interop.mlflow.service.heads import head_of, shown_ids
from stratal.interop.mlflow.service.logged.records import (
    FAILED,
    PENDING,
    READY,
    STATUSES,
    LoggedMetric,
    LoggedModel,
    LoggedModelData,
    LoggedModelInfo,
)
from stratal.interop.mlflow.service.names import LONGEST_PARAM, LONGEST_TAG, check_key, ms_of, random_name
from stratal.interop.mlflow.service.records import TagPair
from stratal.interop.mlflow.service.store import logged as rows
from stratal.interop.mlflow.service.store.logged import Logged, Point
from stratal.interop.mlflow.service.store.runs import tags_of
from stratal.tracking.store.runs import get_record

MOST_PARAMS = 100
_ID = re.compile(r"m-[0-9a-f]{32}")
_FORBIDDEN = "/:.%\"'"


class CreateLogged(Request, frozen=True, kw_only=True):
    experiment_id: str | None = None
    name: str | None = None
    model_type: str | None = None
    source_run_id: str | None = None
    params: list[TagPair] | None = None
    tags: list[TagPair] | None = None


class OfLogged(Request, frozen=True, kw_only=True):
    """A request about one logged model."""

    model_id: str | None = None


class GetLogged(OfLogged, frozen=True, kw_only=True):
    allow_deleted: bool | None = None


class FinishLogged(OfLogged, frozen=True, kw_only=True):
    status: str | int | None = None


class LoggedTags(OfLogged, frozen=True, kw_only=True):
    tags: list[TagPair] | None = None


class LoggedTag(OfLogged, frozen=True, kw_only=True):
    tag_key: str | None = None


class LoggedParams(OfLogged, frozen=True, kw_only=True):
    params: list[TagPair] | None = None


class OneLogged(Answer, frozen=True, kw_only=True):
    model: LoggedModel


@commands
def create(call: Call, request: CreateLogged) -> OneLogged:
    """Make a logged model, pending until its files are there. The run that logs it keeps them; without one, a run of its own does."""
    if not request.experiment_id:
        raise required("experiment_id")
    row = experiments.active(experiments.by_id(call, request.experiment_id))
    name = _check_name(request.name)
    run = request.source_run_id or ""
    body: dict[str, object] = {
        "name": name, "model_type": request.model_type or "", "source_run": run, "status": PENDING,
        "params": _params(request.params), "tags": _tags(request.tags),
    }  # fmt: skip
    if run:
        with call.finding():
            head = head_of(call, run)
        call.check(Role.VIEWER, f"experiment:{head.experiment}")
        if head.experiment != row.name:
            raise invalid(f"The run {run} is not in experiment {row.id}")
        no = head.no
    else:
        no = rows.add_home(call.tx, call.store, row.name, name)
    id = f"m-{new_id(call.store.clock)}"
    rows.say(call.tx, no, rows.MODEL, id, body)
    return OneLogged(model=shown(call, [need(call, id)])[0])


@reads
def get(call: Call, request: GetLogged) -> OneLogged:
    """Give a logged model."""
    return OneLogged(model=shown(call, [need(call, request.model_id, allow_deleted=bool(request.allow_deleted))])[0])


@commands
def finish(call: Call, request: FinishLogged) -> OneLogged:
    """Say that a logged model's files are there, or that they will not come."""
    logged = need(call, request.model_id)
    status = {"1": PENDING, "2": READY, "3": FAILED}.get(str(request.status), str(request.status))
    if status not in STATUSES:
        raise invalid(f"Invalid model status: {str(request.status)[:60]}. Expected statuses are {', '.join(STATUSES)}")
    return _change(call, logged, {"status": status})


@commands
def set_tags(call: Call, request: LoggedTags) -> OneLogged:
    """Set tags of a logged model."""
    return _change(call, need(call, request.model_id), {"tags": _tags(request.tags)})


@commands
def delete_tag(call: Call, request: LoggedTag) -> Empty:
    """Take a tag of a logged model away."""
    logged = need(call, request.model_id)
    if request.tag_key not in logged.tags:
        raise missing(f"No tag with key {(request.tag_key or '')[:300]!r} found for model with ID {logged.id!r}.")
    _change(call, logged, {"untagged": [request.tag_key]})
    return Empty()


@commands
def log_params(call: Call, request: LoggedParams) -> Empty:
    """Say params of a logged model. Raises MlflowError if one has another value already."""
    logged, params = need(call, request.model_id), _params(request.params)
    for key, value in params.items():
        if logged.params.get(key, value) != value:
            raise invalid(f"Changing param values is not allowed. Param with key='{key}' was already logged with another value")
    _change(call, logged, {"params": params})
    return Empty()


@commands
def delete(call: Call, request: OfLogged) -> Empty:
    """Hide a logged model. Its files stay with the run that keeps them."""
    _change(call, need(call, request.model_id), {"is_deleted": True})
    return Empty()


def need(call: Call, id: str | None, *, allow_deleted: bool = False) -> Logged:
    """Give a logged model. Raises MlflowError."""
    if not id:
        raise required("model_id")
    found = rows.find_logged(call.tx, id) if _ID.fullmatch(id) else None
    if found is None or (found.is_deleted and not allow_deleted):
        raise missing(f"Logged model with ID '{id[:60]}' not found.")
    return found


def shown(call: Call, found: Sequence[Logged], points: Mapping[str, Sequence[Point]] | None = None) -> list[LoggedModel]:
    """Give logged models as clients see them. points: their metrics, if they were read already."""
    visible = call.visible("experiment")
    measured = {each.id: rows.points_of(call.tx, each.id, visible) if points is None else points.get(each.id, ()) for each in found}
    runs = {point.run for each in measured.values() for point in each}
    names = shown_ids(call, tags_of(call.tx, runs)) if runs else {}
    return [
        LoggedModel(
            info=LoggedModelInfo(
                model_id=each.id, experiment_id=_experiment_id(call, each), name=each.name,
                creation_timestamp_ms=ms_of(each.created_ns), last_updated_timestamp_ms=ms_of(each.updated_ns),
                artifact_uri=uri_of(call, each), status=each.status, model_type=each.model_type,
                source_run_id=each.source_run, tags=_pairs(each.tags),
            ),
            data=LoggedModelData(
                params=_pairs(each.params),
                metrics=[
                    LoggedMetric(
                        key=point.key, value=number_to_json(point.value), timestamp=point.timestamp, step=point.step, model_id=each.id,
                        run_id=names.get(point.run, point.run), dataset_name=point.dataset_name, dataset_digest=point.dataset_digest,
                    )
                    for point in measured[each.id]
                ],
            ),
        )
        for each in found
    ]  # fmt: skip


def at_experiment(call: Call, request: CreateLogged) -> Iterable[str]:
    """Rights are asked on the experiment."""
    if not request.experiment_id:
        raise required("experiment_id")
    return [experiments.by_id(call, request.experiment_id).ref]


def at_logged(call: Call, request: OfLogged) -> Iterable[str]:
    """Rights are asked on the experiment of the logged model."""
    return [f"experiment:{need(call, request.model_id, allow_deleted=True).experiment}"]


def _change(call: Call, logged: Logged, change: Mapping[str, object]) -> OneLogged:
    rows.say(call.tx, get_record(call.tx, logged.home).no, rows.MODEL, logged.id, change)
    call.tx.emit("run", logged.home)
    return OneLogged(model=shown(call, [need(call, logged.id, allow_deleted=True)])[0])


def uri_of(call: Call, logged: Logged) -> str:
    """Give where a logged model's files are, as clients see it."""
    return f"{PROXY}/{_experiment_id(call, logged)}/models/{logged.id}/artifacts"


def _experiment_id(call: Call, logged: Logged) -> str:
    return str(experiments.find(call, logged.experiment).id)


def _pairs(values: Mapping[str, str]) -> list[TagPair]:
    return [TagPair(key=key, value=value) for key, value in values.items()]


def _check_name(name: str | None) -> str:
    if not name:
        return random_name()
    if any(mark in name for mark in _FORBIDDEN) or not name.isprintable() or not name.strip() or len(name) > 250:
        raise invalid(f"Invalid model name ({name[:300]!r}) provided. Model name must be a non-empty string without any of {_FORBIDDEN}")
    return name


def _params(pairs: Sequence[TagPair] | None) -> dict[str, str]:
    if len(pairs or ()) > MOST_PARAMS:
        raise invalid(f"A batch logging request can contain at most {MOST_PARAMS} params")
    return {check_key(pair.key): (pair.value or "")[:LONGEST_PARAM] for pair in pairs or ()}


def _tags(pairs: Sequence[TagPair] | None) -> dict[str, str]:
    return {check_key(pair.key): (pair.value or "")[:LONGEST_TAG] for pair in pairs or ()}
