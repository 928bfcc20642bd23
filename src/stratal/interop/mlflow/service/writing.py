"""Writing to runs: points, params, tags, and what old clients say of models.

Points go to the journal, by one call of the system per request; params and tags are commands, because a param never changes and
a tag is looked at by the next call. Each point, param and tag counts once, however often a client repeats it.
"""

from collections.abc import Sequence
from functools import partial

import msgspec
import numpy as np

from stratal.core.people import Role
from stratal.core.records import from_json, number_to_json, to_json
from stratal.interop.mlflow.meaning import value_of
from stratal.interop.mlflow.service.calls import Call, Empty, commands, logs
from stratal.interop.mlflow.service.errors import MlflowError, invalid, missing, required
from stratal.interop.mlflow.service.heads import head_of, hear, writable
from stratal.interop.mlflow.service.names import LAST_MS, LONGEST_PARAM, check_key, check_length, is_key, ns_of
from stratal.interop.mlflow.service.records import LogBatch, LogModel, LogPair, PointSaid, TagPair
from stratal.interop.mlflow.service.seen import MOST_POINTS, End, Identities, Point
from stratal.interop.mlflow.service.store import runs as rows
from stratal.interop.mlflow.service.store.runs import MODEL_METRICS, Head
from stratal.interop.mlflow.service.tags import drop_tag, set_tags, tell
from stratal.interop.mlflow.service.texts import text_of, texts_of
from stratal.store.store import Store
from stratal.tracking import facts
from stratal.tracking.facts import STATE, StateFact, params_from_json

MOST_METRICS, MOST_PAIRS, MOST_IN_BATCH = 1000, 100, 1000
HISTORY = "mlflow.log-model.history"
_MS = 1_000_000


@logs
def log_metric(call: Call, request: PointSaid) -> Empty:
    """Log one point."""
    head = writable(head_of(call, request.run))
    _log(call, head, [request], [_point(request)])
    return Empty()


@logs
def log_batch(call: Call, request: LogBatch) -> Empty:
    """Log points, params and tags: nothing of them is kept if one cannot be."""
    head = writable(head_of(call, request.run))
    metrics, params, tags = request.metrics or [], request.params or [], request.tags or []
    _check_sizes(len(metrics), len(params), len(tags))
    points = [_point(said, at) for at, said in enumerate(metrics)]
    said_params, said_tags = _params(params), texts_of(tags, "tags")
    if said_params or said_tags:
        with call.commanding(head.id) as inner:
            inner.check(Role.CONTRIBUTOR, f"experiment:{head.experiment}")
            now = writable(head_of(inner, head.id))
            _set_params(inner, now, said_params)
            set_tags(inner, now, said_tags)
    if points:
        _log(call, head, metrics, points)
    return Empty()


@commands
def log_param(call: Call, request: LogPair) -> Empty:
    """Set a param. Raises MlflowError if it has another value already."""
    head = writable(head_of(call, request.run))
    _set_params(call, head, _params([TagPair(key=request.key, value=request.value)], field="key"))
    return Empty()


@commands
def set_tag(call: Call, request: LogPair) -> Empty:
    """Set a tag."""
    head = writable(head_of(call, request.run))
    set_tags(call, head, texts_of([TagPair(key=request.key, value=request.value)], "key", is_list=False))
    return Empty()


@commands
def delete_tag(call: Call, request: LogPair) -> Empty:
    """Take a tag away. Raises MlflowError if there is none of that name."""
    head = writable(head_of(call, request.run))
    if not drop_tag(call, head, check_key(request.key)):
        raise missing(f"No tag with name: {request.key} in run with id {head.id}")
    return Empty()


