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
from typing import NamedTuple

import msgspec

from stratal.core.records import to_json
from stratal.core.settings import working_folder
from stratal.store.store import Store
from stratal.tracking.active import OpenRun
from stratal.tracking.capture.capture import Capture, quick, thorough
from stratal.tracking.capture.seeds import Seeds, seeds_now
from stratal.tracking.facts import CAPTURE
from stratal.tracking.system import sampler

log = logging.getLogger(__name__)

# How long a reading serves, and how long a process that ends waits for one that is under way. Guesses.
FRESH_S, WAIT_S = 5.0, 10.0
# What the start of a run says already; the rest is the reading's.
_QUICK = frozenset(("entry", "argv", "python", "implementation", "system", "host", "pid", "user", "at_ns", "threads", "seeds"))


class Capturer:
    """The thread of one process, started by the first run that waits."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._waiting: list[tuple[OpenRun, Capture]] = []
        self._is_busy = False
        self._thread: threading.Thread | None = None
        self._last: _Reading | None = None

    def request(self, run: OpenRun, start: Capture) -> None:
        """Tell a run what it was, beside what its start said: at once if a reading serves, else in a moment."""
        if (last := self._last) is not None and self._serves(last, run.store.url):
            run.say(CAPTURE, {"thorough": {"digest": last.digest}})
            return
        with self._ready:
            self._waiting.append((run, start))
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="stratal-capture", daemon=True)
                self._thread.start()
            self._ready.notify()

    def wait(self, timeout_s: float = WAIT_S) -> bool:
        """Wait until every run was told; False if that took longer."""
        with self._ready:
            return self._ready.wait_for(lambda: not self._waiting and not self._is_busy, timeout_s)

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
            for run, start in waiting:
                try:
                    run.say(CAPTURE, self._reading(run.store, start))
                except Exception as error:  # noqa: BLE001  # the edge of this thread; the run goes on without: its start says the most
                    log.warning("capture lost run=%s error=%r", run.short, error)

    def _reading(self, store: Store, start: Capture) -> dict[str, object]:
        if self._last is not None and self._serves(self._last, store.url):
            return {"thorough": {"digest": self._last.digest}}
        modules = len(sys.modules)
        captured = thorough(start)
        held = [str(store.blobs.put(file.data)) for file in captured.files]
        body = {name: getattr(captured.capture, name) for name in captured.capture.__struct_fields__ if name not in _QUICK}
        digest = store.blobs.put(to_json(body).encode())
        self._last = _Reading(time.monotonic(), modules, store.url, digest)
        return {"thorough": {"digest": digest}, "holds": held}

    def _serves(self, reading: "_Reading", url: str) -> bool:
        is_fresh = reading.at_s + FRESH_S > time.monotonic() and reading.modules == len(sys.modules)
        return is_fresh and reading.url == url


class _Reading(NamedTuple):
    """A reading that was stored: when, at how many imported modules, in which store, under which digest."""

    at_s: float
    modules: int
    url: str
    digest: str


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


def wait_for_captures(timeout_s: float = WAIT_S) -> bool:
    """Wait until all runs of this process were told what they were; False if that took longer."""
    return _capturer.wait(timeout_s)


def _after_fork() -> None:
    global _capturer
    _capturer = Capturer()


atexit.register(wait_for_captures)
os.register_at_fork(after_in_child=_after_fork)
