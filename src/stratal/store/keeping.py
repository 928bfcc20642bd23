"""How points lie in the database: chunks of one series, blocks of many, and their geometric merging.

A tick writes series with many new points as chunks, and all other points of a run as one block row: a chunk per series
and tick would cost a row for each of 10,000 narrow series. Blocks become chunks when they hold enough points per series.
"""

from typing import NamedTuple

import numpy as np
from sqlalchemy import bindparam, delete, select

from stratal.store.columns import Sorted, by_series
from stratal.store.database import Transaction, insert
from stratal.store.series import FULL, Points, decode, decode_block, encode, encode_block, join, statistics
from stratal.store.tables import block, chunk

# New points of a series in one tick from which a chunk of its own pays.
ENOUGH = 256
# Blocks of a run that may pile up before they are merged, and newest chunks that a new one looks at.
MOST_BLOCKS, MOST_MERGED = 16, 8

_CHUNK_COLUMNS = tuple(c.name for c in chunk.columns if c.name != "id")
_BLOCK_COLUMNS = tuple(c.name for c in block.columns if c.name != "id")
_ADD_CHUNK = insert(chunk)
_ADD_BLOCK = insert(block)
_NEWEST_CHUNKS = (
    select(chunk.c.id, chunk.c.n)
    .where(chunk.c.run == bindparam("run"), chunk.c.key == bindparam("key"), chunk.c.epoch == bindparam("epoch"))
    .order_by(chunk.c.id.desc())
    .limit(MOST_MERGED)
)
_CHUNK_DATA = select(chunk.c.data).where(chunk.c.id == bindparam("id"))
_DROP_CHUNK = delete(chunk).where(chunk.c.id == bindparam("id"))
_BLOCKS = select(block.c.id, block.c.epoch, block.c.n, block.c.series).where(block.c.run == bindparam("run")).order_by(block.c.id)
_BLOCK_DATA = select(block.c.data).where(block.c.id == bindparam("id"))
_DROP_BLOCK = delete(block).where(block.c.id == bindparam("id"))


class BlockRow(NamedTuple):
    """A block without its data: n points of `series` series."""

    id: int
    epoch: int
    n: int
    series: int


def keep_points(tx: Transaction, run: int, epoch: int, rows: Sorted) -> None:
    """Write points: series with enough of them as chunks, all others of the run as one block."""
    counts = rows.ends - rows.starts
    many = counts >= ENOUGH
    for start, end in zip(rows.starts[many].tolist(), rows.ends[many].tolist(), strict=True):
        _keep_chunks(tx, run, int(rows.keys[start]), epoch, rows.points.cut(start, end))
    if many.all():
        return
    keys, points = rows.keys, rows.points
    if many.any():
        few = np.repeat(~many, counts)
        keys, points = keys[few], points.take(few)
    row = (run, epoch, len(keys), int((~many).sum()), encode_block(keys, points))
    tx.many_tuples(_ADD_BLOCK, _BLOCK_COLUMNS, [row])


def blocks_to_fold(tx: Transaction, run: int) -> list[BlockRow]:
    """Choose blocks worth rewriting: all of them once they make chunks, else the newest ones, geometrically."""
    rows = [BlockRow(*row) for row in tx.rows(_BLOCKS, run=run)]
    if not rows:
        return []
    make_chunks = sum(row.n for row in rows) >= ENOUGH * max(row.series for row in rows)
    if make_chunks:
        return rows
    if len(rows) < MOST_BLOCKS:
        return []
    taken: list[BlockRow] = []
    for row in reversed(rows):
        if taken and row.n > 2 * sum(other.n for other in taken):
            break
        taken.insert(0, row)
    return taken


def fold_blocks(tx: Transaction, run: int, blocks: list[BlockRow]) -> bool:
    """Rewrite blocks as chunks or as fewer blocks. False if another process folded one of them before: roll back."""
    for epoch in sorted({row.epoch for row in blocks}):
        parts = []
        for row in blocks:
            if row.epoch != epoch:
                continue
            data = tx.value(_BLOCK_DATA, id=row.id)
            if not isinstance(data, bytes):
                return False
            tx.run(_DROP_BLOCK, id=row.id)
            parts.append(decode_block(data))
        keys, points = np.concatenate([k for k, _ in parts]), join([p for _, p in parts])
        order = np.argsort(keys, kind="stable")
        keep_points(tx, run, epoch, by_series(keys[order], points.take(order)))
    return True


def _keep_chunks(tx: Transaction, run: int, key: int, epoch: int, points: Points) -> None:
    """Write one series' points, swallowing its newest chunks while each is at most twice what is in hand."""
    for id, n in tx.rows(_NEWEST_CHUNKS, run=run, key=key, epoch=epoch):
        if n >= FULL or n > 2 * points.n:
            break
        data = tx.value(_CHUNK_DATA, id=id)
        points = join([decode(data), points])
        tx.run(_DROP_CHUNK, id=id)
    rows = []
    for start in range(0, points.n, FULL):
        part = points.cut(start, start + FULL)
        known = statistics(part)
        last = None if np.isnan(known.last) else known.last
        rows.append((run, key, epoch, *known[:8], last, *known[9:], encode(part)))
    tx.many_tuples(_ADD_CHUNK, _CHUNK_COLUMNS, rows)
