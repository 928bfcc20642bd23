"""Searches over logged models."""

import math
from collections.abc import Sequence

from stratal.core.records import Record
from stratal.interop.mlflow.service import experiments
from stratal.interop.mlflow.service.calls import Answer, Call, Request, reads
from stratal.interop.mlflow.service.clauses import Clause, Value, Words, in_order, page, parse
from stratal.interop.mlflow.service.errors import MlflowError, invalid
from stratal.interop.mlflow.service.logged.models import shown
from stratal.interop.mlflow.service.logged.records import LoggedModel
from stratal.interop.mlflow.service.names import ms_of
from stratal.interop.mlflow.service.store import logged as rows
from stratal.interop.mlflow.service.store.experiments import ExperimentRow
from stratal.interop.mlflow.service.store.logged import Logged, Point

MOST = 1000
_TIMES = frozenset(("creation_timestamp", "last_updated_timestamp"))
_WORDS = Words(
    texts=frozenset(("name", "model_id", "model_type", "status", "source_run_id", "experiment_id")), numbers=_TIMES,
    listed=frozenset(("name", "model_id", "model_type", "status", "source_run_id")),
    entities={"tags": False, "params": False, "metrics": True},
    names={
        "creation_time": "creation_timestamp", "creation_timestamp_ms": "creation_timestamp",
        "last_updated_timestamp_ms": "last_updated_timestamp", "timestamp": "creation_timestamp",
    },
)  # fmt: skip


class Dataset(Record, frozen=True, kw_only=True):
    """On which dataset a model was measured; a metric of the filter is the one that was measured there."""

    dataset_name: str | None = None
    dataset_digest: str | None = None


class OrderBy(Record, frozen=True, kw_only=True):
    """One key of an order: an attribute, or metrics.NAME, on one dataset if that is given."""

    field_name: str | None = None
    ascending: bool | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class SearchLogged(Request, frozen=True, kw_only=True):
    experiment_ids: list[str] | None = None
    filter: str | None = None
    datasets: list[Dataset] | None = None
    max_results: int = 50
    order_by: list[OrderBy] | None = None
    page_token: str | None = None


class FoundLogged(Answer, frozen=True, kw_only=True):
    models: list[LoggedModel] = []
    next_page_token: str | None = None


@reads
def search(call: Call, request: SearchLogged) -> FoundLogged:
    """Find logged models of experiments. Without an order, the newest come first."""
    clauses = parse(request.filter, _WORDS)
    names = _visible(call, request.experiment_ids or ())
    points = rows.points_in(call.tx, list(names))
    asked = request.datasets or [Dataset()]
    found = [
        each
        for each in rows.logged_in(call.tx, list(names))
        if not each.is_deleted
        and (not request.datasets or any(_is_on(point, dataset) for point in points.get(each.id, ()) for dataset in asked))
        and all(_holds(clause, each, names[each.experiment], points.get(each.id, ()), asked) for clause in clauses)
    ]
    found = in_order(found, [("creation_timestamp", False), ("model_id", True)], lambda each, key: _attribute(each, "", key))
    for order in reversed(request.order_by or ()):
        found = _ordered(found, order, points)
    here, token = page(found, max_results=request.max_results, most=MOST, token=request.page_token)
    return FoundLogged(models=shown(call, here, points), next_page_token=token)


def _visible(call: Call, ids: Sequence[str]) -> dict[str, str]:
    visible, found = call.visible("experiment"), dict[str, str]()
    for id in ids:
        row = _find(call, id)
        if row is not None and (visible is None or row.name in visible):
            found[row.name] = str(row.id)
    return found


def _find(call: Call, id: str) -> ExperimentRow | None:
    try:
        return experiments.by_id(call, id)
    except MlflowError:
        return None


def _ordered(found: list[Logged], order: OrderBy, points: dict[str, list[Point]]) -> list[Logged]:
    entity, dot, key = (order.field_name or "").partition(".")
    on = Dataset(dataset_name=order.dataset_name, dataset_digest=order.dataset_digest)
    ascends = order.ascending is None or order.ascending
    if dot and entity in ("metrics", "metric"):
        return in_order(found, [(key, ascends)], lambda each, key: _metric(points.get(each.id, ()), key, on))
    name = _WORDS.names.get(order.field_name or "", order.field_name or "")
    if name not in _WORDS.texts | _WORDS.numbers:
        known = ", ".join(sorted(_WORDS.texts | _WORDS.numbers))
        raise invalid(f"Invalid order_by field {(order.field_name or '')[:200]!r}: order by one of {known}, or by metrics.NAME")
    return in_order(found, [(name, ascends)], lambda each, key: _attribute(each, "", key))


def _holds(clause: Clause, each: Logged, experiment_id: str, points: Sequence[Point], on: Sequence[Dataset]) -> bool:
    match clause.entity:
        case "tags":
            return clause.holds(each.tags.get(clause.key))
        case "params":
            return clause.holds(each.params.get(clause.key))
        case "metrics":
            return any(clause.holds(_metric(points, clause.key, dataset)) for dataset in on)
        case _:
            return clause.holds(_attribute(each, experiment_id, clause.key))


def _metric(points: Sequence[Point], key: str, on: Dataset) -> float | None:
    """Give a metric's last value, on one dataset if that is named."""
    measured = [point for point in points if point.key == key and _is_on(point, on)]
    return max(measured, key=lambda point: (point.step, point.timestamp)).value if measured else None


def _is_on(point: Point, on: Dataset) -> bool:
    return on.dataset_name in (None, "", point.dataset_name) and on.dataset_digest in (None, "", point.dataset_digest)


def _attribute(each: Logged, experiment_id: str, key: str) -> Value:
    match key:
        case "creation_timestamp":
            return ms_of(each.created_ns)
        case "last_updated_timestamp":
            return ms_of(each.updated_ns)
        case "model_id":
            return each.id
        case "experiment_id":
            return experiment_id
        case "source_run_id":
            return each.source_run
        case "name" | "model_type" | "status":
            return str(getattr(each, key))
        case _:
            return math.nan
