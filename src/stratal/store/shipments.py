"""Shipments: what both ends of the ingest protocol agree on: paths, headers, bounds, answers. docs/protocol.md says it in words."""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from stratal.core.errors import Conflict, Forbidden, Misuse
from stratal.core.records import Record

PREFIX = "/ingest/v1"
VERSION = 1
# Headers. SIZE: bytes of a shipment before compression, or of a whole blob. OFFSET: where a body belongs, or how far the server is.
SIZE, DIGEST, DAMAGE, OFFSET, USER = "stratal-size", "stratal-digest", "stratal-damage", "stratal-offset", "stratal-user"
# Of a blob: the run that it is a file of, and that run's experiment, where the sender knows it; and why a server has no room for it.
RUN, EXPERIMENT, NO_ROOM = "stratal-run", "stratal-experiment", "stratal-no-room"
# What the body of a refusal would be, percent-encoded, of an answer that has none: to HEAD.
COMPLAINT = "stratal-complaint"
# What a shipment may hold before compression. A sender fills 4 MiB; one fact may be larger, and a frame is never cut.
MOST_SHIPMENT_BYTES = 64 << 20
# What a blob may hold. A bound against absurd claims; the disk is smaller.
MOST_BLOB_BYTES = 1 << 40
# How long a writer is taken for alive after its machine was heard of, and how often that speaks. Guesses: two beats may be lost.
ALIVE_S, BEAT_S = 60.0, 20.0
# Writers that one beat may name, and ranges of damage that one shipment may declare.
MOST_BEATS, MOST_DAMAGE = 10_000, 1000

_SEGMENT = re.compile(r"[0-9a-f]{16}-[0-9]{6,9}\.log")
_WRITER = re.compile(r"[0-9a-f]{16}")


class SegmentState(Record, frozen=True, kw_only=True):
    """How far the server is with a segment. state: live, or done: sealed, nothing comes any more."""

    name: str
    offset: int
    state: str


class WriterState(Record, frozen=True, kw_only=True):
    """What the server knows of a writer, oldest segment first; none if it never heard of it."""

    writer: str
    segments: list[SegmentState]


class Part(Record, frozen=True, kw_only=True):
    """Bytes `start` to `stop` of a segment, as they were accepted in one piece; `digest` is their sha256."""

    start: int
    stop: int
    digest: str


class SegmentParts(Record, frozen=True, kw_only=True):
    """A segment with the parts that it came in: a sender compares them with its file before it deletes that."""

    name: str
    offset: int
    state: str
    parts: list[Part]


class Accepted(Record, frozen=True, kw_only=True):
    """The acknowledgement: everything before `offset` is durable."""

    offset: int


class Seal(Record, frozen=True, kw_only=True):
    """What a sender says of a segment that has ended: its frames end at `offset`, `torn` bytes after that are no frame."""

    offset: int
    torn: int = 0


class Beat(Record, frozen=True, kw_only=True):
    """The writers of a machine whose processes are alive at this moment."""

    writers: list[str]


class Complaint(Record, frozen=True, kw_only=True):
    """The body of every answer that is no success. error: a word for programs; offset: how far the server is, where that helps."""

    error: str
    message: str
    hint: str = ""
    offset: int | None = None


class Home(NamedTuple):
    """Where a file belongs. run: whole id; experiment: '' if only the server can know it."""

    run: str
    experiment: str


class OtherOffset(Conflict):
    """The server is at `offset` of this segment or blob: go on from there."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message, hint="go on from the offset that the server has")
        self.offset = offset


class OtherBytes(Conflict):
    """The server holds other bytes under this name. Sending again cannot help."""

    retryable = False


class OtherOwner(Forbidden):
    """A writer belongs to somebody else. What of it is there nobody else is told, so nobody else can go on with it."""


def check_segment(name: str) -> str:
    """Give a segment's name if it is one. Raises Misuse before any path or row is made of it."""
    if not _SEGMENT.fullmatch(name):
        raise Misuse(f"{name[:60]!r} is not a segment", hint="a segment is called <16 hex digits>-<6 digits>.log")
    return name


def check_writer(writer: str) -> str:
    """Give a writer's id if it is one. Raises Misuse."""
    if not _WRITER.fullmatch(writer):
        raise Misuse(f"{writer[:60]!r} is not a writer", hint="a writer has 16 hex digits")
    return writer


def digest_of_shipment(name: str, offset: int, damage: str, user: str, data: bytes) -> str:
    """Give what vouches for a shipment: its bytes, and all that its head says of them. damage, user: as their headers hold them."""
    return sha256("\n".join((name, str(offset), damage, user, sha256(data).hexdigest())).encode()).hexdigest()


def write_ranges(ranges: Sequence[tuple[int, int]]) -> str:
    """Write ranges as the header holds them: 10-20,30-45."""
    return ",".join(f"{start}-{stop}" for start, stop in ranges)


def read_ranges(text: str) -> list[tuple[int, int]]:
    """Undo `write_ranges`. Raises Misuse for what is none, or too many."""
    parts = text.split(",") if text else []
    if len(parts) > MOST_DAMAGE or not all(re.fullmatch(r"[0-9]{1,10}-[0-9]{1,10}", part) for part in parts):
        raise Misuse(f"{text[:60]!r} are no ranges of damage", hint=f"write at most {MOST_DAMAGE} as 10-20,30-45")
    return [(int(start), int(stop)) for start, _, stop in (part.partition("-") for part in parts)]