@commands
def log_model(call: Call, request: LogModel) -> Empty:
    """Note a model, as clients before MLflow 3 do: its description joins the others in a tag."""
    head = writable(head_of(call, request.run))
    if not request.model_json:
        raise required("model_json")
    try:
        model = msgspec.json.decode(check_length("model_json", request.model_json, 1 << 20), type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise invalid(f"Malformed model info. \n {request.model_json[:200]} \n not a valid JSON: {error}") from None
    if lacking := [name for name in ("artifact_path", "flavors", "utc_time_created", "run_id") if name not in model]:
        raise invalid(f"Model json is missing mandatory fields: {', '.join(lacking)}")
    tags = rows.document_of(call.tx, head.no).get("tags")
    history = from_json(str(tags[HISTORY]), list[object]) if isinstance(tags, dict) and HISTORY in tags else []
    if model not in history:
        tell(call, head, facts.TAGS, {HISTORY: to_json([*history, model])})
    return Empty()


def _check_sizes(metrics: int, params: int, tags: int) -> None:
    for what, count, most in (("metrics", metrics, MOST_METRICS), ("params", params, MOST_PAIRS), ("tags", tags, MOST_PAIRS)):
        if count > most:
            raise invalid(f"A batch logging request can contain at most {most} {what}. Got {count} {what}. Please split up {what}.")
    if metrics + params + tags > MOST_IN_BATCH:
        raise invalid(f"A batch logging request can contain at most {MOST_IN_BATCH} entities. Got {metrics + params + tags}.")


def _point(said: PointSaid, at: int | None = None) -> Point:
    """Read a point. at: its place in a batch, which the error names. Written for a thousand at a time."""
    key, step, ms, value = said.key, said.step or 0, said.timestamp, said.value
    if key is None or value is None or ms is None or not is_key(key) or not 0 <= ms <= LAST_MS or not -(2**63) < step < 2**63:
        raise _wrong_point(said, "" if at is None else f"metrics[{at}].")
    return key, step, ms, value


def _wrong_point(said: PointSaid, field: str) -> MlflowError:
    check_key(said.key, f"{field}key")
    if said.value is None:
        return required(f"{field}value")
    if said.timestamp is None:
        return required(f"{field}timestamp")
    ns_of(said.timestamp, f"{field}timestamp")
    return invalid(f"Invalid value {said.step} for parameter '{field}step' supplied: it is no whole number of 64 bits above the lowest")


def _params(pairs: Sequence[TagPair], field: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for at, pair in enumerate(pairs):
        key = check_key(pair.key, field or f"params[{at}].key")
        if key in found:
            raise invalid(f"Duplicate parameter keys have been submitted: {key!r}. A request holds one value per key.")
        found[key] = (pair.value or "")[:LONGEST_PARAM]
    return found


def _set_params(call: Call, head: Head, params: dict[str, str]) -> None:
    """Set those params that the run lacks. Raises MlflowError, and sets none, if one has another value."""
    if not params:
        return
    said = rows.document_of(call.tx, head.no).get("params")
    held = {name: text_of(value) for name, value in params_from_json(said).items()} if isinstance(said, dict) else {}
    for name, text in params.items():
        if held.get(name, text) != text:
            raise invalid(
                f"Changing param values is not allowed. Param with key={name!r} was already logged with value={held[name][:200]!r}"
                f" for run ID={head.id!r}. Attempted logging new value {text[:200]!r}."
            )
    if new := {name: _value(text) for name, text in params.items() if name not in held}:
        tell(call, head, facts.PARAMS, new)


def _value(text: str) -> object:
    """Give what a param was; None stays a text, as a param that is None would be found by nothing."""
    return text if text == "None" else value_of(text)


def _log(call: Call, head: Head, said: Sequence[PointSaid], points: Sequence[Point]) -> None:
    """Write those points that are not there yet to the journal: first what they say of logged models, which may be said twice.

    A client that logs a model says the run's points again, with the model's id: they are there, and what they say of it is new."""
    store, ends = call.store, call.service.seen.of(head.bytes)
    hear(call, head)
    with ends.lock:
        if not ends.is_known:
            ends.learn(_ends(store, head))
        fresh = ends.fresh(points, partial(_identities, store, head))
        for model, body in _of_models(said).items():
            statement = StateFact(kind=MODEL_METRICS, subject=model, body=body, author=call.tx.actor.name)
            store.writer.fact(head.bytes, head.epoch, STATE, statement)
        if fresh:
            store.writer.log_many(head.bytes, head.epoch, _rows(fresh))
            ends.note()


def _rows(points: Sequence[Point]) -> list[tuple[dict[str, float], int, int]]:
    """Put points of one step and time into one row, in the order in which they came."""
    found: list[tuple[dict[str, float], int, int]] = []
    at: dict[tuple[int, int], dict[str, float]] = {}
    for key, step, ms, value in points:
        row = at.get((step, ms))
        if row is None or key in row:
            row = at[step, ms] = {}
            found.append((row, step, ms * _MS))
        row[key] = value
    return found


def _of_models(said: Sequence[PointSaid]) -> dict[str, dict[str, object]]:
    """Give what points say of logged models: by model, lists of key, value, timestamp, step, dataset name and digest."""
    found: dict[str, list[object]] = {}
    for point in said:
        if point.model_id:
            value = number_to_json(point.value or 0.0)
            row = [point.key, value, point.timestamp, point.step or 0, point.dataset_name or "", point.dataset_digest or ""]
            found.setdefault(check_length("model_id", point.model_id, 250), []).append(row)
    return {model: {"points": points} for model, points in found.items()}


def _ends(store: Store, head: Head) -> dict[str, End]:
    """Give where the series of a run end; after a takeover the last point may not be the highest, so all of a series is looked at."""
    with store.query() as tx:
        highest = 2**63
        return {
            name: (((step, time_ns // _MS) if head.epoch == 0 else (highest, 0)), None) for name, step, time_ns in rows.ends_of(tx, head.no)
        }


def _identities(store: Store, head: Head, key: str, steps: set[int]) -> tuple[Identities, bool]:
    """Give the points of a series, of a long one only those of some steps; and whether they are all."""
    with store.snapshot() as snapshot:
        points = snapshot.series(head.bytes, key)
    is_all = points.n <= MOST_POINTS
    if not is_all:
        points = points.take(np.isin(points.steps, np.fromiter(steps, np.int64)))
    values = np.where(np.isnan(points.values), None, points.values)  # type: ignore[call-overload]  # an array of objects
    return set(zip(points.steps.tolist(), (points.times // _MS).tolist(), values.tolist(), strict=True)), is_all
