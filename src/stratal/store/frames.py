"""The journal codec, sans I/O: frames to bytes and back, and a torn tail told apart from damage.

A frame is 48 bytes of header and a body, little-endian:

    at  bytes  field
     0      4  magic 89 53 54 31 (the last byte is the format version)
     4      1  kind: 1 points, 2 points with their names, 3 fact; readers keep unknown kinds raw
     5      3  flags and reserved, 0
     8      4  body length
    12      4  epoch of the run
    16      8  sequence of the writer, counted over its segments
    24     16  run id
    40      4  crc32 of the body
    44      4  crc32 of bytes 0 to 43

Both checksums are seeded with the salt of the segment, the crc32 of its file name: journal bytes that somebody logs as
text can never pass for a frame. Every frame names its run and epoch itself, so no frame needs another to be placed.

Body of points:            shape u64, step i64, time i64 (ns, UTC), values f64 x n.
Body of points with names: u32 size, msgpack list of names, then as above. The shape is a digest of the names.
Body of a fact:            msgpack (what, time i64, value).

Laws (tested): 1 scan(pack(x)) == x. 2 every cut of a journal reads as a prefix of it. 3 one flipped bit costs at most one
frame, which is reported or a torn tail; it is never read wrong. 4 bytes of one segment never read as frames of another.
"""

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

MAGIC = b"\x89ST1"
FIELDS = struct.Struct("<4sB3xIIQ16sI")
SUM = struct.Struct("<I")
HEADER = FIELDS.size + SUM.size
SIZE = struct.Struct("<I")
POINTS, NAMED, FACT = 1, 2, 3
NO_STEP = -(2**63)  # "the next step of its own series", given when the point settles

_encode = msgspec.msgpack.Encoder().encode
_decode_names = msgspec.msgpack.Decoder(tuple[str, ...]).decode
_decode_fact = msgspec.msgpack.Decoder(tuple[str, int, object]).decode
# A stretch is checked as NumPy tables of so many frames: the first is small, as runs that take turns have stretches of one frame, and the
# next ones grow up to what bounds their memory. Guesses that are never tight.
_FIRST_TABLE, _TABLES_GROW, _LARGEST_TABLE = 32, 8, 65536


class Frame(NamedTuple):
    """A good frame, or a run of `stretch` points frames that differ only in sequence and body.

    start, stop: the place of the (first) body in the scanned bytes.
    """

    kind: int
    epoch: int
    sequence: int
    run: bytes
    start: int
    stop: int
    stretch: int = 1

    @property
    def end(self) -> int:
        """Where the last of the stretch ends."""
        return self.stop + (self.stretch - 1) * _width(self)


class Scan(NamedTuple):
    """frames: good ones, in order. end: where the last good one ends. damage: ranges that a good frame follows."""

    frames: list[Frame]
    end: int
    damage: list[tuple[int, int]]


class Fact(NamedTuple):
    """A statement about a run, as it stood in a journal. `value` is what msgpack holds."""

    writer: str
    sequence: int
    run: bytes
    epoch: int
    what: str
    at_ns: int
    value: object


def salt_of(file_name: str) -> int:
    """Give the seed of both checksums of a segment."""
    return crc32(file_name.encode())


def pack(kind: int, epoch: int, sequence: int, run: bytes, body: bytes, salt: int) -> bytes:
    """Make one frame. run: 16 bytes."""
    head = FIELDS.pack(MAGIC, kind, len(body), epoch, sequence, run, crc32(body, salt))
    return b"".join((head, SUM.pack(crc32(head, salt)), body))


def pack_many(epoch: int, sequence: int, run: bytes, bodies: Iterable[tuple[int, bytes]], salt: int) -> bytes:
    """Make frames of (kind, body) that follow each other; twice as quick as one by one."""
    parts: list[bytes] = []
    for number, (kind, body) in enumerate(bodies, sequence):
        head = FIELDS.pack(MAGIC, kind, len(body), epoch, number, run, crc32(body, salt))
        parts += (head, SUM.pack(crc32(head, salt)), body)
    return b"".join(parts)


def scan(data: bytes, salt: int, *, is_whole: bool = False) -> Scan:
    """Read all good frames. O(bytes); stretches of like frames are checked 20 times quicker than one by one.

    is_whole: stop at the first bytes that are no frame, and do not look for one behind them.
    """
    found: list[Frame] = []
    damage: list[tuple[int, int]] = []
    at, view, size = 0, memoryview(data), len(data)
    while at + HEADER <= size:
        frame = _frame(view, at, size, salt)
        if frame is None:
            follows = -1 if is_whole else _next_good(data, view, at, size, salt)
            if follows < 0:
                break
            damage.append((at, follows))
            at = follows
            continue
        width, at = frame.stop - at, frame.stop
        if frame.kind == POINTS and (more := _stretch(data, view, at, width, salt)):
            frame, at = frame._replace(stretch=1 + more), at + more * width
        found.append(frame)
    return Scan(found, found[-1].end if found else 0, damage)


def shape_of(names: bytes) -> int:
    """Give the digest of encoded names: any segment's definition serves every other."""
    return int.from_bytes(blake2b(names, digest_size=8).digest(), "little")


def encode_names(names: tuple[str, ...]) -> bytes:
    """Encode the names of a tuple of metrics."""
    return _encode(names)


def decode_names(data: bytes | memoryview) -> tuple[str, ...]:
    """Undo `encode_names`."""
    return _decode_names(data)


def encode_fact(what: str, at_ns: int, value: object) -> bytes:
    """Encode the body of a fact."""
    return _encode((what, at_ns, value))


