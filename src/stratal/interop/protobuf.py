"""Protobuf messages without their schema: one level at a time, as pairs of field number and value."""

import struct

from stratal.core.errors import Damaged

Fields = dict[int, list["int | bytes"]]

_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")


def fields(data: bytes) -> Fields:
    """Decode one level: field number to its values, ints of varints and bytes of all else. Raises Damaged if it is no message."""
    found: Fields = {}
    at, size = 0, len(data)
    while at < size:
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            found.setdefault(key >> 3, []).append(value)
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise Damaged(f"a message has a field of the unknown wire type {wire}")
        if at + length > size:
            raise Damaged("a field is longer than its message")
        found.setdefault(key >> 3, []).append(data[at : at + length])
        at += length
    return found


def message(found: Fields, number: int) -> Fields:
    """Give the message in a field, an empty one if it is not there."""
    return fields(blob(found, number))


def blobs(found: Fields, number: int) -> list[bytes]:
    """Give all values of a field that are bytes."""
    return [value for value in found.get(number, ()) if isinstance(value, bytes)]


def blob(found: Fields, number: int) -> bytes:
    """Give the last value of a field, b'' if it is not there."""
    values = blobs(found, number)
    return values[-1] if values else b""


def text(found: Fields, number: int) -> str:
    """Give a field as text; bytes that are no UTF-8 become replacement characters."""
    return blob(found, number).decode("utf-8", "replace")


def texts(found: Fields, number: int) -> list[str]:
    """Give all values of a field as texts."""
    return [value.decode("utf-8", "replace") for value in blobs(found, number)]


def integer(found: Fields, number: int) -> int:
    """Give an int64 field, 0 if it is not there."""
    value = next((value for value in reversed(found.get(number, ())) if isinstance(value, int)), 0)
    return value - (1 << 64) if value >> 63 else value


def double(found: Fields, number: int) -> float:
    """Give a double field, 0 if it is not there."""
    value = blob(found, number)
    return float(_DOUBLE.unpack(value)[0]) if len(value) == 8 else 0.0


def single(found: Fields, number: int) -> float:
    """Give a float field, 0 if it is not there."""
    value = blob(found, number)
    return float(_FLOAT.unpack(value)[0]) if len(value) == 4 else 0.0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    out = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        out |= (byte & 127) << shift
        if byte < 128:
            return out & (1 << 64) - 1, at
        shift += 7
        if shift > 63:
            break
    raise Damaged("a message has a number that does not end")
