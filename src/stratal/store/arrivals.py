"""All settled points of a run, piece by piece as they came, so that a run of any length passes through a bounded memory."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import bindparam, select

from stratal.store.columns import hidden_from
from stratal.store.database import Transaction
from stratal.store.names import find_run
from stratal.store.series import Keys, Points, decode, decode_block
from stratal.store.tables import block, chunk, key

_CHUNKS = select(chunk.c.id, chunk.c.key, chunk.c.epoch).where(chunk.c.run == bindparam("run_no")).order_by(
    chunk.c.key, chunk.c.epoch, chunk.c.id
)  # fmt: skip
_CHUNK_DATA = select(chunk.c.data).where(chunk.c.id == bindparam("id"))
_BLOCKS = select(block.c.id, block.c.epoch).where(block.c.run == bindparam("run_no")).order_by(block.c.id)
_BLOCK_DATA = select(block.c.data).where(block.c.id == bindparam("id"))
_NAMES = select(key.c.id, key.c.name)


class Piece(NamedTuple):
    """Points of one run and epoch, sorted by key: keys (n,), points n, hidden (n,) where a takeover superseded the point."""

    epoch: int
    keys: Keys
    points: Points
    hidden: NDArray[np.bool_]


def arrivals(tx: Transaction, run_id: bytes) -> Iterator[Piece]:
    """Give all points of a run: first the series with many, one after the other, then what is still in blocks.

    Inside of a series and epoch they come in order of arrival, which is the order of steps for all who log forwards.
    """
    row = find_run(tx, run_id)
    if row is None:
        return
    for id, key_id, epoch in tx.rows(_CHUNKS, run_no=row.no):
        points = decode(tx.value(_CHUNK_DATA, id=id))
        yield _piece(epoch, np.full(points.n, key_id, np.int32), points, hidden_from(epoch, row.takeovers))
    for id, epoch in tx.rows(_BLOCKS, run_no=row.no):
        keys, points = decode_block(tx.value(_BLOCK_DATA, id=id))
        yield _piece(epoch, keys, points, hidden_from(epoch, row.takeovers))


def key_names(tx: Transaction) -> dict[int, str]:
    """Give the name of each key."""
    return dict(tx.rows(_NAMES))


def _piece(epoch: int, keys: Keys, points: Points, limit: int | None) -> Piece:
    hidden = np.zeros(points.n, np.bool_) if limit is None else points.steps >= limit
    return Piece(epoch, keys, points, hidden)
