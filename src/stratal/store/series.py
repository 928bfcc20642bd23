"""The codec of series: chunks of one series, blocks of many, and the statistics that stand beside a chunk.

Every blob begins with its codec number. Codec 1: zstd of byte-shuffled columns; a chunk holds steps as second
differences, times as first differences, values as they are; a block holds key ids too, all as first differences but the
values. Differences wrap around, and so do their sums: any int64 survives.

Laws (tested): 1 decode(encode(p)) == p, bit for bit, NaN payloads included. 2 statistics of a join are the join of
statistics. 3 an envelope holds the minimum, maximum and last value of each bucket.
"""

import math
import struct
from typing import NamedTuple, TypeVar

import numpy as np
import zstandard
from numpy.typing import NDArray

from stratal.core.errors import Damaged

CODEC = 1
# Points of a full chunk, and of one mark in it. 4096: measured best of 128 to 65536 for bytes and reads together.
FULL = 4096
MARK = 512
_PREFIX = struct.Struct("<BI")  # codec, points
_ONE_MARK = struct.Struct("<qddd")

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Keys = NDArray[np.int32]

Number = TypeVar("Number", bound=np.generic)

_I4, _I8, _F8 = np.dtype(np.int32).newbyteorder("<"), np.dtype(np.int64).newbyteorder("<"), np.dtype(np.float64).newbyteorder("<")
_compress = zstandard.ZstdCompressor(level=1).compress


class Points(NamedTuple):
    """Columns of one series or of many: steps int64, times int64 (ns, UTC), values float64, all of one length."""

    steps: Ints
    times: Ints
    values: Floats

    @property
    def n(self) -> int:
        return len(self.steps)

    def cut(self, start: int, stop: int) -> "Points":
        """Give points start to stop, as views."""
        return Points(self.steps[start:stop], self.times[start:stop], self.values[start:stop])

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> "Points":
        """Give the points at an index or under a mask, as copies."""
        return Points(self.steps[index], self.times[index], self.values[index])


class Statistics(NamedTuple):
    """What is known of a chunk without decoding it. low, high, total: of finite values, None if there are none.

    is_ascending: (step, time) never descends inside. marks: per 512 points (step i64, low, high, last f64), packed.
    """

    n: int
    first_step: int
    last_step: int
    first_time: int
    last_time: int
    low: float | None
    high: float | None
    total: float | None
    last: float
    nans: int
    infs: int
    is_ascending: int
    marks: bytes


class Envelope(NamedTuple):
    """Buckets of a series, all of shape (m,): first step; min, max and last value. NaN where a bucket has no number."""

    steps: Ints
    low: Floats
    high: Floats
    last: Floats


