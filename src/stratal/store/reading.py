"""Readers: what the database holds, overlaid with the tails that are still in journals, as one snapshot.

The order makes it a snapshot: open the segments, begin a read transaction, ask it for offsets, read the tails from there.
Laws (tested): 1 overlay = settled: the same points whether a tick came before or not. 2 points of an epoch that a takeover
rewound are left out, and readable as superseded.
"""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from sqlalchemy import bindparam, select

from stratal.core.people import Identity
from stratal.store.columns import (
    INHERITED,
    LAST_STEP,
    Fork,
    Rows,
    Sorted,
    Takeover,
    gather,
    hidden_from,
    in_order,
    number_steps,
    sort_series,
    starts_at,
)
from stratal.store.database import Database, Transaction
from stratal.store.frames import NAMED, NO_STEP, POINTS, read_names
from stratal.store.journal import Tail, open_segments, read_tail, segments
from stratal.store.names import RunRow, all_keys, find_run, is_buried, names_of_shape, offset_of
from stratal.store.relays import has_repeats, repeated
from stratal.store.series import MARK, Envelope, Keys, Points, coarsen, decode, decode_block, empty, envelope_of, is_ascending, unpack_marks
from stratal.store.tables import block, chunk, key

_KEY = select(key.c.id).where(key.c.name == bindparam("name"))
_CHUNKS = (
    select(
        chunk.c.id,
        chunk.c.epoch,
        chunk.c.first_step,
        chunk.c.first_time,
        chunk.c.last_step,
        chunk.c.last_time,
        chunk.c.is_ascending,
        chunk.c.marks,
    )
    .where(chunk.c.run == bindparam("run_no"), chunk.c.key == bindparam("key"))
    .order_by(chunk.c.epoch, chunk.c.id)
)
_CHUNK_DATA = select(chunk.c.data).where(chunk.c.id == bindparam("id"))
_BLOCKS = select(block.c.epoch, block.c.data).where(block.c.run == bindparam("run_no")).order_by(block.c.id)
# Whoever reads the series of a wide run one by one opens the same blocks each time; small ones are kept open for a while.
_LARGE_BYTES = 1 << 20
_lately = lru_cache(maxsize=16)(decode_block)


