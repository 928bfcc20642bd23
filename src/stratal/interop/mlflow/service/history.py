"""Histories of metrics: all points by time, in pages; or a few of each run, evenly taken."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from stratal.core.ids import to_bytes
from stratal.core.records import number_to_json
from stratal.interop.mlflow.service.calls import Answer, Call, OfRun, Request, reads
from stratal.interop.mlflow.service.clauses import read_token, size_asked, write_token
from stratal.interop.mlflow.service.errors import invalid, required
from stratal.interop.mlflow.service.heads import head_of
from stratal.interop.mlflow.service.records import Metric
from stratal.store.series import Points

MOST_POINTS, MOST_RUNS, MOST_SAMPLED, DEFAULT_SAMPLED = 25_000, 100, 2500, 320
_MS = 1_000_000


class GetHistory(OfRun, frozen=True, kw_only=True):
    metric_key: str | None = None
    max_results: int | None = None
    page_token: str | None = None


class History(Answer, frozen=True, kw_only=True):
    metrics: list[Metric] = []
    next_page_token: str | None = None


class GetHistories(Request, frozen=True, kw_only=True):
    run_id: list[str] | None = None
    metric_key: str | None = None
    max_results: int | None = None


class GetSampled(Request, frozen=True, kw_only=True):
    run_ids: list[str] | None = None
    metric_key: str | None = None
    start_step: int | None = None
    end_step: int | None = None
    max_results: int | None = None


@reads
def get_history(call: Call, request: GetHistory) -> History:
    """Give the points of a metric by time, step and value; all of them, or a page."""
    head = head_of(call, request.run)
    key = _key(request.metric_key)
    points = _by_time(_points(call, head.id, key))
    size, at = request.max_results, read_token(request.page_token) if request.page_token else 0
    if size is None and request.page_token is None:
        return History(metrics=list(_metrics(key, points)))
    size = size_asked(size, MOST_POINTS, MOST_POINTS)
    after = at + size
    return History(metrics=list(_metrics(key, points.cut(at, after))), next_page_token=write_token(after) if after < points.n else None)


@reads
def get_histories(call: Call, request: GetHistories) -> History:
    """Give the points of a metric of several runs, run by run; at most so many in all."""
    key, left = _key(request.metric_key), size_asked(request.max_results, MOST_POINTS, MOST_POINTS)
    found: list[Metric] = []
    for id in sorted(_runs(request.run_id, "run_id")):
        points = _by_time(_points(call, head_of(call, id).id, key))
        found += _metrics(key, points.cut(0, left - len(found)), id)
    return History(metrics=found)


@reads
def get_sampled(call: Call, request: GetSampled) -> History:
    """Give the points of a metric of several runs by step, at most so many of each: evenly taken, the first and last among them."""
    key, most = _key(request.metric_key), size_asked(request.max_results, DEFAULT_SAMPLED, MOST_SAMPLED)
    start, end = request.start_step, request.end_step
    if (start is None) != (end is None):
        raise invalid("If either start step or end step are specified, both must be specified.")
    if start is not None and end is not None and start > end:
        raise invalid(f"end_step must be greater than start_step. Found start_step={start} and end_step={end}.")
    found: list[Metric] = []
    for id in _runs(request.run_ids, "run_ids"):
        points = _unique(_points(call, head_of(call, id).id, key))
        if start is not None and end is not None:
            points = points.take((points.steps >= start) & (points.steps <= end))
        first = 0 if most > 1 else points.n - 1  # of one, it is the last
        chosen = np.unique(np.linspace(max(first, 0), max(points.n - 1, 0), min(most, points.n)).round().astype(np.intp))
        found += _metrics(key, points.take(chosen), id)
    return History(metrics=found)


def at_runs(call: Call, request: GetHistories) -> Iterable[str]:
    """Rights are asked on the experiments of all runs."""
    _key(request.metric_key)  # what is wrong by itself is said before what is not there
    return [f"experiment:{head_of(call, id).experiment}" for id in _runs(request.run_id, "run_id")]


def at_sampled(call: Call, request: GetSampled) -> Iterable[str]:
    """Rights are asked on the experiments of all runs."""
    return [f"experiment:{head_of(call, id).experiment}" for id in _runs(request.run_ids, "run_ids")]


def _points(call: Call, run: str, key: str) -> Points:
    with call.store.snapshot() as snapshot:
        return snapshot.series(to_bytes(run), key)


def _by_time(points: Points) -> Points:
    unique = _unique(points)
    return unique.take(np.lexsort((unique.values, unique.steps, unique.times // _MS)))


def _unique(points: Points) -> Points:
    """Give each point once, in order of step, time and value: servers that know nothing of each other may have written one twice."""
    order = np.lexsort((points.values, points.times // _MS, points.steps))
    sorted_ = points.take(order)
    if sorted_.n < 2:
        return sorted_
    values, times = sorted_.values, sorted_.times // _MS
    same = (sorted_.steps[1:] == sorted_.steps[:-1]) & (times[1:] == times[:-1])
    same &= (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    return sorted_.take(np.concatenate(([True], ~same)))


def _metrics(key: str, points: Points, run: str | None = None) -> Iterator[Metric]:
    rows = zip(points.steps.tolist(), (points.times // _MS).tolist(), points.values.tolist(), strict=True)
    return (Metric(key=key, value=number_to_json(value), timestamp=time, step=step, run_id=run) for step, time, value in rows)


def _key(said: str | None) -> str:
    if not said:
        raise required("metric_key")
    return said


def _runs(said: Sequence[str] | None, field: str) -> list[str]:
    ids = list(dict.fromkeys(said or ()))
    if not ids:
        raise invalid(f"GetMetricHistoryBulk request must specify at least one {field}.")
    if len(ids) > MOST_RUNS:
        raise invalid(f"GetMetricHistoryBulk request cannot specify more than {MOST_RUNS} run_ids. Received {len(ids)} run_ids.")
    return ids
