"""The container of `.wandb` files: records in blocks of 32 KiB, cut into pieces where they cross an edge.

File: `:W&B`, u16 0xBEE1, u8 version 0, then pieces. Piece: crc32 of type and data, u16 length, u8 type (1 whole, 2 first, 3 middle,
4 last), data, little-endian; less than 7 bytes at the end of a block are padding. The checksum does not cover the length:
after a bad piece the next good one is searched, so that damage costs the records that it touches and no others.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from stratal.core.errors import Misuse
from stratal.interop.bounds import MOST_RECORD_BYTES
from stratal.interop.foreign import Remark

BLOCK = 32768
MAGIC = b":W&B"
_HEAD, _VERSION = struct.Struct("<IHB"), struct.Struct("<HB")
_KNOWN = (0xBEE1, 0)
_PREFIX = len(MAGIC) + _VERSION.size
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class Record(NamedTuple):
    """A record, and where it ends in the file; or damage, and why it cannot be read."""

    end: int
    data: bytes
    damage: str = ""


class _Piece(NamedTuple):
    kind: int
    start: int
    stop: int


def read_records(path: Path) -> Iterator[Record | Remark]:
    """Give the records of a file in order, damage in its place, then a Remark if the file ends inside of a record.

    Raises Misuse if the file is of another kind, or of a version that is not known.
    """
    parts = _Parts(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        block, base = file.read(BLOCK), 0
        if not check_head(path, block):
            yield Remark(f"{path} holds no record (yet)")
            return
        at = _PREFIX
        while block:
            is_last = base + len(block) >= size
            while True:
                piece = _piece(block, at)
                if piece is None and _is_padding(block, at):
                    break
                if piece is None and is_last and _is_cut(block, at) and _next_piece(block, at) is None:
                    yield Remark(f"{path}: the last {size - base - at} bytes are no whole record (yet)")
                    return
                if piece is None:
                    piece = _next_piece(block, at)
                    yield parts.lose(base + (piece.start - _HEAD.size if piece else len(block)), "does not match its checksum")
                    if piece is None:
                        break
                at = piece.stop
                yield from parts.add(piece.kind, block[piece.start : piece.stop], base + at)
            base += len(block)
            block, at = file.read(BLOCK), 0
    if parts.is_open:
        yield Remark(f"{path}: its last record is not whole (yet)")


def check_head(path: Path, start: bytes) -> bool:
    """Tell whether a file's first bytes are whole. Raises Misuse for another kind of file, or an unknown version."""
    if start[: len(MAGIC)] != MAGIC[: len(start)]:
        raise Misuse(f"{path} is no W&B run file", hint="give a run-<id>.wandb file, or a folder that holds some")
    if len(start) < _PREFIX:
        return False
    if _VERSION.unpack_from(start, len(MAGIC)) != _KNOWN:
        raise Misuse(f"{path} has a version of W&B's container that is not known", hint="it is newer than this release; update stratal")
    return True


class _Parts:
    """Pieces on their way to records."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_open(self) -> bool:
        return bool(self._parts)

    def add(self, kind: int, data: bytes, end: int) -> Iterator[Record]:
        """Add a good piece; gives the record that it ends."""
        if kind in (_WHOLE, _FIRST):
            if self._parts:
                yield Record(end, b"", "misses its last piece")
            self._parts, self._size = [], 0
        elif not self._parts:
            return  # its first piece was damaged, and is counted
        self._parts.append(data)
        self._size += len(data)
        if self._size > MOST_RECORD_BYTES:
            self._parts = []
            yield Record(end, b"", "is over 256 MiB")
        elif kind in (_WHOLE, _LAST):
            yield Record(end, b"".join(self._parts))
            self._parts = []

    def lose(self, end: int, why: str) -> Record:
        """Drop what a damaged piece belongs to."""
        self._parts = []
        return Record(end, b"", why)


def _piece(block: bytes, at: int) -> _Piece | None:
    """Give the good piece at a place."""
    if at + _HEAD.size > len(block):
        return None
    crc, length, kind = _HEAD.unpack_from(block, at)
    start = at + _HEAD.size
    if not _WHOLE <= kind <= _LAST or start + length > len(block):
        return None
    return _Piece(kind, start, start + length) if crc32(block[start - 1 : start + length]) == crc else None


def _next_piece(block: bytes, at: int) -> _Piece | None:
    """Give the next good piece after a bad one, by its length if that is good, else by looking everywhere."""
    if at + _HEAD.size <= len(block):
        after = at + _HEAD.size + _HEAD.unpack_from(block, at)[1]
        if (piece := _piece(block, after)) is not None:
            return piece
    return next((piece for place in range(at + 1, len(block) - _HEAD.size + 1) if (piece := _piece(block, place)) is not None), None)


def _is_padding(block: bytes, at: int) -> bool:
    return (len(block) == BLOCK and len(block) - at < _HEAD.size) or not block[at:].strip(b"\0")


def _is_cut(block: bytes, at: int) -> bool:
    """Tell whether the piece at a place goes on past the end of a file that ends in this block."""
    if len(block) - at < _HEAD.size:
        return True
    return at + _HEAD.size + int(_HEAD.unpack_from(block, at)[1]) > len(block)
