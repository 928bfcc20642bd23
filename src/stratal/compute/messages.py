"""What parent and worker say to each other over their socket. Payloads are opaque bytes, decoded where they are used.

Parent:  TASK header, then one message of bytes per `new` digest  |  BYE (empty message)
Worker:  BEGUN  |  DONE value  |  FAILED error text
"""

import msgspec

from stratal.core.records import Record

BYE = b""


class Piece(Record, frozen=True, kw_only=True):
    """A function or argument: its bytes, or the digest of bytes that the worker holds."""

    data: bytes = b""
    digest: str = ""


class Task(Record, frozen=True, kw_only=True):
    """`pieces[0]` is the function, then arguments, then keyword arguments named by `keywords`. `new` follow; `dropped` are forgotten."""

    pieces: tuple[Piece, ...]
    keywords: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    what: str


class Reply(Record, frozen=True, kw_only=True):
    """`kind` is begun, done or failed; `text` is the traceback of a failure."""

    kind: str
    data: bytes = b""
    text: str = ""


def encode(message: Task | Reply) -> bytes:
    return msgspec.msgpack.encode(message)


def decode_task(data: bytes) -> Task:
    return msgspec.msgpack.decode(data, type=Task)


def decode_reply(data: bytes) -> Reply:
    return msgspec.msgpack.decode(data, type=Reply)
