"""Named arrays as bytes, in the layout of safetensors files: 8 bytes of header length, a JSON header, raw little-endian values.

Written here because it is 30 lines; files can be read by the safetensors library, and nothing in them can run.
"""

import json
import math

import numpy as np

from stratal.core.errors import Damaged, Misuse

_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_NAMES = {code: name for name, code in _CODES.items()}


def encode_tensors(arrays: dict[str, np.ndarray]) -> bytes:
    """Encode by name; equal arrays give equal bytes. Raises Misuse for a dtype that the layout lacks."""
    header, body = {}, b""
    for name in sorted(arrays):
        array = arrays[name]
        if str(array.dtype) not in _CODES:
            raise Misuse(f"weights {name!r} are {array.dtype}, which is not kept", hint=f"convert them to one of: {', '.join(_CODES)}")
        values = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": _CODES[str(array.dtype)], "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(values)]}
        body += values
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the layout wants values aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + body


def decode_tensors(data: bytes) -> dict[str, np.ndarray]:
    """Undo `encode_tensors`. Raises Damaged for other bytes."""
    try:
        size = int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8 : 8 + size]), memoryview(data)[8 + size :]
        arrays = {}
        for name, about in header.items():
            if name == "__metadata__":
                continue
            dtype, shape, (start, end) = np.dtype(_NAMES[about["dtype"]]).newbyteorder("<"), about["shape"], about["data_offsets"]
            if not 0 <= start <= end <= len(body) or end - start != dtype.itemsize * math.prod(shape):
                raise ValueError(f"{name} lies outside of the file")
            arrays[name] = np.frombuffer(body[start:end], dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="))
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise Damaged(f"these bytes hold no tensors: {error}") from error
    return arrays
