"""All settled points of a run, piece by piece as they came, so that a run of any length passes through a bounded memory."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, select

from stratal.store.columns import INHERITED, hidden_from
from stratal.store.database import Transaction
from stratal.store.names import RunRow, find_run
from stratal.store.series import Keys, Points, decode, decode_block
from stratal.store.tables import block, chunk

_CHUNKS = select(chunk.c.id, chunk.c.key, chunk.c.epoch).where(chunk.c.run == bindparam("run_no")).order_by(
    chunk.c.key, chunk.c.epoch, chunk.c.id
)  # fmt: skip
_CHUNK_DATA = select(chunk.c.data).where(chunk.c.id == bindparam("id"))
_BLOCKS = select(block.c.id, block.c.epoch).where(block.c.run == bindparam("run_no")).order_by(block.c.id)
_BLOCK_DATA = select(block.c.data).where(block.c.id == bindparam("id"))


class Piece(NamedTuple):
    """Points of one run and epoch, sorted by key: keys (n,), points n, hidden (n,) where a takeover superseded the point."""

    epoch: int
    keys: Keys
    points: Points
    hidden: NDArray[np.bool_]


def pieces_of(tx: Transaction, run_id: bytes) -> Iterator[Piece]:
    """Give all points of a run: those that a fork goes on from (of epoch -1), then the series with many, one after the other, then
    what is still in blocks.

    Inside of a series and epoch they come in order of arrival, which is the order of steps for all who log forwards.
    """
    row = find_run(tx, run_id)
    if row is None:
        return
    for epoch, keys, points in _parts(tx, row):
        limit = hidden_from(epoch, row.takeovers)
        hidden = np.zeros(points.n, np.bool_) if limit is None else points.steps >= limit
        yield Piece(epoch, keys, points, hidden)


def _parts(tx: Transaction, row: RunRow) -> Iterator[tuple[int, Keys, Points]]:
    """Give (epoch, keys, points), with nothing hidden."""
    if row.fork is not None and (origin := find_run(tx, row.fork.of)) is not None:
        for epoch, keys, points in _parts(tx, origin):
            limit = row.fork.limit(epoch, origin.takeovers)
            if limit is not None and (seen := points.steps < limit).any():
                yield INHERITED, keys[seen], points.take(seen)
    for id, key_id, epoch in tx.rows(_CHUNKS, run_no=row.no):
        points = decode(tx.value(_CHUNK_DATA, id=id))
        yield epoch, np.full(points.n, key_id, np.int32), points
    for id, epoch in tx.rows(_BLOCKS, run_no=row.no):
        yield (epoch, *decode_block(tx.value(_BLOCK_DATA, id=id)))