class Snapshot:
    """One consistent view of a store. Made by `snapshot`; cheap while journals hold nothing new."""

    def __init__(self, tx: Transaction, tails: list[Tail]) -> None:
        self.tx = tx
        self._tails = tails
        self._ids: dict[str, int] | None = None
        self._points: dict[tuple[bytes, int, str], list[Rows]] | None = None

    def series(self, run_id: bytes, name: str, *, superseded: bool = False) -> Points:
        """Give all points of a series in order of (step, time); or those that takeovers hid. Empty if there are none."""
        row = find_run(self.tx, run_id)
        if row is None and is_buried(self.tx, run_id):
            return empty()
        parts = [(e, p) for e, p in self._parts(run_id, row, name) if p.n]
        takeovers = row.takeovers if row else ()
        chosen = [(e, _visible(p, e, takeovers, superseded)) for e, p in parts]
        chosen = [(e, p) for e, p in chosen if p.n]
        return in_order(chosen) if chosen else empty()

    def envelope(self, run_id: bytes, name: str, buckets: int) -> Envelope:
        """Give at most `buckets` buckets with min, max and last of each, from marks where they are fine enough: of a run that goes on, only
        the points that came since the last tick are read."""
        row = find_run(self.tx, run_id)
        marks = None if row is None or row.fork is not None else self._marks(row, name)
        if marks is not None and len(marks.steps) >= buckets:
            return coarsen(marks, buckets)
        return envelope_of(self.series(run_id, name), buckets)

    def _parts(self, run_id: bytes, row: RunRow | None, name: str) -> list[tuple[int, Points]]:
        parts: list[tuple[int, Points]] = []
        if (id := self._id_of(name)) is None:
            return parts
        if row is not None:
            for chunk_id, epoch, *_ in self.tx.rows(_CHUNKS, run_no=row.no, key=id):
                parts.append((epoch, decode(self.tx.value(_CHUNK_DATA, id=chunk_id))))
            parts.extend(self._in_blocks(row, id))
            if row.fork is not None:
                parts.insert(0, (INHERITED, self._inherited(row.fork, name)))
        for epoch, writer, waiting in self._in_tails(run_id, id):
            columns = waiting
            if (columns.points.steps == NO_STEP).any():
                columns = number_steps(columns, {id: _free_step(parts, epoch, row.takeovers if row else ())})
            if has_repeats(self.tx, run_id, writer):
                earlier = [(np.full(p.n, id, np.int32), p) for e, p in parts if e == epoch]
                columns = columns._replace(points=columns.points.take(~repeated(columns.keys, columns.points, earlier)))
            parts.append((epoch, columns.points))
        return parts

    def _id_of(self, name: str) -> int | None:
        """Give the id of a series' name, None if nobody knows it."""
        self._tail_points()  # first: it gives ids to names that the database has not seen
        return self._keys().get(name) if self._tails else self.tx.value(_KEY, name=name)

    def _in_tails(self, run_id: bytes, id: int) -> Iterator[tuple[int, str, Sorted]]:
        """Give (epoch, writer, points) of a series that no tick has settled, in the order in which one applies them."""
        for (run, epoch, writer), rows in self._tail_points().items():
            if run == run_id and (mine := [group for group in rows if (group.keys == id).any()]):
                yield epoch, writer, _only(sort_series(mine), id)

    def _inherited(self, fork: Fork, name: str) -> Points:
        """Give the points that a fork goes on from, as one part that is older than its own."""
        row = find_run(self.tx, fork.of)
        parts = self._parts(fork.of, row, name)
        limits = [fork.limit(epoch, row.takeovers if row else ()) for epoch, _ in parts]
        seen = [(e, p.take(p.steps < limit)) for (e, p), limit in zip(parts, limits, strict=True) if limit is not None]
        return in_order(seen) if seen else empty()

    def _marks(self, row: RunRow, name: str) -> Envelope | None:
        """Put the marks of all chunks, and of the points still in blocks and in tails, together; None unless all of it is in order."""
        id = self._id_of(name)
        if id is None or row.takeovers:
            return None
        parts = []
        reached = (-(2**63), -(2**63))
        for row_of_chunk in self.tx.rows(_CHUNKS, run_no=row.no, key=id):
            if not row_of_chunk[6] or row_of_chunk[2:4] < reached:
                return None
            reached = row_of_chunk[4:6]
            parts.append(unpack_marks(row_of_chunk[7]))
        tails = list(self._in_tails(row.id, id))
        if any((columns.points.steps == NO_STEP).any() or has_repeats(self.tx, row.id, writer) for _, writer, columns in tails):
            return None
        for points in (*(points for _, points in self._in_blocks(row, id)), *(columns.points for _, _, columns in tails)):
            if points.n == 0:
                continue
            if (int(points.steps[0]), int(points.times[0])) < reached or not is_ascending(points):
                return None
            reached = (int(points.steps[-1]), int(points.times[-1]))
            parts.append(envelope_of(points, 0, MARK))
        return Envelope(*(np.concatenate(columns) for columns in zip(*parts, strict=True))) if parts else None

    def _in_blocks(self, row: RunRow, id: int) -> Iterator[tuple[int, Points]]:
        for epoch, data in self.tx.rows(_BLOCKS, run_no=row.no):
            keys, points = decode_block(data) if len(data) > _LARGE_BYTES else _lately(data)
            start, stop = np.searchsorted(keys, [id, id + 1]).tolist()
            yield epoch, points.cut(start, stop)

    def _keys(self) -> dict[str, int]:
        if self._ids is None:
            self._ids = all_keys(self.tx)
        return self._ids

    def _tail_points(self) -> dict[tuple[bytes, int, str], list[Rows]]:
        if self._points is None:
            self._points = {}
            known = self._tail_shapes()
            for tail in self._tails:
                frames = [frame for frame in tail.read.frames if frame.kind in (POINTS, NAMED)]
                found, _ = gather(tail.data, frames, lambda shape: self._keys_of(shape, known))
                for (run, epoch), rows in found.items():
                    self._points.setdefault((run, epoch, tail.writer), []).extend(rows)
        return self._points

    def _tail_shapes(self) -> dict[int, Keys]:
        known: dict[int, Keys] = {}
        for tail in self._tails:
            for frame in tail.read.frames:
                if frame.kind == NAMED:
                    shape, names = read_names(tail.data, frame)
                    known[shape] = self._ids_of(names)
        return known

    def _keys_of(self, shape: int, known: dict[int, Keys]) -> Keys | None:
        if shape not in known and (names := names_of_shape(self.tx, shape)) is not None:
            known[shape] = self._ids_of(names)
        return known.get(shape)

    def _ids_of(self, names: tuple[str, ...]) -> Keys:
        """Give ids; names that the database has not seen get negative ones, of this snapshot only."""
        ids = self._keys()
        return np.array([ids.setdefault(name, -2 - len(ids)) for name in names], np.int32)


@contextlib.contextmanager
def snapshot(folder: Path, database: Database, actor: Identity) -> Iterator[Snapshot]:
    """Open a snapshot of a store's journals and database together."""
    with open_segments(folder, segments(folder)) as opened, database.read(actor) as tx:
        offsets = {name: offset_of(tx, name) for name in opened}
        tails = [read_tail(name, fd, offsets[name], whole=True) for name, fd in opened.items()]
        yield Snapshot(tx, [tail for tail in tails if tail.read.frames])


def _visible(points: Points, epoch: int, takeovers: tuple[Takeover, ...], superseded: bool) -> Points:
    limit = hidden_from(epoch, takeovers)
    if limit is None:
        return empty() if superseded else points
    seen = points.steps < limit
    return points.take(~seen if superseded else seen)


def _free_step(parts: list[tuple[int, Points]], epoch: int, takeovers: tuple[Takeover, ...]) -> int:
    """Give the step that a value without one takes in `epoch`, after these parts of its series. As settling numbers it."""
    seen = [(e, p) for e, p in ((e, _visible(p, e, takeovers, False)) for e, p in parts) if p.n]
    restart = starts_at(epoch, max((e for e, _ in seen), default=-1), takeovers)
    if restart is not None:
        return restart
    return min(max((0, *(int(p.steps.max()) + 1 for _, p in seen))), LAST_STEP)


def _only(columns: Sorted, id: int) -> Sorted:
    start, stop = np.searchsorted(columns.keys, [id, id + 1]).tolist()
    return Sorted(columns.keys[start:stop], columns.points.cut(start, stop), np.array([0]), np.array([stop - start]))
