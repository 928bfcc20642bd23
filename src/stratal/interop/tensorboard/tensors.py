"""Tensors in events: a type, a shape, and values in one of several fields."""

import math

import numpy as np
from numpy.typing import NDArray

from stratal.interop.protobuf import Fields, blob, blobs, fields, integer

# dtype number to NumPy's, and the field of its typed values: half, float, double, int32 and smaller, int64, bool.
_TYPES = {
    1: ("<f4", 5), 2: ("<f8", 6), 3: ("<i4", 7), 4: ("|u1", 7), 5: ("<i2", 7), 6: ("|i1", 7), 9: ("<i8", 10), 10: ("|b1", 11),
    17: ("<u2", 7), 19: ("<f2", 13), 22: ("<u4", 16), 23: ("<u8", 17),
}  # fmt: skip
_STRING, _MOST_VALUES = 7, 16 << 20


def shape_of(tensor: Fields) -> tuple[int, ...]:
    """Give the shape that a tensor says it has."""
    return tuple(integer(fields(dim), 1) for dim in blobs(fields(blob(tensor, 2)), 2))


def strings_of(tensor: Fields) -> list[bytes]:
    """Give the values of a tensor of byte strings."""
    return blobs(tensor, 8) if integer(tensor, 1) == _STRING else []


def numbers_of(tensor: Fields) -> NDArray[np.float64] | None:
    """Give the values of a tensor of numbers in one dimension; None for what is none. One value may stand for all."""
    known = _TYPES.get(integer(tensor, 1))
    if known is None:
        return None
    kind, field = np.dtype(known[0]), known[1]
    content = blob(tensor, 4)
    if content:
        values = np.frombuffer(content[: len(content) // kind.itemsize * kind.itemsize], kind)
    else:
        values = _typed(tensor, kind, field)
    count = math.prod(shape_of(tensor))
    if len(values) == 1 and 1 < count <= _MOST_VALUES:
        values = np.repeat(values, count)
    return values.astype(np.float64)


def _typed(tensor: Fields, kind: "np.dtype[np.generic]", field: int) -> "NDArray[np.generic]":
    if field in (5, 6):  # fixed width: packed, or one by one
        packed = b"".join(blobs(tensor, field))
        return np.frombuffer(packed[: len(packed) // kind.itemsize * kind.itemsize], kind)
    numbers: list[int] = []
    for value in tensor.get(field, []):
        numbers.extend([value] if isinstance(value, int) else _varints(value))
    words = np.array([number & (1 << 64) - 1 for number in numbers], np.uint64)
    return words.astype(np.uint16).view("<f2") if field == 13 else words.view(np.int64).astype(kind)


def _varints(packed: bytes) -> list[int]:
    out, value, shift = [], 0, 0
    for byte in packed:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            out.append(value)
            value = shift = 0
    return out
