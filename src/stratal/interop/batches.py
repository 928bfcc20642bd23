"""Batches: what one transaction of an import brings, and what is asked of a store before; the same here and at a server."""

from typing import Annotated, NamedTuple

from msgspec import Meta

from stratal.core.errors import Misuse
from stratal.core.ids import RunId
from stratal.core.records import Record
from stratal.interop.bounds import is_storable
from stratal.interop.foreign import Began, Deleted, ForeignId
from stratal.interop.report import Counts

# What a server takes of one batch; its calls hold at most 32 MiB, names and counts beside it.
MOST_BATCH_BYTES = 24 << 20
# Sources that are looked for at once.
MOST_SOURCES = 500

# Characters of what a source is called, which is for people only.
MOST_NAME = 10_000

Place = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Label = Annotated[str, Meta(max_length=MOST_NAME)]


class Body(NamedTuple):
    """A frame without its header."""

    kind: int
    data: bytes


class Mark(Record, frozen=True, kw_only=True):
    """How far a source has been imported: everything up to `place`, in so many frames; counts is JSON. run: '' before the first."""

    place: int = 0
    digest: str = ""
    frames: int = 0
    counts: str = "{}"
    run: str = ""


class SourceId(Record, frozen=True, kw_only=True):
    """Which source: a part of a foreign run. part: in UTF-8, but for names of files that are none."""

    foreign: ForeignId
    part: bytes


class Standing(Record, frozen=True, kw_only=True):
    """What a store has of a source. run: ours, or the id that it will have; is_purged: it was here, and is not imported again."""

    mark: Mark
    run: RunId
    has_begun: bool
    is_purged: bool


class Batch(Record, frozen=True, kw_only=True):
    """What a source says after one place, up to another. name: for people; digest: of the source up to there; counts: of all of it.

    began: how its run began, None where this does not say so, or the run has begun. deleted: how its run came into the bin, if it did."""

    source: SourceId
    name: Label
    after: Place
    place: Place
    digest: Label
    counts: dict[str, Counts]
    began: Began | None
    bodies: list[Body]
    deleted: Deleted | None = None

    def check(self) -> None:
        """Raise Misuse for what no reader of ours makes."""
        if not self.after < self.place or not all(map(is_storable, (self.name, self.digest, self.source.foreign.tool))):
            raise Misuse("a batch leads from one place of a source to a later one, and its names are plain texts")
