"""All settled points of a run, piece by piece, so that a run of any length passes through a bounded memory, in one transaction or in many.

Laws (tested): 1 whoever goes on after a stable piece, in another transaction, misses nothing that was there when they began, and gets
nothing twice, whatever was folded in between. 2 the points are those of the run's series, and those that takeovers hid.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from sqlalchemy import bindparam, select

from stratal.core.records import Record
from stratal.store.columns import INHERITED, Takeover, hidden_from
from stratal.store.database import Transaction
from stratal.store.names import RunRow, find_run
from stratal.store.series import FULL, Points, decode, decode_block, empty, join
from stratal.store.tables import block, chunk

_KEYS = select(chunk.c.key).distinct().where(chunk.c.run == bindparam("run_no"), chunk.c.key >= bindparam("from_key")).order_by(chunk.c.key)
_CHUNKS = (
    select(chunk.c.id, chunk.c.epoch, chunk.c.n)
    .where(chunk.c.run == bindparam("run_no"), chunk.c.key == bindparam("of_key"))
    .order_by(chunk.c.epoch, chunk.c.id)
)
_CHUNK_DATA = select(chunk.c.data).where(chunk.c.id == bindparam("id"))
_BLOCKS = select(block.c.id, block.c.epoch).where(block.c.run == bindparam("run_no")).order_by(block.c.id)
_BLOCK_DATA = select(block.c.data).where(block.c.id == bindparam("id"))

_Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_END = 2**63 - 1  # after all chunks of an epoch
_NOTHING = empty()


class Place(Record, frozen=True, kw_only=True, order=True):
    """How far a run was read: `key`, in it the run that is so many forks away (negative, so that the eldest comes first), its epoch, and
    the chunk in there."""

    key: _Number = -1
    fork: _Number = 0
    epoch: _Number = 0
    chunk: _Number = 0


class Piece(NamedTuple):
    """Points of one series and epoch, in order of arrival. hidden (n,): where a takeover superseded the point. place: what was read with
    it; is_stable: another transaction may go on from there."""

    key: int
    epoch: int
    points: Points
    hidden: NDArray[np.bool_]
    place: Place
    is_stable: bool


class _Origin(NamedTuple):
    """A run whose points count: the run itself, or one that it goes on from. fork: how many forks away, negative. way: to this one."""

    row: RunRow
    fork: int
    way: Sequence[RunRow]

    def seen(self, epoch: int, points: Points) -> tuple[int, Points]:
        """Give those of some points that the run goes on from, and the epoch under which it has them; of the run itself all."""
        if not self.fork:
            return epoch, points
        limit = self._limit(epoch)
        return INHERITED, _NOTHING if limit is None else points.take(points.steps < limit)

    def _limit(self, epoch: int) -> int | None:
        """Give the step from which points of an epoch are not inherited, None if none of them is."""
        limits = []
        for heir, origin in zip(reversed(self.way[:-1]), reversed(self.way), strict=False):
            assert heir.fork is not None
            limits.append(heir.fork.limit(epoch, origin.takeovers))
            epoch = INHERITED  # as whoever goes on from the heir sees it
        found = [limit for limit in limits if limit is not None]
        return min(found) if len(found) == len(limits) else None


def pieces_of(tx: Transaction, run_id: bytes, *, up_to: int | None = None, after: Place | None = None) -> Iterator[Piece]:
    """Give all points of a run, series by series: those that a fork goes on from (of epoch -1), then its own, epoch by epoch.

    up_to: the epoch that the run had; what later takeovers brought or hid is left out. after: the place of a stable piece, to go on.
    Inside of a series and epoch they come in order of arrival, which is the order of steps for all who log forwards.
    """
    row = find_run(tx, run_id)
    if row is None:
        return
    later = [takeover.epoch for takeover in row.takeovers if up_to is not None and takeover.epoch > up_to]
    row = row._replace(takeovers=tuple(takeover for takeover in row.takeovers if takeover.epoch not in later))
    after = after or Place()
    origins = [(origin, _Held(tx, origin.row.no, after.key)) for origin in _origins(tx, row)]
    for key in sorted({key for _, held in origins for key in held.keys}):
        for origin, held in origins:
            for part in held.after(key, origin.fork, after):
                if origin.fork or not later or part.place.epoch < min(later):
                    epoch, points = origin.seen(part.place.epoch, part.points)
                    yield Piece(key, epoch, points, _hidden(points, epoch, row.takeovers), part.place, part.is_stable)


def _origins(tx: Transaction, row: RunRow) -> list[_Origin]:
    """List the run and those that it goes on from, the eldest first."""
    way = [row]
    while way[-1].fork is not None and (origin := find_run(tx, way[-1].fork.of)) is not None:
        way.append(origin)
    return [_Origin(way[n], -n, way[: n + 1]) for n in reversed(range(len(way)))]


class _Part(NamedTuple):
    """Points of one series and epoch of one run, as they lie."""

    points: Points
    place: Place
    is_stable: bool


class _Held:
    """What one run has from a key on: series in chunks, and the points that are still in blocks."""

    def __init__(self, tx: Transaction, run_no: int, from_key: int) -> None:
        self._tx, self._run_no = tx, run_no
        self._in_chunks = {key for (key,) in tx.rows(_KEYS, run_no=run_no, from_key=from_key)}
        self._in_blocks = _in_blocks(tx, run_no, from_key)
        self.keys = self._in_chunks | self._in_blocks.keys()

    def after(self, key: int, fork: int, after: Place) -> Iterator[_Part]:
        """Give what a series has after a place, with nothing hidden or left out.

        A full chunk stays as it is, and so do all before it in its epoch: only those after the last full one are ever rewritten."""
        chunks, rest = self._chunks(key), self._in_blocks.get(key, {})
        for epoch in sorted({*chunks, *rest}):
            for id, n in chunks.get(epoch, []):
                place = Place(key=key, fork=fork, epoch=epoch, chunk=id)
                if place > after:
                    yield _Part(decode(self._tx.value(_CHUNK_DATA, id=id)), place, is_stable=n >= FULL)
            place = Place(key=key, fork=fork, epoch=epoch, chunk=_END)
            if place > after:
                yield _Part(rest.get(epoch, _NOTHING), place, is_stable=True)

    def _chunks(self, key: int) -> dict[int, list[tuple[int, int]]]:
        """Give (id, points) of a series' chunks by epoch."""
        found: dict[int, list[tuple[int, int]]] = {}
        if key in self._in_chunks:
            for id, epoch, n in self._tx.rows(_CHUNKS, run_no=self._run_no, of_key=key):
                found.setdefault(epoch, []).append((id, n))
        return found


