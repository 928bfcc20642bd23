"""Trials and study versions as values: what was tried, what came out, and what a study is."""

import hashlib
from collections.abc import Iterable
from typing import Literal

from stratal.core.records import Record, to_json
from stratal.tracking.values import Params
from stratal.tuning.samplers.port import Row, RowStatus

Ended = Literal["finished", "stopped", "failed"]

MOST_ATTEMPTS = 3  # workers that may die on one trial before it counts as failed
HOPELESS = 5  # first results that are all failures: the objective is broken, going on would only burn the budget


class Trial(Record, frozen=True, kw_only=True):
    """A trial. run: the id of its run. value: of the study's metric. step: of its last report. attempts: workers that began it.

    known: how many results its proposal knew; told: its own place in the sequence of results, None while it runs.
    """

    number: int
    run: str
    params: Params
    status: RowStatus
    value: float | None
    step: int | None
    attempts: int
    known: int
    told: int | None
    error: str
    asked_ns: int
    told_ns: int | None


class Assignment(Record, frozen=True, kw_only=True):
    """A trial to work on, and the token of its lease."""

    number: int
    run: str
    params: Params
    token: int
    attempt: int


class Result(Record, frozen=True, kw_only=True):
    """What came out of a trial. value: None if nothing did; never NaN. step: of the last report."""

    status: Ended
    value: float | None = None
    step: int | None = None
    error: str = ""


class StudyVersion(Record, frozen=True, kw_only=True):
    """A study of one space, objective and data. why: what opened it, in words."""

    name: str
    version: int
    run: str
    metric: str
    is_maximized: bool
    space: str
    objective: str
    data: str
    sampler: str
    seed: int
    budget: int
    asked: int
    told: int
    opened_ns: int
    why: str

    @property
    def ref(self) -> str:
        return f"study:{self.name}"

    @property
    def digest(self) -> str:
        """Digest of what makes this version another one than the rest."""
        parts = (self.metric, self.is_maximized, self.space, self.objective, self.data, self.sampler, self.seed)
        return hashlib.sha256(to_json(parts).encode()).hexdigest()

    def loss(self, value: float | None) -> float | None:
        """Turn a value of the metric into a loss, of which less is better."""
        return value if value is None or not self.is_maximized else -value


class Opened(Record, frozen=True, kw_only=True):
    """The version that a call goes on with. is_new: the call has opened it."""

    version: StudyVersion
    is_new: bool


class Snapshot(Record, frozen=True, kw_only=True):
    """The state of a study at one moment, from result number `since` on.

    ended: results since then. running: all trials that run now. free: numbers of those that nobody works on.
    """

    asked: int
    told: int
    ended: tuple[Trial, ...]
    running: tuple[Trial, ...]
    free: tuple[int, ...]
    is_hopeless: bool


class Standing(Record, frozen=True, kw_only=True):
    """Where a trial stands at a report: its own values so far by step, and those of finished trials at that step. None is NaN."""

    own: tuple[float | None, ...]
    peers: tuple[float | None, ...]


def to_rows(version: StudyVersion, trials: Iterable[Trial]) -> list[Row]:
    """Give trials as a sampler sees them."""
    return [Row(number=t.number, params=t.params, status=t.status, loss=version.loss(t.value), step=t.step) for t in trials]


def best_of(version: StudyVersion, trials: Iterable[Trial]) -> Trial | None:
    """Give the finished trial with the best value, of equals the first; None if none has finished."""
    finished = [t for t in trials if t.status == "finished" and t.value is not None]
    return min(finished, key=lambda t: (version.loss(t.value), t.number), default=None)