def read_fact(data: bytes, frame: Frame, writer: str) -> Fact:
    """Decode the fact of a frame. Raises msgspec.DecodeError for a body that a checksum vouches for but nobody wrote."""
    what, at_ns, value = _decode_fact(memoryview(data)[frame.start : frame.stop])
    return Fact(writer, frame.sequence, frame.run, frame.epoch, what, at_ns, value)


def read_names(data: bytes, frame: Frame) -> tuple[int, tuple[str, ...]]:
    """Give shape and names of a frame of kind NAMED."""
    size = SIZE.unpack_from(data, frame.start)[0]
    names = memoryview(data)[frame.start + SIZE.size : frame.start + SIZE.size + size]
    return shape_of(bytes(names)), decode_names(names)


def is_like(one: Frame, other: Frame) -> bool:
    """Tell whether `read_points` reads two frames together."""
    return one.kind == other.kind == POINTS and one.stop - one.start == other.stop - other.start


def read_points(data: bytes, frames: Sequence[Frame]) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.float64]]:
    """Give the points of like frames or stretches, of R rows in all, of n metrics each.

    Returns shapes (R,), steps and times (R, 2), values (R, n). All rows have one n, but may differ in shape.
    """
    first = frames[0]
    skip = SIZE.size + SIZE.unpack_from(data, first.start)[0] if first.kind == NAMED else 0
    length, width = first.stop - first.start - skip, _width(first)
    every = np.lib.stride_tricks.as_strided(
        np.frombuffer(data, np.uint8), (max(0, len(data) - length + 1), length), (1, 1), writeable=False
    )  # a row for each byte that a body might start at: a view
    table = every[counted(frames, [frame.start + skip for frame in frames], width)].view("<i8")
    return table[:, 0].view("<u8"), table[:, 1:3], table[:, 3:].view("<f8")


def counted(frames: Sequence[Frame], first: Sequence[int], by: int) -> NDArray[np.int64]:
    """Count on from a number of each frame, by as much for each row of its stretch: (R,)."""
    if len(frames) == 1:
        return np.arange(first[0], first[0] + by * frames[0].stretch, by, dtype=np.int64)
    counts = np.array([frame.stretch for frame in frames], np.int64)
    starts = np.array(first, np.int64) - by * (np.cumsum(counts) - counts)  # as if each counted on from row 0
    rows: NDArray[np.int64] = np.repeat(starts, counts) + by * np.arange(counts.sum())
    return rows


def points_packer(count: int) -> struct.Struct:
    """Give the packer of a points body with `count` values."""
    return struct.Struct(f"<Qqq{count}d")


def check_metric_names(names: Sequence[object]) -> str:
    """Give what is wrong with the names of a call, or nothing. Runs once per tuple of names, never in the hot path."""
    if not names:
        return "there is no metric in it"
    for name in names:
        if not isinstance(name, str):
            return f"{name!r} is not a text"
        if not name or len(name) > 500:
            return f"{name[:40]!r} has {len(name)} characters, 1 to 500 are allowed"
        if not name.isprintable():
            return f"{name!r} holds characters that cannot be printed"
    return ""


def _width(frame: Frame) -> int:
    return frame.stop - frame.start + HEADER


def _frame(view: memoryview, at: int, size: int, salt: int) -> Frame | None:
    if at + HEADER > size or view[at : at + 4] != MAGIC:
        return None
    if crc32(view[at : at + FIELDS.size], salt) != SUM.unpack_from(view, at + FIELDS.size)[0]:
        return None
    _, kind, length, epoch, sequence, run, body = FIELDS.unpack_from(view, at)
    start, stop = at + HEADER, at + HEADER + length
    if stop > size or crc32(view[start:stop], salt) != body:
        return None
    return Frame(kind, epoch, sequence, run, start, stop)


def _next_good(data: bytes, view: memoryview, at: int, size: int, salt: int) -> int:
    while (at := data.find(MAGIC, at + 1)) >= 0:
        if _frame(view, at, size, salt) is not None:
            return at
    return -1


def _stretch(data: bytes, view: memoryview, at: int, width: int, salt: int) -> int:
    """Count the frames from `at` that look like the one before it."""
    found, most = 0, _FIRST_TABLE
    while data[at : at + 16] == data[at - width : at - width + 16] and data[at + 24 : at + 40] == data[at - width + 24 : at - width + 40]:
        count = min((len(data) - at) // width, most)
        if count < 4:
            break
        like = _table(data, view, at, count, width, salt)
        found, at, most = found + like, at + like * width, min(most * _TABLES_GROW, _LARGEST_TABLE)
        if like < count:
            break
    return found


def _table(data: bytes, view: memoryview, at: int, count: int, width: int, salt: int) -> int:
    """Count the first of `count` frames that look like the one before them.

    Equal header words vouch for each other, so only the bodies' checksums are computed.
    """
    table = np.frombuffer(data, np.uint8, (count + 1) * width, at - width).reshape(count + 1, width)
    words = np.ascontiguousarray(table[:, :HEADER]).view("<u8")  # 0 magic, kind; 1 length, epoch; 2 sequence; 3, 4 run; 5 sums
    same = words[1:, 2] == words[:-1, 2] + np.uint64(1)
    for word in (0, 1, 3, 4):
        same &= words[1:, word] == words[0, word]
    like = count if same.all() else int(same.argmin())
    for done, body in enumerate((words[1 : like + 1, 5] & np.uint64(2**32 - 1)).tolist()):
        if crc32(view[at + HEADER : at + width], salt) != body:
            return done
        at += width
    return like
