"""Operations of exports: what no other operation gives of runs, in answers of a bounded size. What may not be viewed is not there."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from stratal.core.errors import Misuse
from stratal.core.ids import RunId, to_bytes
from stratal.core.people import Role
from stratal.core.records import Record
from stratal.interop.store import names_of
from stratal.store.database import Transaction
from stratal.store.operations import operation
from stratal.store.pieces import Piece, Place, pieces_of
from stratal.store.store import Store
from stratal.tracking.operations.reading import packed
from stratal.tracking.store import runs as rows
from stratal.tracking.store.lineage import may_name
from stratal.tracking.store.media import MediaRecord, media_of
from stratal.tracking.store.runs import Artifact, Edge, NoteRecord, RunRecord, Statement

# Points of one answer, 33 bytes each: some 7 MB, and a row group of Parquet.
MOST_POINTS = 200_000
# Runs that are asked about at once, and bytes from which an answer about them ends.
MOST_RUNS, ENOUGH_BYTES = 200, 4 << 20

Epoch = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Said(Record, frozen=True, kw_only=True):
    """All that was said of a run beside its row and its points."""

    notes: list[NoteRecord]
    edges: list[Edge]
    media: list[MediaRecord]
    statements: list[Statement]
    artifacts: list[Artifact]


class PointPage(Record, frozen=True, kw_only=True):
    """Points of a run, series by series. names: of the metrics that are here. The columns are packed, little-endian: which of the names
    (int32), epochs (int32), steps, times (int64; ns, UTC), values (float64), hidden (a byte: a takeover superseded the point).

    next: where to go on, None at the end."""

    names: list[str]
    which: memoryview
    epochs: memoryview
    steps: memoryview
    times: memoryview
    values: memoryview
    hidden: memoryview
    next: Place | None


class ExportStore:
    """What an export reads of runs, by their whole ids."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.VIEWER, is_scoped=True)
    def said(self, *, runs: list[RunId]) -> list[Said]:
        """Give what was said of the first of some runs, as many as fit into an answer, and at least one. runs: at most 200."""
        if len(runs) > MOST_RUNS:
            raise Misuse(f"{len(runs):,} runs are too many at once", hint=f"ask for at most {MOST_RUNS}")
        found: list[Said] = []
        size_bytes = 0
        with self._store.query() as tx:
            for run in runs:
                found.append(said_of(tx, rows.get_record(tx, run)))
                size_bytes += len(msgspec.msgpack.encode(found[-1]))
                if size_bytes >= ENOUGH_BYTES:
                    break
        return found

    @operation(needs=Role.VIEWER, is_scoped=True)
    def points(self, *, run: RunId, epoch: Epoch, after: Place | None = None) -> PointPage:
        """Give points of a run, those that a takeover hid, too. epoch: of its row, later takeovers do not count; after: the `next` of a
        page, to go on."""
        with self._store.query() as tx:
            return next(point_pages(tx, rows.get_record(tx, run), epoch, after))


def said_of(tx: Transaction, record: RunRecord) -> Said:
    """Read what was said of a run."""
    return Said(
        notes=rows.notes_of(tx, record),
        edges=[edge for edge in rows.edges_of(tx, record) if may_name(tx, edge.target)],
        media=media_of(tx, record.id),
        statements=rows.statements_of(tx, record.id),
        artifacts=rows.artifacts_of(tx, record),
    )


def point_pages(tx: Transaction, record: RunRecord, epoch: int, after: Place | None = None) -> Iterator[PointPage]:
    """Give all points of a run, page by page; at least one page."""
    held: list[Piece] = []
    points = 0
    for piece in pieces_of(tx, to_bytes(record.id), up_to=epoch, after=after):
        held.append(piece)
        points += piece.points.n
        if points >= MOST_POINTS and piece.is_stable:
            yield _page(tx, held, piece.place)
            held, points = [], 0
    yield _page(tx, held, None)


def _page(tx: Transaction, pieces: list[Piece], following: Place | None) -> PointPage:
    pieces = [piece for piece in pieces if piece.points.n]
    keys = list(dict.fromkeys(piece.key for piece in pieces))
    place = {key: n for n, key in enumerate(keys)}
    names, counts = names_of(tx, keys), [piece.points.n for piece in pieces]
    return PointPage(
        names=[names[key] for key in keys],
        which=packed(np.repeat(np.array([place[piece.key] for piece in pieces], np.int32), counts)),
        epochs=packed(np.repeat(np.array([piece.epoch for piece in pieces], np.int32), counts)),
        steps=packed(_joined((piece.points.steps for piece in pieces), np.int64)),
        times=packed(_joined((piece.points.times for piece in pieces), np.int64)),
        values=packed(_joined((piece.points.values for piece in pieces), np.float64)),
        hidden=packed(_joined((piece.hidden for piece in pieces), np.uint8)),
        next=following,
    )


def _joined(columns: Iterable[NDArray[np.generic]], dtype: type[np.generic]) -> NDArray[np.generic]:
    return np.concatenate([np.empty(0, dtype), *(column.astype(dtype, copy=False) for column in columns)])
