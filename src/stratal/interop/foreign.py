"""What can be said of a foreign run: the vocabulary between readers of formats and the frame that applies what they read.

A reader says things in the order of its source; each has the time that the source gives it. Times are ns since 1970, UTC.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from stratal.core.ids import RunId
from stratal.core.records import Record
from stratal.tracking.former_ids import ending_of

# Times outside of this are no times: 1970 to the end of what 64 bits of nanoseconds hold.
LAST_NS = 2**63 - 1


class ForeignId(Record, frozen=True, kw_only=True):
    """Which run of which tool. tool: wandb; store: what its ids are unique in; run: its id there; started_ns: for order only.

    The same run has the same digest however often it is read; the first import's start time leads its id.
    """

    tool: str
    store: str
    run: str
    started_ns: int

    @property
    def digest(self) -> str:
        """The last 20 hex digits of our id."""
        return ending_of(self.tool, self.store, self.run)

    def new_id(self) -> RunId:
        """Give the id of a run that this store has not seen yet."""
        return RunId(f"{min(max(self.started_ns, 0), LAST_NS) // 1_000_000:012x}{self.digest}")


class Began(Record, frozen=True, kw_only=True):
    """The run began. What another source of the same run said first stands. kind: one of tracking.facts.KINDS.

    parent: the run that it is part of, here already or not. forked_from: the one that it went on from; left out if it is not here."""

    experiment: str
    name: str = ""
    kind: str = "train"
    group: str = ""
    job_type: str = ""
    parent: ForeignId | None = None
    forked_from: ForeignId | None = None
    user: str = ""
    capture: dict[str, object] = {}
    at_ns: int


class Params(Record, frozen=True, kw_only=True):
    """Params were set; nested mappings and lists as users write them."""

    values: Mapping[str, object]
    at_ns: int


class Tags(Record, frozen=True, kw_only=True):
    """Tags were set; None takes one away."""

    values: Mapping[str, str | None]
    at_ns: int


class Remarked(Record, frozen=True, kw_only=True):
    """Somebody left a note."""

    text: str
    author: str
    at_ns: int


class Logged(Record, frozen=True, kw_only=True):
    """Numbers were logged together. step: None for the next one of each series."""

    metrics: Mapping[str, float]
    step: int | None
    at_ns: int


class Saved(Record, frozen=True, kw_only=True):
    """A file was saved: its bytes, or where they lie (checked by `bounds.safe_file`)."""

    path: str
    data: bytes | Path
    at_ns: int


class Shown(Record, frozen=True, kw_only=True):
    """Something beside numbers was logged: a value as `run.log` takes it, such as st.image(bytes), or a list of them.

    otherwise: what is said instead if it cannot be kept as that. step: None for the next one of the name."""

    name: str
    value: object
    step: int | None
    at_ns: int
    otherwise: "list[Statement]" = []


class Linked(Record, frozen=True, kw_only=True):
    """The run used or produced something."""

    verb: str
    target: str
    role: str
    at_ns: int


class Stated(Record, frozen=True, kw_only=True):
    """The source states what has no place of its own with us: the manifest of an artifact."""

    kind: str
    subject: str
    body: dict[str, object]
    author: str = ""
    at_ns: int


class Defined(Record, frozen=True, kw_only=True):
    """A metric, or all that match a pattern, was defined, in the words of tracking.facts.MetricDefinition."""

    name: str
    x: str | None
    summary: str
    goal: str | None
    at_ns: int


class Alerted(Record, frozen=True, kw_only=True):
    """People were told to look. level: info, warning or error."""

    title: str
    text: str
    level: str
    author: str
    at_ns: int


class Ended(Record, frozen=True, kw_only=True):
    """The run ended. What is said with the latest time stands. status: one of tracking.facts.STATUSES."""

    status: str
    error: str = ""
    at_ns: int


class Deleted(Record, frozen=True, kw_only=True):
    """The run lies in the tool's bin, and will lie in ours. with_experiment: it went there with its experiment, and comes back with it."""

    with_experiment: bool = False


class Held(Record, frozen=True, kw_only=True):
    """Something went into a file that the source saves at its end; it is only counted here."""

    what: str


class Skipped(Record, frozen=True, kw_only=True):
    """Something was read and has no place here. by_rule: docs/importing.md says that it is left out; else it counts as lost."""

    what: str
    reason: str
    by_rule: bool
    count: int = 1


Statement = (
    Began | Params | Tags | Remarked | Logged | Saved | Shown | Linked | Stated | Defined | Alerted | Ended | Deleted | Held | Skipped
)


class Said(NamedTuple):
    """What a source says between the place before and `place`: a number that grows along the source, such as a byte offset."""

    place: int
    statements: list[Statement]


class Remark(NamedTuple):
    """What a person should know of a source, such as a torn tail. is_loss: something of it cannot be read."""

    text: str
    is_loss: bool = False
