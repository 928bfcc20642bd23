"""Capturing beside the run: one background thread per process reads what takes long, and tells every run that waits.

Runs that start together share one reading, and a loop of short runs does not read again and again: a reading serves for
a few seconds, as long as no module was imported since. What was read is one blob, however many runs name it.
"""

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from stratal.core.errors import StoreDown
from stratal.core.origin import ipython_shell
from stratal.core.records import to_json
from stratal.core.settings import working_folder
from stratal.core.threads import start_aside
from stratal.store.store import Store
from stratal.tracking.active import OpenRun
from stratal.tracking.capture.capture import Capture, Captured, completed, quick, thorough
from stratal.tracking.capture.generators import generator_states
from stratal.tracking.capture.inputs import count_inputs
from stratal.tracking.capture.seeds import Seeds, seeds_now
from stratal.tracking.facts import CAPTURE
from stratal.tracking.system import sampler

log = logging.getLogger(__name__)

# How long a reading serves, and how long a process that ends waits for one that is under way. Guesses.
FRESH_S, WAIT_S = 5.0, 10.0
# What the start of a run says already; the rest is the reading's.
_QUICK = frozenset(
    (
        "entry", "argv", "python", "implementation", "system", "host", "pid", "user", "at_ns", "threads", "seeds", "program", "project",
        "is_worker",
    )
)  # fmt: skip


class Capturer:
    """The thread of one process, started by the first run that waits."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._waiting: list[_Request] = []
        self._is_busy = False
        self._thread: threading.Thread | None = None
        self._last: _Reading | None = None

    def request(self, run: OpenRun, start: Capture, *, has_start: bool = True) -> None:
        """Tell a run what it was, beside what its start said: at once if a reading serves, else in a moment.

        has_start: whether the run's start holds the quick part; if not, all of it is told."""
        if has_start and (last := self._last) is not None and self._serves(last, run.store.url):
            run.say(CAPTURE, {"thorough": {"digest": last.digest}})
            return
        self._ask(_Request(run, start, has_start=has_start))

    def request_part(self, run: OpenRun, start: Capture) -> None:
        """Tell a run that is part of what this process does all that it was. Any reading serves that has seen all modules."""
        self._ask(_Request(run, start, has_start=False, is_part=True))

    def complete(self, run: OpenRun, start: Capture) -> None:
        """Tell a run that ends what came since it began; does nothing if nothing did."""
        last = self._last
        if self._is_busy or self._waiting or last is None or last.url != run.store.url or not last.is_complete():
            self._ask(_Request(run, start, is_end=True))

    def complete_part(self, run: OpenRun, start: Capture) -> None:
        """As `complete`, for a run that `request_part` was called for."""
        last = self._last
        if self._is_busy or self._waiting or last is None or last.url != run.store.url or not last.has_seen_all():
            self._ask(_Request(run, start, has_start=False, is_end=True, is_part=True))

    def wait(self, timeout_s: float = WAIT_S) -> bool:
        """Wait until every run was told; False if that took longer."""
        with self._ready:
            return self._ready.wait_for(lambda: not self._waiting and not self._is_busy, timeout_s)

    def _ask(self, request: "_Request") -> None:
        with self._ready:
            self._thread = self._thread or start_aside(self._serve, "stratal-capture")
            if self._thread is not None:
                self._waiting.append(request)
                self._ready.notify_all()

    def _serve(self) -> None:
        while True:
            with self._ready:
                self._is_busy = False
                self._ready.notify_all()
                if not self._ready.wait_for(lambda: bool(self._waiting), sampler.PATIENCE_S):
                    sampler.begin()  # the process lives long enough: no thread before
                    self._ready.wait_for(lambda: bool(self._waiting))
                waiting, self._waiting = self._waiting, []
                self._is_busy = True
            for request in waiting:
                try:
                    request.run.say(CAPTURE, self._answer(request))
                except Exception as error:  # noqa: BLE001  # the edge of this thread; the run goes on without: its start says the most
                    log.warning("capture lost run=%s error=%r", request.run.short, error)

    def _answer(self, request: "_Request") -> dict[str, object]:
        store, last = request.run.store, self._last
        if request.is_end and last is not None and last.url == store.url:
            is_whole = last.has_seen_all() if request.is_part else last.is_complete()
            reading = last if is_whole else _read(lambda: completed(last.captured), store, at_s=last.at_s)
        elif last is not None and (self._serves(last, store.url) or (request.is_part and last.url == store.url and last.has_seen_all())):
            reading = last
        else:
            reading = _read(lambda: thorough(request.start), store, at_s=time.monotonic())
        self._last = reading
        digest = reading.digest if request.has_start else store.blobs.put(_document(reading.captured, request.start))
        return {"thorough": {"digest": digest}, "holds": reading.holds}

    def _serves(self, reading: "_Reading", url: str) -> bool:
        return reading.at_s + FRESH_S > time.monotonic() and reading.is_complete() and reading.url == url


