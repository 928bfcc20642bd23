"""What a worker process does with one attempt at a step: decode, call, encode, report. It writes telemetry, and no row."""

import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import cast

import msgspec

from stratal.compute.travelling import unpack
from stratal.core.ids import RunId
from stratal.core.records import Record
from stratal.pipelines import graph
from stratal.pipelines.payloads import Payload, decode, encode, targets_in
from stratal.pipelines.policy import failure_of
from stratal.pipelines.rows import StepError
from stratal.store.patience import patient
from stratal.store.store import Store
from stratal.tracking import active
from stratal.tracking.opening import open_store, use_store
from stratal.tracking.refs import watching_resolutions
from stratal.tracking.runs import Run
from stratal.tracking.system.sampler import watch

# Lines of a step's own traceback that are shown; the innermost ones tell most.
TRACE_FRAMES = 6
_OURS = str(Path(__file__).parent)


class Attempt(Record, frozen=True, kw_only=True):
    """One attempt, as it travels to a worker."""

    store: str
    run: str
    experiment: str
    path: str
    step_run: str
    step_epoch: int
    inputs: dict[str, Payload]
    timeout_s: float | None


class Report(Record, frozen=True, kw_only=True):
    """How an attempt ended, in the worker's own words: an output or an error."""

    started_ns: int
    ended_ns: int
    writer: str
    refs: tuple[tuple[str, str], ...] = ()
    output: Payload | None = None
    error: StepError | None = None


def perform(attempt: bytes, function: bytes) -> bytes:
    """Run an attempt (an Attempt, and its function as packed) inside its own run; gives a Report.

    Whatever the step logs, uses or starts belongs to that run. Bytes in and out: pickling records costs more."""
    return msgspec.msgpack.encode(_perform(msgspec.msgpack.decode(attempt, type=Attempt), function))


def _perform(attempt: Attempt, function: bytes) -> Report:
    store = use_store(_opened(attempt.store))
    run = Run(store, RunId(attempt.step_run), attempt.experiment, epoch=attempt.step_epoch, kind="step")
    started_ns = store.clock.now_ns()
    output, error = None, None
    with _active(run), _deadline(attempt.timeout_s), patient(store.settings.patience_s), watching_resolutions() as refs:
        try:
            output = _call(attempt, _function(function), run)
        except BaseException as raised:  # noqa: BLE001  the edge of a process: whatever a step raises is its result, SystemExit too
            error = error_of(raised)
    seen = tuple(dict.fromkeys((ref, digest) for ref, digest in refs))
    return Report(started_ns=started_ns, ended_ns=store.clock.now_ns(), writer=store.writer.id, refs=seen, output=output, error=error)


def error_of(raised: BaseException) -> StepError:
    """Write down an exception: its message, and the innermost frames of its traceback that are not ours."""
    failure = failure_of(raised)
    frames = [one for one in traceback.extract_tb(raised.__traceback__) if not one.filename.startswith(_OURS)]
    message = _message(raised)
    return StepError(
        kind=failure.kind,
        type=type(raised).__qualname__,
        message=message,
        trace="".join(traceback.format_list(frames[-TRACE_FRAMES:])).rstrip(),
        is_permanent=failure.is_permanent,
        is_temporary=failure.is_temporary,
        delay_s=failure.delay_s,
    )


def _call(attempt: Attempt, function: Callable[..., object], run: Run) -> Payload:
    for name, payload in attempt.inputs.items():
        for place, target, is_file in targets_in(payload):
            run.edge("used", target, role=f"{name}{place}", is_file=is_file)
    values = {name: decode(payload, run.store.blobs) for name, payload in attempt.inputs.items()}
    args, kwargs = graph.call_arguments(function, values)
    value = function(*args, **kwargs)
    output = encode(value, run.store.blobs, what=f"the output of step {attempt.path!r}")
    for place, target, is_file in targets_in(output):
        run.edge("produced", target, role=f"output{place}", is_file=is_file)
    return output


@lru_cache(maxsize=64)
def _function(packed: bytes) -> Callable[..., object]:
    return cast("Callable[..., object]", unpack(packed))


@lru_cache(maxsize=1)
def _opened(url: str) -> Store:
    return open_store(url)


@contextmanager
def _active(run: Run) -> Iterator[None]:
    """Make the step's run the active one. It is not ended here: that is the coordinator's command."""
    active.push(run)
    watch(run)
    try:
        yield
    finally:
        run.leave()


@contextmanager
def _deadline(timeout_s: float | None) -> Iterator[None]:
    """End this process when the time is over. It is the only way to end code that does not want to; a fresh worker follows."""
    if timeout_s is None:
        yield
        return
    timer = threading.Timer(timeout_s, os._exit, args=(124,))  # 124: as `timeout` does
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _message(raised: BaseException) -> str:
    try:
        return str(raised)
    except Exception:  # noqa: BLE001  a broken __str__ must not hide that the step failed
        return "(its text cannot be made)"
