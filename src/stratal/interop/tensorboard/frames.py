"""Frames of event files: length u64 | masked crc32c of it | data | masked crc32c of the data, little-endian."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stratal.interop.bounds import MOST_RECORD_BYTES
from stratal.interop.foreign import Remark
from stratal.interop.tensorboard.checksum import masked_crc

_HEAD, _SUM = struct.Struct("<QI"), struct.Struct("<I")


class Frame(NamedTuple):
    """A frame, and where it ends. data: None if it does not match its checksum."""

    end: int
    data: bytes | None


def read_frames(path: Path) -> Iterator[Frame | Remark]:
    """Give the frames of a file, then a Remark if they do not reach its end. A bad length ends it: nothing after can be found."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, crc = _HEAD.unpack(head)
            if masked_crc(head[:8]) != crc:
                yield Remark(
                    f"{path}: the frame at byte {at} is damaged, and the {size - at} bytes from there cannot be read", is_loss=True
                )
                return
            if length > MOST_RECORD_BYTES:
                yield Remark(f"{path}: the frame at byte {at} claims {length:,} bytes; what is over 256 MiB is not read", is_loss=True)
                return
            data, tail = file.read(length), file.read(_SUM.size)
            if len(tail) < _SUM.size:
                break
            at += _HEAD.size + length + _SUM.size
            yield Frame(at, data if masked_crc(data) == _SUM.unpack(tail)[0] else None)
    if at < size:
        yield Remark(f"{path}: the last {size - at} bytes are no whole event (yet)")