def empty() -> Points:
    """Give no points."""
    return Points(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def join(parts: list[Points]) -> Points:
    """Put points one after the other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return empty()
    return Points(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def encode(points: Points) -> bytes:
    """Encode one series' points as a chunk. About 8 bytes a point for noise, 0.7 for constants."""
    body = _shuffle(_delta(_delta(points.steps))) + _shuffle(_delta(points.times)) + _shuffle(points.values)
    return _PREFIX.pack(CODEC, points.n) + _compress(body)


def decode(data: bytes) -> Points:
    """Undo `encode`. Raises Damaged if the bytes are not a chunk."""
    n, raw = _open(data, 24)
    wide = 8 * n
    return Points(
        _plain(raw[:wide], n, _I8).cumsum().cumsum(),
        _plain(raw[wide : 2 * wide], n, _I8).cumsum(),
        _plain(raw[2 * wide :], n, _F8),
    )


def encode_block(keys: Keys, points: Points) -> bytes:
    """Encode points of many series, sorted by key, order of arrival kept inside each."""
    body = _shuffle(_delta(keys)) + _shuffle(_delta(points.steps)) + _shuffle(_delta(points.times)) + _shuffle(points.values)
    return _PREFIX.pack(CODEC, points.n) + _compress(body)


def decode_block(data: bytes) -> tuple[Keys, Points]:
    """Undo `encode_block`. Raises Damaged if the bytes are not a block."""
    n, raw = _open(data, 28)
    a, b, c = 4 * n, 12 * n, 20 * n
    keys = _plain(raw[:a], n, _I4).cumsum(dtype=np.int32)
    return keys, Points(_plain(raw[a:b], n, _I8).cumsum(), _plain(raw[b:c], n, _I8).cumsum(), _plain(raw[c:], n, _F8))


def statistics(points: Points) -> Statistics:
    """Describe a chunk; it has at least one point. O(n)."""
    values, n = points.values, points.n
    low, high, total, nans, infs = _summary(values)
    in_order = is_ascending(points)
    first_step, last_step = (int(points.steps[0]), int(points.steps[-1])) if in_order else _span(points.steps)
    first_time, last_time = _span(points.times)
    last = float(values[-1])
    if n <= MARK:
        lowest, highest = (low, high) if not nans and not infs else (float(np.fmin.reduce(values)), float(np.fmax.reduce(values)))
        marks = _ONE_MARK.pack(int(points.steps[0]), lowest, highest, last)
    else:
        marks = pack_marks(envelope_of(points, -(-n // MARK), MARK))
    return Statistics(n, first_step, last_step, first_time, last_time, low, high, total, last, nans, infs, int(in_order), marks)


def is_ascending(points: Points) -> bool:
    """Tell whether (step, time) never descends: the last point is then the newest."""
    steps, times = points.steps, points.times
    if bool((steps[1:] > steps[:-1]).all()):
        return True
    repeats = steps[1:] == steps[:-1]
    return bool(((steps[1:] > steps[:-1]) | (repeats & (times[1:] >= times[:-1]))).all())


def pack_marks(marks: Envelope) -> bytes:
    """Pack the marks of a chunk: steps, then low, high, last, 8 bytes each."""
    return b"".join(column.astype(column.dtype.newbyteorder("<")).tobytes() for column in marks)


def unpack_marks(data: bytes) -> Envelope:
    """Undo `pack_marks`."""
    n = len(data) // 32
    floats = np.frombuffer(data, "<f8", 3 * n, 8 * n)
    return Envelope(np.frombuffer(data, "<i8", n), floats[:n], floats[n : 2 * n], floats[2 * n :])


def envelope_of(points: Points, buckets: int, width: int = 0) -> Envelope:
    """Cut ascending points into buckets of equal count (of `width`, if given) and give min, max, last of each. O(n).

    After M4 (Jugel et al., VLDB 2014), without its `first`.
    """
    n = points.n
    if n == 0:
        return Envelope(points.steps, points.values, points.values, points.values)
    edges = np.arange(0, n, width) if width else np.unique(np.linspace(0, n, min(buckets, n), endpoint=False).astype(np.int64))
    ends = np.append(edges[1:], n) - 1
    return Envelope(
        points.steps[edges], np.fmin.reduceat(points.values, edges), np.fmax.reduceat(points.values, edges), points.values[ends]
    )


def coarsen(marks: Envelope, buckets: int) -> Envelope:
    """Join neighbouring buckets until at most `buckets` are left."""
    n = len(marks.steps)
    if n <= buckets:
        return marks
    edges = np.unique(np.linspace(0, n, buckets, endpoint=False).astype(np.int64))
    ends = np.append(edges[1:], n) - 1
    return Envelope(marks.steps[edges], np.fmin.reduceat(marks.low, edges), np.fmax.reduceat(marks.high, edges), marks.last[ends])


def _span(column: Ints) -> tuple[int, int]:
    return int(column.min()), int(column.max())


def _summary(values: Floats) -> tuple[float | None, float | None, float | None, int, int]:
    """Give low, high, total of what is finite, and how many are NaN and infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(values.sum())
    if math.isfinite(total):  # then all values are: the usual case takes three passes
        return float(values.min()), float(values.max()), total, 0, 0
    good = values[np.isfinite(values)]
    nans = int(np.isnan(values).sum())
    if not len(good):
        return None, None, None, nans, len(values) - nans
    with np.errstate(over="ignore"):
        return float(good.min()), float(good.max()), float(good.sum()), nans, len(values) - len(good) - nans


def _open(data: bytes, width: int) -> tuple[int, bytes]:
    if len(data) < _PREFIX.size or data[0] != CODEC:
        number = data[0] if data else None
        raise Damaged(f"points are stored with codec {number}, this version reads {CODEC}", hint="install a newer version of stratal")
    n = _PREFIX.unpack_from(data)[1]
    try:
        raw = zstandard.ZstdDecompressor().decompress(data[_PREFIX.size :], max_output_size=width * n)
    except zstandard.ZstdError as error:
        raise Damaged(f"stored points cannot be read: {error}", hint="restore them from a backup") from error
    if len(raw) != width * n:
        raise Damaged(f"stored points have {len(raw)} bytes instead of {width * n}", hint="restore them from a backup")
    return n, raw


def _shuffle(column: NDArray[np.generic]) -> bytes:
    width = column.dtype.itemsize
    return np.ascontiguousarray(np.ascontiguousarray(column).view(np.uint8).reshape(len(column), width).T).tobytes()


def _plain(data: bytes, n: int, dtype: "np.dtype[Number]") -> "NDArray[Number]":
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(dtype.itemsize, n).T).view(dtype).ravel()


def _delta(column: "NDArray[Number]") -> "NDArray[Number]":
    out = column.copy()
    np.subtract(column[1:], column[:-1], out=out[1:])
    return out
