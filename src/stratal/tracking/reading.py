"""Runs as they are read: values, never live handles. What a reader sees is one moment of the store."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stratal.core.clock import to_utc
from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import RunId, short
from stratal.core.records import from_json, number_from_json
from stratal.store.store import Store
from stratal.tracking.definitions import STEP, TIME, Curve, SummaryValue, align, definition_of
from stratal.tracking.facts import MetricDefinition, params_from_json
from stratal.tracking.opening import current_store
from stratal.tracking.operations.reading import MOST_ALERTS, EnvelopeColumns, RunReads, definitions_in, floats, ints, summary_of
from stratal.tracking.output import OUTPUT, files_of, in_order
from stratal.tracking.store.runs import Artifact, Edge, MetricRecord, NoteRecord, RunRecord, Statement

if TYPE_CHECKING:
    from stratal.tracking.media.reading import MediaItem
    from stratal.tracking.store.alerts import ToldAlert
    from stratal.tracking.store.media import MediaSummary


class _Points(NamedTuple):
    steps: NDArray[np.int64]
    times: NDArray[np.datetime64]
    values: NDArray[np.float64]


class Series(_Points):
    """One metric of one run, in order of step: steps (n,) int64, times (n,) datetime64[ns] in UTC, values (n,) float64."""

    _run: "ReadRun | None" = None
    _x: str | None = None

    def against(self, x: "str | Series | None" = None) -> Curve:
        """Give the values against another metric: for each point the last x at or before its step; points before the first x are left out.

        x: a metric of the same run, "step", "time" (seconds since the first point), or a series; None: what `define_metric` said, else
        steps. Raises NotFound for a metric that is not there."""
        x = x or self._x or STEP
        if isinstance(x, Series):
            has, xs = align(self.steps, x.steps, x.values)
            return Curve(xs, self.values[has], self.steps[has])
        if self._run is not None and x not in (STEP, TIME):
            return self.against(self._run.series(x))
        if x == TIME:
            began = self.times.min() if len(self.times) else np.datetime64(0, "ns")
            return Curve((self.times - began).astype(np.int64) / 1e9, self.values, self.steps)
        if x == STEP:
            return Curve(self.steps.astype(np.float64), self.values, self.steps)
        raise Misuse(f"this series belongs to no run, so nobody knows {x!r}", hint="give the other series itself")

    def __reduce__(self) -> tuple[object, ...]:
        return Series, tuple(self)  # without its run, which holds a store


class Bucketed(NamedTuple):
    """A series in m buckets: first step of each, and the min, max and last value. All (m,)."""

    steps: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    last: NDArray[np.float64]


class ReadRun:
    """A run that was read. Its row is of the moment of reading; series and artifacts are fetched when asked for."""

    def __init__(self, store: Store, record: RunRecord, *, is_lost: bool = False) -> None:
        self._store = store
        self._reads = RunReads(store)
        self.record = record
        self._is_lost = is_lost
        self._statements: list[Statement] | None = None  # that came with the run, as these did:
        self._curves: dict[tuple[str, int], EnvelopeColumns] = {}

    @property
    def id(self) -> RunId:
        return self.record.id

    @property
    def short(self) -> str:
        return short(self.record.id)

    @property
    def ref(self) -> str:
        return f"run:{self.record.id}"

    @property
    def experiment(self) -> str:
        return self.record.experiment

    @property
    def name(self) -> str:
        return str(self.record.doc.get("name", ""))

    @property
    def kind(self) -> str:
        return self.record.kind

    @property
    def group(self) -> str:
        return str(self.record.doc.get("group", ""))

    @property
    def job_type(self) -> str:
        """What part the run plays in its group: train, preprocess, eval ... as its owner said."""
        return str(self.record.doc.get("job_type", ""))

    @property
    def user(self) -> str:
        return str(self.record.doc.get("user", ""))

    @property
    def parent(self) -> RunId | None:
        return self.record.parent

    @property
    def forked_from(self) -> tuple[RunId, int] | None:
        """The run whose points before a step this one goes on from, and that step; None if it is no fork."""
        of, step = self.record.fork_of, self.record.fork_step
        return None if of is None or step is None else (of, step)

    @property
    def status(self) -> str:
        """running, finished, failed, stopped; or lost: it never ended, and its process is gone."""
        return "lost" if self._is_lost else self.record.status

    @property
    def error(self) -> str:
        """What a failed run died of, '' if it did not."""
        return str(self.record.doc.get("error", ""))

    @property
    def lost_calls(self) -> int:
        """How many calls could not be written: the run has holes. Known when it has ended."""
        lost = self.record.doc.get("lost_calls", 0)
        return lost if isinstance(lost, int) else 0

    @property
    def started(self) -> datetime | None:
        return None if self.record.started_ns is None else to_utc(self.record.started_ns)

    @property
    def ended(self) -> datetime | None:
        return None if self.record.ended_ns is None else to_utc(self.record.ended_ns)

    @property
    def deleted(self) -> datetime | None:
        """When it was deleted, None if it was not."""
        return None if self.record.deleted_ns is None else to_utc(self.record.deleted_ns)

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end, None while it has not ended."""
        if self.record.started_ns is None or self.record.ended_ns is None:
            return None
        return (self.record.ended_ns - self.record.started_ns) / 1e9

    @property
    def params(self) -> dict[str, object]:
        return params_from_json(_part(self.record, "params"))

    @property
    def tags(self) -> dict[str, str]:
        return {name: str(value) for name, value in _part(self.record, "tags").items()}

    @property
    def capture(self) -> dict[str, object]:
        """What was captured: code, environment, hardware, entry. What took long is there a moment after the start."""
        captured = _part(self.record, "capture")
        thorough = captured.pop("thorough", None)
        if isinstance(thorough, str):
            captured.update(from_json(self._store.blobs.read(thorough), dict[str, object]))
        return captured

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each series: of the highest step."""
        return {name: number_from_json(value) for name, value in self.record.metrics.items()}

    @cached_property
    def summaries(self) -> list[MetricRecord]:
        """What is known of each series: last, step, low, high, number of points."""
        return self._reads.summaries(run=self.id)

    @property
    def definitions(self) -> dict[str, MetricDefinition]:
        """What `define_metric` said, by metric or pattern."""
        return definitions_in(self.record)

    @cached_property
    def summary(self) -> dict[str, SummaryValue]:
        """The value that stands for each metric, by its definition: the last one, unless something else was said.

        A series is read only where something else was said."""

        def points(name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            series = self.series(name)
            return series.steps, series.values

        return summary_of(self.summaries, self.definitions, points)

    @cached_property
    def artifacts(self) -> list[Artifact]:
        return self._reads.artifacts(run=self.id)

    @cached_property
    def edges(self) -> list[Edge]:
        return self._reads.edges(run=self.id)

    @cached_property
    def notes(self) -> list[NoteRecord]:
        return self._reads.notes(run=self.id)

    @cached_property
    def children(self) -> list[RunId]:
        return self._reads.children(run=self.id)

    @cached_property
    def alerts(self) -> "Sequence[ToldAlert]":
        """What the run told people to look at, newest first; at most a thousand."""
        from stratal.tracking.alerts import find_alerts  # few runs have any

        return find_alerts(run=self.id, limit=MOST_ALERTS, store=self._store)

    def statements(self, kind: str | None = None) -> list[Statement]:
        """List what the run stated, of one kind if given, oldest first."""
        if self._statements is not None:
            return [stated for stated in self._statements if kind is None or stated.kind == kind]
        return self._reads.statements(run=self.id, kind=kind)

    def media(self, name: str | None = None) -> "list[MediaItem]":
        """List what was logged beside numbers, in order of step: of one name, or of all. Raises NotFound for a name that has none."""
        from stratal.tracking.media.reading import MediaItem  # only for runs that have some

        found = self._reads.media(run=self.id, name=name)
        if name is not None and not found:
            known = ", ".join(summary.name for summary in self.media_summaries) or "none"
            raise NotFound(f"run {self.short} has no media {name!r}", hint=f"it has: {known}")
        return [MediaItem(self._store, record) for record in found]

    @cached_property
    def media_summaries(self) -> "list[MediaSummary]":
        """What is known of each name that has media: kinds, number of items, first and last step."""
        return self._reads.media_summaries(run=self.id)

    def series(self, name: str, *, superseded: bool = False) -> Series:
        """Give a metric's points. superseded: those that a takeover hid, instead. Raises NotFound if there is no such metric."""
        points = self._reads.series(run=self.id, name=name, superseded=superseded)
        steps = ints(points.steps)
        if not len(steps) and not superseded and name not in self.record.metrics:
            raise NotFound(f"run {self.short} has no metric {name!r}", hint=f"it has: {', '.join(sorted(self.record.metrics)) or 'none'}")
        found = Series(steps, ints(points.times).view("datetime64[ns]"), floats(points.values))
        definition = definition_of(name, self.definitions)
        found._run, found._x = self, definition.x if definition else None
        return found

    def envelope(self, name: str, buckets: int) -> Bucketed:
        """Give a metric in at most `buckets` buckets, keeping min, max and last of each."""
        found = self._curves.get((name, buckets)) or self._reads.envelope(run=self.id, name=name, buckets=buckets)
        return Bucketed(ints(found.steps), floats(found.low), floats(found.high), floats(found.last))

    def read_artifact(self, path: str) -> bytes:
        """Give an artifact's bytes, verified. Raises NotFound."""
        for artifact in self.artifacts:
            if artifact.path == path:
                return self._store.blobs.read(artifact.digest)
        known = ", ".join(artifact.path for artifact in self.artifacts[:20]) or "none"
        raise NotFound(f"run {self.short} has no artifact {path!r}", hint=f"it has: {known}")

    @property
    def output(self) -> str:
        """What the run printed, where autolog watched its console: up to now, if it goes on or was killed."""
        ended = {epoch: self.read_artifact(path) for epoch, path in in_order([artifact.path for artifact in self.artifacts]).items()}
        parts = files_of(self._store.folder / OUTPUT, self.id) | ended
        return b"".join(parts[epoch] for epoch in sorted(parts)).decode(errors="replace")

    def __repr__(self) -> str:
        return f"<Run {self.short} of {self.experiment!r}, {self.kind}, {self.status}>"


