"""Progress: what a coordinator tells while it runs, and the plain lines that a terminal gets."""

import sys
from typing import TextIO

from stratal.core.records import Record
from stratal.pipelines.states import FAILED, FINISHED, HIT, LOST, RUNNING, SKIPPED


class StepEvent(Record, frozen=True, kw_only=True):
    """Something happened to a step. `done` of `total` steps have their output now. retry_s: pause before the next attempt."""

    run: str
    pipeline: str
    path: str
    attempt: int
    state: str
    at_ns: int
    done: int
    total: int
    duration_s: float | None = None
    why: tuple[str, ...] = ()
    error: str = ""
    retry_s: float | None = None


_SIGNS = {RUNNING: ">", FINISHED: "+", HIT: "=", FAILED: "!", LOST: "!", SKIPPED: "-"}


def line_of(event: StepEvent) -> str:
    """Give one line of plain text."""
    attempt = f", attempt {event.attempt}" if event.attempt > 1 else ""
    text = f"{_SIGNS[event.state]} [{event.done}/{event.total}] {event.path} {_word(event)}{attempt}"
    if event.duration_s is not None and event.state != HIT:
        text += f" after {event.duration_s:.2f} s"
    if event.error:
        text += f": {event.error.splitlines()[0]}"
    if event.retry_s is not None:
        text += f"; again in {event.retry_s:g} s"
    if event.why and event.state in (RUNNING, SKIPPED):
        text += f" ({event.why[0]}{', ...' if len(event.why) > 1 else ''})"
    return text


class LinePrinter:
    """Writes one line per event; the default on a terminal."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr

    def __call__(self, event: StepEvent) -> None:
        self._out.write(line_of(event) + "\n")
        self._out.flush()


def _word(event: StepEvent) -> str:
    return {RUNNING: "runs", HIT: "is in the cache"}.get(event.state, event.state)
