"""Reading one run: its row, its series, and everything that was said about it."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from stratal.core.ids import RunId, to_bytes
from stratal.core.people import Role
from stratal.core.records import Record
from stratal.store.database import Transaction
from stratal.store.operations import operation
from stratal.store.series import Envelope
from stratal.store.store import Store
from stratal.tracking.alerting import LEVELS
from stratal.tracking.definitions import SummaryValue, definition_of, summarize
from stratal.tracking.facts import SYSTEM, MetricDefinition
from stratal.tracking.operations.bounds import Count, Few
from stratal.tracking.operations.naming import id_of, ids_of
from stratal.tracking.store import media as media_rows
from stratal.tracking.store import runs as rows
from stratal.tracking.store.alerts import ToldAlert, alerts_of
from stratal.tracking.store.lineage import may_name
from stratal.tracking.store.media import MediaRecord, MediaSummary
from stratal.tracking.store.runs import Artifact, Edge, MetricRecord, NoteRecord, RunRecord, Statement
from stratal.tracking.store.seeing import seen_runs

# Of one run: who looks at it sees the newest of them, and all by `alerts`.
MOST_ALERTS = 1000


class Found(Record, frozen=True, kw_only=True):
    """A run's row at one moment. is_lost: it never ended, and its process is gone."""

    record: RunRecord
    is_lost: bool = False


class SeriesColumns(Record, frozen=True, kw_only=True):
    """A series in order of step: int64, int64 (ns, UTC), float64; packed, little-endian."""

    steps: memoryview
    times: memoryview
    values: memoryview


class EnvelopeColumns(Record, frozen=True, kw_only=True):
    """Buckets of a series: first step int64, min, max and last value float64; packed, little-endian."""

    steps: memoryview
    low: memoryview
    high: memoryview
    last: memoryview


class Whole(Record, frozen=True, kw_only=True):
    """All that is said of a run, at one moment; `ReadRun` says what each part is. curves: of the first metrics, by name."""

    found: Found
    summaries: list[MetricRecord]
    summary: dict[str, SummaryValue]
    artifacts: list[Artifact]
    edges: list[Edge]
    notes: list[NoteRecord]
    children: list[RunId]
    statements: list[Statement]
    media: list[MediaSummary]
    alerts: list[ToldAlert]
    curves: dict[str, EnvelopeColumns]


class RunReads:
    """Reads runs by their whole ids. One that may not be seen is not there."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.VIEWER, is_scoped=True)
    def find(self, *, text: str) -> RunId:
        """Give the whole id of a run by its id, short form or ref. Raises NotFound, or Misuse if several match."""
        with self._store.query() as tx:
            return id_of(tx, text)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def named(self, *, ref: str, children: bool = False) -> list[RunId]:
        """List a run, or all runs that an experiment has now, deleted ones too. children: also all that are part of them."""
        with self._store.query() as tx:
            return ids_of(tx, ref, children=children)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def get(self, *, text: str) -> Found:
        """Read a run by id, short form or ref. Raises NotFound, or Misuse if several match."""
        with self._store.query() as tx:
            return found_of(self._store, tx, [rows.get_record(tx, id_of(tx, text))])[0]

    @operation(needs=Role.VIEWER, is_scoped=True)
    def whole(self, *, text: str, curves: Few = 0, buckets: Count = 1) -> Whole:
        """Read all that is said of a run by id, short form or ref: one answer for what is asked at once. curves: of so many metrics
        with more than one point, ours last, in at most `buckets` buckets. Raises as `get`."""
        self._store.settle()
        with self._store.snapshot() as snapshot:
            tx = snapshot.tx
            record = rows.get_record(tx, id_of(tx, text))
            known, id = rows.metrics_of(tx, record), to_bytes(record.id)

            def points(name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
                found = snapshot.series(id, name)
                return found.steps, found.values

            drawn = [each.name for each in sorted(known, key=lambda each: each.name.startswith(SYSTEM)) if each.points > 1][:curves]
            return Whole(
                found=found_of(self._store, tx, [record])[0],
                summaries=known,
                summary=summary_of(known, definitions_in(record), points),
                artifacts=rows.artifacts_of(tx, record),
                edges=_nameable(tx, rows.edges_of(tx, record)),
                notes=rows.notes_of(tx, record),
                children=rows.children_of(tx, record.id),
                statements=rows.statements_of(tx, record.id),
                media=media_rows.media_summaries(tx, record.id),
                alerts=alerts_of(tx, levels=LEVELS, experiment=None, run_id=record.id, limit=MOST_ALERTS),
                curves={name: _columns(snapshot.envelope(id, name, buckets)) for name in drawn},
            )

    @operation(needs=Role.VIEWER, is_scoped=True)
    def summaries(self, *, run: RunId) -> list[MetricRecord]:
        """List what is known of each series: last, step, low, high, number of points."""
        with self._store.query() as tx:
            return rows.metrics_of(tx, rows.get_record(tx, run))

    @operation(needs=Role.VIEWER, is_scoped=True)
    def artifacts(self, *, run: RunId) -> list[Artifact]:
        """List a run's artifacts by path."""
        with self._store.query() as tx:
            return rows.artifacts_of(tx, rows.get_record(tx, run))

    @operation(needs=Role.VIEWER, is_scoped=True)
    def edges(self, *, run: RunId) -> list[Edge]:
        """List what a run used and produced."""
        with self._store.query() as tx:
            return _nameable(tx, rows.edges_of(tx, rows.get_record(tx, run)))

    @operation(needs=Role.VIEWER, is_scoped=True)
    def notes(self, *, run: RunId) -> list[NoteRecord]:
        """List a run's notes, oldest first."""
        with self._store.query() as tx:
            return rows.notes_of(tx, rows.get_record(tx, run))

    @operation(needs=Role.VIEWER, is_scoped=True)
    def children(self, *, run: RunId) -> list[RunId]:
        """List the runs that are part of this one, in order of birth."""
        with self._store.query() as tx:
            return rows.children_of(tx, run)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def statements(self, *, run: RunId, kind: str | None = None) -> list[Statement]:
        """List what a run stated, of one kind if given, oldest first."""
        with self._store.query() as tx:
            return [stated for stated in rows.statements_of(tx, run) if kind is None or stated.kind == kind]

    @operation(needs=Role.VIEWER, is_scoped=True)
    def stated(self, *, kind: str, subject: str | None = None) -> list[Statement]:
        """List what runs stated of a kind, about one subject if given, oldest first."""
        with self._store.query() as tx:
            return rows.find_statements(tx, kind=kind, subject=subject)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def media(self, *, run: RunId, name: str | None = None) -> list[MediaRecord]:
        """List what a run logged beside numbers, in order of step: of one name, or of all."""
        with self._store.query() as tx:
            rows.get_record(tx, run)
            return media_rows.media_of(tx, run, name)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def media_summaries(self, *, run: RunId) -> list[MediaSummary]:
        """List the names under which a run has media."""
        with self._store.query() as tx:
            rows.get_record(tx, run)
            return media_rows.media_summaries(tx, run)

    @operation(needs=Role.VIEWER, is_scoped=True)
    def series(self, *, run: RunId, name: str, superseded: bool = False) -> SeriesColumns:
        """Give a metric's points; superseded: those that a takeover hid, instead. No points, if there is no such metric."""
        with self._store.snapshot() as snapshot:
            _check_seen(snapshot.tx, run)
            points = snapshot.series(to_bytes(run), name, superseded=superseded)
        return SeriesColumns(steps=packed(points.steps), times=packed(points.times), values=packed(points.values))

    @operation(needs=Role.VIEWER, is_scoped=True)
    def envelope(self, *, run: RunId, name: str, buckets: Count) -> EnvelopeColumns:
        """Give a metric in at most `buckets` buckets, keeping min, max and last of each."""
        with self._store.snapshot() as snapshot:
            _check_seen(snapshot.tx, run)
            return _columns(snapshot.envelope(to_bytes(run), name, buckets))