def get_run(run: str, *, store: Store | None = None) -> ReadRun:
    """Read a run by id, short form or ref. Raises NotFound."""
    store = store or current_store()
    found = RunReads(store).get(text=run)
    return ReadRun(store, found.record, is_lost=found.is_lost)


def get_whole(run: str, *, curves: int = 0, buckets: int = 1, store: Store | None = None) -> ReadRun:
    """Read a run with all that is said of it, at one moment: one question, where `get_run` asks for each part when it is looked at.

    curves: also the first so many metrics in `buckets` buckets. Raises NotFound."""
    store = store or current_store()
    whole = RunReads(store).whole(text=run, curves=curves, buckets=buckets)
    read = ReadRun(store, whole.found.record, is_lost=whole.found.is_lost)
    read.summaries, read.summary, read.artifacts, read.edges = whole.summaries, whole.summary, whole.artifacts, whole.edges
    read.notes, read.children, read.media_summaries, read.alerts = whole.notes, whole.children, whole.media, whole.alerts
    read._statements = whole.statements
    read._curves = {(name, buckets): curve for name, curve in whole.curves.items()}
    return read


def _part(record: RunRecord, part: str) -> dict[str, object]:
    found = record.doc.get(part, {})
    return dict(found) if isinstance(found, dict) else {}
