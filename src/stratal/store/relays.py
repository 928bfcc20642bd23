"""Relays: writers that write to a run for clients elsewhere, which may come back through any other: a server of MLflow's protocol.

Two things follow. Whether a run lives is told by when its clients last said something, not by whether the writer of a moment ago is
there. And a point that a client repeats, because an answer was lost, may reach another writer than before: points of one run that come
from several relays are held against those that are there, and each is kept once.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, bindparam, or_, select
from sqlalchemy.sql.elements import ColumnElement

from stratal.core.clock import SECOND_NS
from stratal.store.columns import Sorted, keep
from stratal.store.database import Transaction, insert
from stratal.store.names import RunRow
from stratal.store.series import Keys, Points, decode, decode_block
from stratal.store.tables import block, chunk, participant

# A run whose clients say nothing for so long passes for lost, until one says something again: longer than an epoch of any training.
SILENT_NS = 24 * 3600 * SECOND_NS
# How often it is written down that a client is there; what is said in between changes nothing.
HEARD_EVERY_NS = 600 * SECOND_NS

_said = insert(participant).values(run=bindparam("run_id"), writer=bindparam("by"), heard_ns=bindparam("now"))
_HEAR = _said.on_conflict_do_update(index_elements=[participant.c.run, participant.c.writer], set_={"heard_ns": _said.excluded.heard_ns})
_HEARD = select(participant.c.heard_ns).where(participant.c.run == bindparam("run_id"), participant.c.writer == bindparam("by"))
_RELAYS = select(participant.c.writer).where(participant.c.run == bindparam("run_id"), participant.c.heard_ns.is_not(None))
_CHUNKS = select(chunk.c.key, chunk.c.data).where(
    chunk.c.run == bindparam("run_no"), chunk.c.epoch == bindparam("of_epoch"),
    chunk.c.first_step <= bindparam("high"), chunk.c.last_step >= bindparam("low"),
)  # fmt: skip
_BLOCKS = select(block.c.data).where(block.c.run == bindparam("run_no"), block.c.epoch == bindparam("of_epoch"))


def hear(tx: Transaction, run: bytes, writer: str) -> None:
    """Note that a client said something of a run through a writer. Key: (run, writer)."""
    tx.run(_HEAR, run_id=run, by=writer, now=tx.now_ns)


def heard_ns(tx: Transaction, run: bytes, writer: str) -> int:
    """Give when a client last said something of a run through a writer, 0 if none ever did; ten minutes late at most."""
    return int(tx.value(_HEARD, run_id=run, by=writer) or 0)


def is_attended(writers: ColumnElement[bool], now_ns: int) -> ColumnElement[bool]:
    """Give the condition under which a participant keeps its run alive. writers: it is one that lives."""
    lives = and_(writers, participant.c.heard_ns.is_(None))
    return or_(lives, participant.c.heard_ns > now_ns - SILENT_NS)


def has_repeats(tx: Transaction, run: bytes, writer: str) -> bool:
    """Tell whether points of a run by this writer may have come through another one before."""
    relays = [name for (name,) in tx.rows(_RELAYS, run_id=run)]
    return len(relays) > 1 and writer in relays


def without_repeats(tx: Transaction, run: RunRow, epoch: int, rows: Sorted) -> Sorted | None:
    """Leave out the points that are settled already; None if nothing is left. O(points in blocks and in chunks of these steps)."""
    low, high = int(rows.points.steps.min()), int(rows.points.steps.max())
    wanted = set(rows.series)
    there: list[tuple[Keys, Points]] = []
    for key, data in tx.rows(_CHUNKS, run_no=run.no, of_epoch=epoch, low=low, high=high):
        if key in wanted:
            points = decode(data)
            there.append((np.full(points.n, key, np.int32), points))
    there += [decode_block(data) for (data,) in tx.rows(_BLOCKS, run_no=run.no, of_epoch=epoch)]
    return keep(rows, ~repeated(rows.keys, rows.points, there))


def repeated(keys: Keys, points: Points, there: Iterable[tuple[Keys, Points]]) -> NDArray[np.bool_]:
    """Tell which points are there already: of the same key, step, time and value. keys: (n,)."""
    known: set[tuple[int, int, int, float | None]] = set()
    for others, placed in there:
        mine = np.isin(placed.steps, points.steps) & np.isin(others, keys)
        if mine.any():
            known.update(_identities(others[mine], placed.take(mine)))
    if not known:
        return np.zeros(points.n, bool)
    return np.array([one in known for one in _identities(keys, points)], bool)


def _identities(keys: Keys, points: Points) -> Iterable[tuple[int, int, int, float | None]]:
    values = [None if value != value else value for value in points.values.tolist()]  # NaN is one value
    return zip(keys.tolist(), points.steps.tolist(), points.times.tolist(), values, strict=True)