def definitions_in(record: RunRecord) -> dict[str, MetricDefinition]:
    """Give what `define_metric` said of a run's metrics, by metric or pattern."""
    found = record.doc.get("definitions", {})
    return {name: msgspec.convert(said, MetricDefinition) for name, said in found.items()} if isinstance(found, dict) else {}


def summary_of(
    records: Sequence[MetricRecord],
    definitions: Mapping[str, MetricDefinition],
    read: Callable[[str], tuple[NDArray[np.int64], NDArray[np.float64]]],
) -> dict[str, SummaryValue]:
    """Give the value that stands for each metric. read: gives steps and values of a series; it is asked only where
    something else than the last value was."""
    found = {}
    for record in records:
        definition = definition_of(record.name, definitions)
        if definition is None or definition.summary == "last":
            found[record.name] = SummaryValue(value=record.last, step=record.step, how="last")
        else:
            found[record.name] = summarize(definition, *read(record.name))
    return found


def found_of(store: Store, tx: Transaction, records: Sequence[RunRecord]) -> list[Found]:
    """Say of runs whether they are lost: they never ended, nobody holds a lease that runs, and nobody attends to them. Of runs that they
    belong to or go on from, only those that may be seen are named."""
    records = _without_unseen(tx, records)
    open_ = {record.id for record in records if rows.may_be_lost(record, tx.now_ns)}
    living = store.living() if open_ else set()
    return [Found(record=record, is_lost=record.id in open_ and not rows.is_attended(tx, record.id, living)) for record in records]


def _without_unseen(tx: Transaction, records: Sequence[RunRecord]) -> Sequence[RunRecord]:
    if tx.sees is None:
        return records
    seen = seen_runs(tx, [id for record in records for id in (record.parent, record.fork_of) if id is not None])
    return [
        msgspec.structs.replace(
            record, parent=record.parent if record.parent in seen else None, fork_of=record.fork_of if record.fork_of in seen else None
        )
        for record in records
    ]


def packed(column: NDArray[np.generic]) -> memoryview:
    """Pack a column of numbers, little-endian."""
    flat = np.ascontiguousarray(column, column.dtype.newbyteorder("<"))
    return flat.view(np.uint8).data if len(flat) else memoryview(b"")


def ints(column: memoryview) -> NDArray[np.int64]:
    """Give a packed column of whole numbers: without a copy, but of bytes that cannot be written."""
    found = np.frombuffer(column, "<i8").astype(np.int64, copy=False)
    return found if found.flags.writeable else found.copy()


def floats(column: memoryview) -> NDArray[np.float64]:
    """Give a packed column of numbers, as `ints` does."""
    found = np.frombuffer(column, "<f8").astype(np.float64, copy=False)
    return found if found.flags.writeable else found.copy()


def _columns(found: Envelope) -> EnvelopeColumns:
    return EnvelopeColumns(steps=packed(found.steps), low=packed(found.low), high=packed(found.high), last=packed(found.last))


def _nameable(tx: Transaction, edges: Sequence[Edge]) -> list[Edge]:
    return [edge for edge in edges if may_name(tx, edge.target)]


def _check_seen(tx: Transaction, run: RunId) -> None:
    """Raise NotFound for a run that may not be seen. Its points may be there before its row is."""
    if tx.sees is not None:
        rows.get_record(tx, run)