class _Request(NamedTuple):
    """A run that waits. is_end: for what came since it began. is_part: of what this process was captured for before."""

    run: OpenRun
    start: Capture
    has_start: bool = True
    is_end: bool = False
    is_part: bool = False


class _Reading(NamedTuple):
    """A reading that was stored: when, at how many imported modules and inputs, in which store, under which digest."""

    captured: Captured
    at_s: float
    modules: int
    inputs: int
    url: str
    digest: str
    holds: list[str]

    def is_complete(self) -> bool:
        """Tell whether nothing has come since that a reading would find. Cells of a notebook come unseen."""
        return self.has_seen_all() and ipython_shell() is None

    def has_seen_all(self) -> bool:
        """Tell whether no module and no input has come since."""
        return self.modules == len(sys.modules) and self.inputs == count_inputs()


def _read(read: Callable[[], Captured], store: Store, *, at_s: float) -> _Reading:
    """Read and store. What is counted is counted first: an import in the middle of it makes the reading incomplete."""
    modules, inputs = len(sys.modules), count_inputs()
    captured = read()
    held: list[str] = [store.blobs.put(file.data) for file in captured.files]
    digest = store.blobs.put(_document(captured, None))
    return _Reading(captured, at_s, modules, inputs, store.url, digest, held)


def _document(captured: Captured, start: Capture | None) -> bytes:
    """Give what was read as JSON, with the quick part of `start` if there is one."""
    body = {name: getattr(captured.capture, name) for name in captured.capture.__struct_fields__ if name not in _QUICK}
    quick_part = {} if start is None else {name: getattr(start, name) for name in _QUICK}
    return to_json({**quick_part, **body}).encode()


_capturer = Capturer()


_quick: list[tuple[tuple[str, str, int, Seeds], Capture, dict[str, object]]] = []


def quick_capture(store: Store) -> tuple[Capture, dict[str, object]]:
    """Say who started what, where, also as the document that a run's start holds.

    Once per process, working folder and seed: a loop of runs has one answer to it."""
    place = (store.settings.user, working_folder(), os.getpid(), seeds_now())
    if not _quick or _quick[0][0] != place:
        made = quick(user=store.settings.user, now_ns=store.clock.now_ns())
        _quick[:] = [(place, made, msgspec.to_builtins({name: getattr(made, name) for name in _QUICK}))]
    return _quick[0][1:]


def request_capture(run: OpenRun, start: Capture) -> None:
    """Let the background thread capture what takes long about a run."""
    _capturer.request(run, start)


def capture_leased(run: OpenRun) -> None:
    """Let the background thread capture all about a run that a command has started, and whose start says nothing of it."""
    if run.store.settings.capture:
        _capturer.request(run, quick_capture(run.store)[0], has_start=False)


def capture_part(run: OpenRun, *, begun_by: str | None = None) -> None:
    """Say with which random numbers a leased run begins that is part of what this process does, and capture all about it beside.

    begun_by: digest of what was captured of the process that handed it out, if that is another one."""
    store = run.store
    if not store.settings.capture:
        return
    try:
        states = store.blobs.put(generator_states())
    except StoreDown as error:
        run.lose("capture", error)
        return
    run.say(CAPTURE, {"generators": {"digest": states}} | ({"begun_by": {"digest": begun_by}} if begun_by is not None else {}))
    _capturer.request_part(run, quick_capture(store)[0])


def complete_part(run: OpenRun) -> None:
    """Let the background thread add what came since `capture_part`: what an objective imports when it is called."""
    if run.store.settings.capture:
        _capturer.complete_part(run, quick_capture(run.store)[0])


def complete_capture(run: OpenRun, start: Capture) -> None:
    """Let the background thread add what came since a run began: modules, inputs, cells."""
    _capturer.complete(run, start)


def wait_for_captures(timeout_s: float = WAIT_S) -> bool:
    """Wait until all runs of this process were told what they were; False if that took longer."""
    return _capturer.wait(timeout_s)


def _after_fork() -> None:
    global _capturer
    _capturer = Capturer()


atexit.register(wait_for_captures)
os.register_at_fork(after_in_child=_after_fork)
