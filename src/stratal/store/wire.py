"""The wire of operations: JSON for everybody, and msgpack between our own ends, which keeps NaN and bytes as they are."""

from typing import Any

import msgspec

PREFIX = "/api/v1"
BLOBS = f"{PREFIX}/blobs"
# Header: how the calling process signs leases.
HOLDER = "stratal-holder"
JSON, MSGPACK = "application/json", "application/msgpack"


def pack(value: object, kind: str = MSGPACK) -> tuple[bytes, str]:
    """Encode a value, and give the kind that it was encoded as: whole numbers above 64 bits travel in JSON only. Raises TypeError."""
    if kind == MSGPACK:
        try:
            return msgspec.msgpack.encode(value), MSGPACK
        except OverflowError:
            pass
    return msgspec.json.encode(value), JSON


def unpack(body: bytes, kind: str, type: Any) -> Any:
    """Decode a value. Raises msgspec.MsgspecError, UnicodeDecodeError, RecursionError."""
    return msgspec.msgpack.decode(body, type=type) if kind == MSGPACK else msgspec.json.decode(body, type=type)
