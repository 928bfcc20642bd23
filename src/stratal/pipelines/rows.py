"""Records of the room's rows: what a run of a pipeline leaves in the store, as it is read and shown."""

from stratal.core.records import Record
from stratal.pipelines.cache import KeyPart
from stratal.pipelines.payloads import Payload
from stratal.tracking.values import Scalar


class Entry(Record, frozen=True, kw_only=True):
    """Where a pipeline's function is found again: a module's name, or a script's file."""

    module: str
    qualname: str
    file: str = ""


class NodeRow(Record, frozen=True, kw_only=True):
    """A node of the graph, for people: what it waits for."""

    path: str
    depends_on: tuple[str, ...]
    is_cached: bool


class PipelineRow(Record, frozen=True, kw_only=True):
    """A run of a pipeline: the graph and the parameters that it was started with."""

    run: str
    pipeline: str
    entry: Entry
    params: dict[str, Payload]
    nodes: tuple[NodeRow, ...]


class StepError(Record, frozen=True, kw_only=True):
    """What an attempt ended with. trace: the last lines of the step's own traceback."""

    kind: str
    type: str
    message: str
    trace: str = ""
    is_permanent: bool = False
    is_temporary: bool = False
    delay_s: float | None = None


class StepRow(Record, frozen=True, kw_only=True):
    """An attempt at a step. why: what was different from the last time, or why the cache was not asked."""

    run: str
    path: str
    attempt: int
    pipeline: str
    state: str
    step_run: str
    key: str
    started_ns: int
    step_epoch: int = 0
    why: tuple[str, ...] = ()
    output: Payload | None = None
    refs: tuple[tuple[str, str], ...] = ()
    error: StepError | None = None
    ended_ns: int | None = None

    @property
    def duration_s(self) -> float | None:
        return None if self.ended_ns is None else (self.ended_ns - self.started_ns) / 1e9


class Beginning(Record, frozen=True, kw_only=True):
    """A new attempt. One that runs begins a run of its own, in `experiment` with `params`; hits and skipped steps have none."""

    row: StepRow
    experiment: str = ""
    params: dict[str, Scalar] = {}


class Ending(Record, frozen=True, kw_only=True):
    """The end of an attempt, and of its own run. writer: the worker's journal, "" if the worker is dead."""

    row: StepRow
    run_status: str
    writer: str = ""


class Result(Record, frozen=True, kw_only=True):
    """A finished result that may serve later runs, as long as its refs resolve to the same digests and its blobs are there."""

    key: str
    refs: tuple[tuple[str, str], ...]
    output: Payload
    step_run: str
    at_ns: int


class Found(Record, frozen=True, kw_only=True):
    """What is known of a key: results, newest first; if there are none, the last attempt at the step in another run, and its key."""

    results: tuple[Result, ...] = ()
    before: StepRow | None = None
    parts: tuple[KeyPart, ...] = ()


class Explanation(Record, frozen=True, kw_only=True):
    """Why a step ran or did not: its attempts in a run, the parts of its key, and those of the run before that it is compared with."""

    path: str
    state: str
    why: tuple[str, ...]
    attempts: tuple[StepRow, ...]
    parts: tuple[KeyPart, ...]