def _in_blocks(tx: Transaction, run_no: int, from_key: int) -> dict[int, dict[int, Points]]:
    """Give the points of a run's blocks by key and epoch."""
    ids, epochs, parts = [np.empty(0, np.int32)], [np.empty(0, np.int64)], [_NOTHING]
    for id, epoch in tx.rows(_BLOCKS, run_no=run_no):
        keys, points = decode_block(tx.value(_BLOCK_DATA, id=id))
        wanted = keys >= from_key
        ids.append(keys[wanted])
        epochs.append(np.full(len(ids[-1]), epoch, np.int64))
        parts.append(points.take(wanted))
    of_ids, of_epochs = np.concatenate(ids), np.concatenate(epochs)
    if not len(of_ids):
        return {}
    order = np.lexsort((of_epochs, of_ids))  # which is stable
    of_ids, of_epochs, points = of_ids[order], of_epochs[order], join(parts).take(order)
    edges = [0, *(np.flatnonzero(np.diff(of_ids) | np.diff(of_epochs)) + 1).tolist()]
    found: dict[int, dict[int, Points]] = {}
    for start, end, key, epoch in zip(edges, [*edges[1:], len(of_ids)], of_ids[edges].tolist(), of_epochs[edges].tolist(), strict=True):
        found.setdefault(key, {})[epoch] = points.cut(start, end)
    return found


def _hidden(points: Points, epoch: int, takeovers: Sequence[Takeover]) -> NDArray[np.bool_]:
    limit = hidden_from(epoch, takeovers)
    return np.zeros(points.n, np.bool_) if limit is None else points.steps >= limit
