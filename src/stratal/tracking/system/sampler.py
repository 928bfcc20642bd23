"""The sampler: one thread per process, for all its open runs. It starts late, and is never in a run's way."""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Protocol

from stratal.core.errors import StratalError
from stratal.core.threads import start_aside
from stratal.store.store import Store
from stratal.tracking.system.reading import Machine, Reading, metrics_between

log = logging.getLogger(__name__)

# A process that is over sooner gets no thread, and a run that is over sooner gets no sample. The first sample comes as much later
# again: long enough for a rate, soon enough for a run of seconds.
PATIENCE_S = 2.0


class Sampled(Protocol):
    """A run, as far as sampling needs it."""

    store: Store
    is_open: bool

    @property
    def short(self) -> str: ...

    def log(self, metrics: Mapping[str, float]) -> None: ...


class Sampler:
    """Reads the machine again and again, and tells the runs that are open. Holds no run: one that nobody else holds is forgotten."""

    def __init__(self, machine: Callable[[Store], Machine], clock_s: Callable[[], float] = time.monotonic) -> None:
        """machine: makes what is read; called in the sampling thread, because what it imports takes long."""
        self._machine = machine
        self._clock_s = clock_s
        self._change = threading.Condition()
        self._runs: dict[int, tuple[weakref.ref[Sampled], float]] = {}
        self._every_s, self._pause_s = 0.0, PATIENCE_S
        self._thread: threading.Thread | None = None
        self._last: Reading | None = None
        self._reads: Machine | None = None

    def watch(self, run: Sampled) -> None:
        """Sample a run from now on, if its store's settings say so. Starts no thread."""
        every_s = run.store.settings.sampling_s
        if every_s > 0:
            with self._change:
                self._runs[id(run)] = (weakref.ref(run), self._clock_s())
                self._every_s = min(self._every_s or every_s, every_s)
                self._change.notify()

    def begin(self) -> None:
        """Start the thread, if there is something to sample."""
        with self._change:
            if self._thread is None and self._runs:
                self._thread = start_aside(self._serve, "stratal-system")

    def sample(self) -> None:
        """Read once, and tell what happened since the reading before."""
        runs = self._open_runs()
        if not runs:
            self._last = None  # the next reading would span a time in which nobody was there
            return
        if self._reads is None:
            self._reads = self._machine(runs[0][0].store)
        now, before = self._reads.read(), self._last
        self._last = now
        found = metrics_between(before, now) if before is not None else {}
        for run, since_s in runs:
            if found and self._clock_s() - since_s >= PATIENCE_S:
                _tell(run, found)

    def _serve(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: bool(self._runs))
            # A first reading, or one after nobody was there, tells nothing yet: a sample soon, then at leisure.
            is_first = self._last is None
            time.sleep(PATIENCE_S if is_first else self._pause_s)
            self._pause_s = min(PATIENCE_S, self._every_s) if is_first else self._every_s
            try:
                self.sample()
            except Exception as error:  # noqa: BLE001  # the edge of this thread: a run goes on without samples
                log.info("not sampled error=%r", error)

    def _open_runs(self) -> list[tuple[Sampled, float]]:
        with self._change:
            found = {key: (reference(), since_s) for key, (reference, since_s) in self._runs.items()}
            is_open = {key: (run, since_s) for key, (run, since_s) in found.items() if run is not None and run.is_open}
            self._runs = {key: self._runs[key] for key in is_open}
            return list(is_open.values())


def _tell(run: Sampled, metrics: Mapping[str, float]) -> None:
    try:
        if run.is_open:
            run.log(metrics)
    except StratalError as error:
        log.info("sample lost run=%s error=%s", run.short, error.message)


def _this_machine(store: Store) -> Machine:
    from stratal.tracking.system.machine import LocalMachine  # psutil takes 80 ms to import; here it is the thread's time

    return LocalMachine(store.folder)


_sampler = Sampler(_this_machine)


def watch(run: Sampled, *, begin: bool = True) -> None:
    """Sample a run as long as it is open. begin=False: a thread that is there anyway will call `begin` in a moment."""
    _sampler.watch(run)
    if begin:
        _sampler.begin()


def begin() -> None:
    """Start sampling what is watched."""
    _sampler.begin()


def _after_fork() -> None:
    global _sampler
    _sampler = Sampler(_this_machine)  # a child does not own its parent's runs


os.register_at_fork(after_in_child=_after_fork)
