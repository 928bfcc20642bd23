"""Last values of series: the rows that search reads, and the document that a page reads.

Last is the highest of (epoch, step, time, arrival) among points that count. Narrow runs are brought up to date by every
tick. Wide ones keep only their document up to date while they are busy; their rows follow at the next quiet moment, from
what chunks and blocks say (`rebuild`), which is also how a takeover takes values back.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import and_, bindparam, case, delete, literal_column, or_, select, update

from stratal.core.records import number_to_json
from stratal.store.columns import INHERITED, LAST_STEP, Sorted, by_series, hidden_from, newest
from stratal.store.database import Row, Transaction, insert
from stratal.store.names import Names, RunRow, find_run
from stratal.store.series import Points, decode, decode_block
from stratal.store.tables import block, chunk, key, metric, run

# Series in one tick above which rows wait for a quiet moment: 10,000 rows cost 51 ms a tick, one document 3.5.
WIDE = 512

_COLUMNS = tuple(c.name for c in metric.columns)
_new = insert(metric).excluded
_is_newer = or_(
    _new.epoch > metric.c.epoch,
    and_(_new.epoch == metric.c.epoch, _new.step > metric.c.step),
    and_(_new.epoch == metric.c.epoch, _new.step == metric.c.step, _new.time_ns >= metric.c.time_ns),
)
_MERGE = insert(metric).on_conflict_do_update(
    index_elements=["run", "key"],
    set_={
        **{name: case((_is_newer, _new[name]), else_=metric.c[name]) for name in ("value", "is_nan", "step", "time_ns", "epoch")},
        "next_step": case((_new.next_step > metric.c.next_step, _new.next_step), else_=metric.c.next_step),
        "low": case((metric.c.low.is_(None), _new.low), (_new.low < metric.c.low, _new.low), else_=metric.c.low),
        "high": case((metric.c.high.is_(None), _new.high), (_new.high > metric.c.high, _new.high), else_=metric.c.high),
        "points": metric.c.points + _new.points,
    },
)
_ADD = insert(metric)
_CLEAR = delete(metric).where(metric.c.run == bindparam("run_no"))
_VALUES = (
    select(key.c.name, metric.c.value, metric.c.is_nan)
    .join_from(metric, key, key.c.id == metric.c.key)
    .where(metric.c.run == bindparam("run_no"))
)
_NEXT_STEPS = select(metric.c.key, metric.c.epoch, metric.c.next_step).where(metric.c.run == bindparam("run_no"))
_DOCUMENT = select(run.c.metrics).where(run.c.no == bindparam("run_no"))
_SET_DOCUMENT = update(run).where(run.c.no == bindparam("run_no")).values(metrics=bindparam("document"), is_lagging=bindparam("lagging"))
_FORKS = select(run.c.id, run.c.fork_step, run.c.fork_epoch).where(run.c.fork_of == bindparam("run_id"))
_LAG = update(run).where(run.c.id == bindparam("run_id")).values(is_lagging=1)
LAGGING = select(run.c.id).where(run.c.is_lagging == literal_column("1"))  # no parameter: the index is of these rows only
_CHUNKS = select(
    chunk.c.key, chunk.c.epoch, chunk.c.n, chunk.c.first_step, chunk.c.last_step, chunk.c.last_time,
    chunk.c.low, chunk.c.high, chunk.c.last, chunk.c.is_ascending, chunk.c.id,
).where(chunk.c.run == bindparam("run_no"))  # fmt: skip
_CHUNK_DATA = select(chunk.c.data).where(chunk.c.id == bindparam("id"))
_BLOCKS = select(block.c.epoch, block.c.data).where(block.c.run == bindparam("run_no")).order_by(block.c.id)


def update_values(tx: Transaction, run: RunRow, epoch: int, rows: Sorted, names: Names) -> None:
    """Bring last values up to date with points that count."""
    last = newest(rows)
    if len(last) > WIDE or run.is_lagging:
        _merge_document(tx, run, rows, last, names)
        return
    tx.many_tuples(_MERGE, _COLUMNS, _metric_rows(run, epoch, rows, last))
    _write_document(tx, run.no)


def rebuild(tx: Transaction, run: RunRow) -> None:
    """Make rows and document anew from all points that count, inherited ones too. O(chunks + points in blocks)."""
    found = _counting(tx, run, lambda epoch: _before(hidden_from(epoch, run.takeovers)))
    tx.run(_CLEAR, run_no=run.no)
    tx.many_tuples(_ADD, _COLUMNS, [(run.no, row[1], run.experiment, *row[3:]) for row in found])
    _write_document(tx, run.no)


def next_steps(tx: Transaction, run: RunRow) -> dict[int, tuple[int, int]]:
    """Give key to (epoch of its last point, next free step)."""
    if run.is_lagging:
        rebuild(tx, run)
    return {int(k): (int(e), int(n)) for k, e, n in tx.rows(_NEXT_STEPS, run_no=run.no)}


def lagging_runs(tx: Transaction) -> list[bytes]:
    """List the ids of runs whose rows lag behind."""
    return [bytes(id) for (id,) in tx.rows(LAGGING)]


def tell_forks(tx: Transaction, run: RunRow, epoch: int, first_step: int) -> None:
    """Let the forks that inherit new points of a run lag behind, and the forks of those: they are brought up to date as wide runs are."""
    for id, fork_step, fork_epoch in tx.rows(_FORKS, run_id=run.id):
        if epoch <= fork_epoch and first_step < fork_step:
            tx.run(_LAG, run_id=id)
            if (fork := find_run(tx, bytes(id))) is not None:
                tell_forks(tx, fork, INHERITED, first_step)


MetricRow = Row


def _metric_rows(run: RunRow, epoch: int, rows: Sorted, last: "np.typing.NDArray[np.int64]") -> list[MetricRow]:
    p, starts = rows.points, rows.starts
    finite = np.where(np.isfinite(p.values), p.values, np.nan)
    low, high = np.fmin.reduceat(finite, starts), np.fmax.reduceat(finite, starts)
    following = np.maximum.reduceat(p.steps, starts)
    following = np.maximum(np.where(following < LAST_STEP, following + 1, following), 0)  # a series without steps starts at 0
    return [
        (run.no, k, run.experiment, None if v != v else v, int(v != v), s, t, epoch, f, None if a != a else a, None if b != b else b, n)
        for k, v, s, t, f, a, b, n in zip(
            rows.keys[starts].tolist(), p.values[last].tolist(), p.steps[last].tolist(), p.times[last].tolist(),
            following.tolist(), low.tolist(), high.tolist(), (rows.ends - starts).tolist(), strict=True,
        )
    ]  # fmt: skip


def _write_document(tx: Transaction, no: int) -> None:
    values = {name: "NaN" if nan else number_to_json(value) for name, value, nan in tx.rows(_VALUES, run_no=no)}
    tx.run(_SET_DOCUMENT, run_no=no, document=msgspec.json.encode(values).decode(), lagging=0)


def _merge_document(tx: Transaction, run: RunRow, rows: Sorted, last: "np.typing.NDArray[np.int64]", names: Names) -> None:
    document = msgspec.json.decode(str(tx.value(_DOCUMENT, run_no=run.no)))
    values = rows.points.values[last]
    plain = values.tolist() if bool(np.isfinite(values).all()) else [number_to_json(value) for value in values.tolist()]
    document.update(zip(names.names_of(tx, rows.series), plain, strict=True))
    tx.run(_SET_DOCUMENT, run_no=run.no, document=msgspec.json.encode(document).decode(), lagging=1)


# Epoch to the step before which its points count; _ALL: all of them do.
_Limit = Callable[[int], int]
_ALL, _NONE = 2**63, -(2**63)


def _before(limit: int | None) -> int:
    return _ALL if limit is None else limit


def _counting(tx: Transaction, run: RunRow, limit: _Limit) -> list[MetricRow]:
    """Give one row per series from the points of a run, and of those that it goes on from, that are before `limit`."""
    found = [*_from_chunks(tx, run, limit), *_from_blocks(tx, run, limit)]
    if run.fork is not None and (origin := find_run(tx, run.fork.of)) is not None:
        fork, inherited = run.fork, limit(INHERITED)

        def theirs(epoch: int) -> int:
            seen = fork.limit(epoch, origin.takeovers)
            return _NONE if seen is None else min(seen, inherited)

        found += [(*row[:7], INHERITED, *row[8:]) for row in _counting(tx, origin, theirs)]
    return _best_of(found)


def _from_chunks(tx: Transaction, run: RunRow, limit_of: _Limit) -> list[MetricRow]:
    found: list[MetricRow] = []
    for k, e, n, first, last_step, last_time, low, high, last, is_ascending, id in tx.rows(_CHUNKS, run_no=run.no):
        limit = limit_of(e)
        if first >= limit:
            continue
        if is_ascending and last_step < limit:
            following = max(min(last_step + 1, LAST_STEP), 0)
            found.append((run.no, k, run.experiment, last, int(last is None), last_step, last_time, e, following, low, high, n))
            continue
        points = decode(tx.value(_CHUNK_DATA, id=id))
        keys = np.full(points.n, k, np.int32)
        found.extend(_visible_rows(run, e, keys, points, limit))
    return found


def _from_blocks(tx: Transaction, run: RunRow, limit_of: _Limit) -> list[MetricRow]:
    found: list[MetricRow] = []
    for e, data in tx.rows(_BLOCKS, run_no=run.no):
        keys, points = decode_block(data)
        found.extend(_visible_rows(run, e, keys, points, limit_of(e)))
    return found


def _visible_rows(run: RunRow, epoch: int, keys: "np.typing.NDArray[np.int32]", points: Points, limit: int) -> list[MetricRow]:
    if limit < _ALL:
        seen = points.steps < limit
        keys, points = keys[seen], points.take(seen)
    if not len(keys):
        return []
    rows = by_series(keys, points)
    return _metric_rows(run, epoch, rows, newest(rows))


def _best_of(found: list[MetricRow]) -> list[MetricRow]:
    """Merge rows of one run by key, as _MERGE does in the database."""
    best: dict[int, list[Any]] = {}
    for row in found:
        old = best.get(row[1])
        if old is None:
            best[row[1]] = list(row)
            continue
        merged = list(row) if (row[7], row[5], row[6]) >= (old[7], old[5], old[6]) else old[:]
        merged[8] = max(row[8], old[8])
        merged[9] = min((x for x in (row[9], old[9]) if x is not None), default=None)
        merged[10] = max((x for x in (row[10], old[10]) if x is not None), default=None)
        merged[11] = row[11] + old[11]
        best[row[1]] = merged
    return [tuple(row) for row in best.values()]
