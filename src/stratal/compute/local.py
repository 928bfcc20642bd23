"""Local workers: warm processes of this machine, started by exec, replaced when they die."""

import hashlib
import itertools
import logging
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, cast

from stratal.compute import messages
from stratal.compute.messages import Piece
from stratal.compute.port import WorkerDied
from stratal.compute.process import Process, WorkerGone
from stratal.compute.resources import machine_slots, share
from stratal.compute.travelling import pack, unpack, unpack_error
from stratal.core.clock import SystemClock
from stratal.core.errors import Misuse
from stratal.core.settings import find_store_folder, load_settings

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

# From this size on an argument is sent once per worker. Below it, hashing and bookkeeping cost more than the copy.
LARGE_BYTES = 64 * 1024
_STARTS = 3  # a task is offered to that many fresh workers before we say that they cannot start


@dataclass(kw_only=True, eq=False)
class _Work:
    pieces: tuple[Piece, ...]
    blobs: dict[str, bytes]
    keywords: tuple[str, ...]
    what: str
    future: Future[object]
    process: Process | None = None


class LocalWorkers:
    """Run functions in `count` processes of this machine; see `Workers` for the laws.

    count: None gives one per slot. slots: CPU slots shared by all of them, default STRATAL_SLOTS or what the machine grants;
    each worker's OMP, BLAS, polars and torch threads are its share, and it lends that share to workers of its own.
    store: URL that the workers' runs go to, default this process's. Processes start when work arrives; `warm()` starts them now.
    """

    def __init__(self, count: int | None = None, *, slots: int | None = None, store: str | None = None) -> None:
        settings = load_settings()
        total = slots or settings.slots or machine_slots()
        self.count = total if count is None else count
        if self.count < 1:
            raise Misuse(f"{count} workers cannot do any work", hint="ask for 1 or more")
        self.slots_each = share(total, self.count)
        self._environment = _worker_environment(self.slots_each, _absolute(store or settings.store))
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._processes: set[Process] = set()
        self._open: dict[Future[object], _Work] = {}
        self._closed = False
        self._clock = SystemClock()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have the function run by the next free worker. Raises Misuse if it or an argument cannot travel."""
        what = getattr(function, "__qualname__", None) or type(function).__qualname__
        pieces, blobs = _pieces(what, function, args, kwargs)
        work = _Work(pieces=pieces, blobs=blobs, keywords=tuple(kwargs), what=what, future=Future())
        with self._lock:
            if self._closed:
                raise Misuse("these workers are closed", hint="submit inside the `with` block")
            if len(self._threads) < min(self.count, len(self._open) + 1):
                self._start_thread()
            self._open[work.future] = work
        self._waiting.put(work)
        return cast("Future[T]", work.future)

    def warm(self) -> Self:
        """Start all processes now, so that the first tasks need not wait for them."""
        with self._lock:
            while len(self._threads) < self.count and not self._closed:
                self._start_thread()
        return self

    def interrupt(self, future: Future[T]) -> bool:
        """End the task: cancelled if it waits, WorkerDied if it runs. False if it is over."""
        if future.cancel():
            return True
        with self._lock:
            work = self._open.get(cast("Future[object]", future))
            if work is None or work.process is None:
                return False
            work.process.kill()
            return True

    def close(self, *, grace_s: float = 5.0) -> None:
        """Cancel what waits, give what runs `grace_s` seconds, then end the processes. Idempotent."""
        with self._lock:
            self._closed = True
            waiting = [work.future for work in self._open.values()]
            threads = list(self._threads)
        for future in waiting:
            future.cancel()
        for _ in threads:
            self._waiting.put(None)
        until_s = self._clock.monotonic_s() + grace_s
        for thread in threads:
            thread.join(max(0.0, until_s - self._clock.monotonic_s()))
        if any(thread.is_alive() for thread in threads):
            with self._lock:
                processes = list(self._processes)
            for process in processes:
                process.kill()
            for thread in threads:
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(grace_s=5.0 if error is None else 0.0)

    def _start_thread(self) -> None:
        process = self._start_process()
        name = f"stratal-worker-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, args=(process,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _start_process(self) -> Process:
        process = Process(self._environment)
        self._processes.add(process)
        return process

    def _serve(self, process: Process) -> None:
        try:
            while (work := self._waiting.get()) is not None:
                work.process = process
                if work.future.set_running_or_notify_cancel():
                    process = self._run(work, process)
                with self._lock:
                    self._open.pop(work.future, None)
        finally:
            process.end()
            self._processes.discard(process)

    def _run(self, work: _Work, process: Process) -> Process:
        """Run one task to its end; gives the process that serves from then on."""
        for attempt in itertools.count(1):
            try:
                reply = process.perform(work.pieces, work.blobs, work.keywords, work.what)
            except WorkerGone as gone:
                process = self._replace(work, process)
                if gone.has_begun or attempt == _STARTS or self._closed:
                    work.future.set_exception(_died(work.what, gone))
                    return process
            else:
                with self._lock:
                    work.process = None  # from here on `interrupt` finds nothing to end
                _settle(work.future, reply)
                return process
        raise AssertionError("unreachable")

    def _replace(self, work: _Work, process: Process) -> Process:
        with self._lock:
            process.end()
            try:
                replacement = self._start_process()
            except OSError as error:  # no memory, no process slots: the ended one says WorkerGone again, and we try again then
                log.warning("worker not replaced error=%s", error)
                return process
            self._processes.discard(process)
            work.process = replacement
            return replacement


def _settle(future: Future[object], reply: messages.Reply) -> None:
    if reply.kind == "failed":
        future.set_exception(unpack_error(reply.data, reply.text))
        return
    try:
        value = unpack(reply.data)
    except Exception as error:  # noqa: BLE001  # a class that exists in the worker only, a broken __setstate__
        future.set_exception(Misuse(f"the value that came back cannot be rebuilt here: {type(error).__name__}: {error}"))
        return
    future.set_result(value)


def _died(what: str, gone: WorkerGone) -> WorkerDied:
    if not gone.has_begun:
        return WorkerDied(f"workers end before they can begin {what}: {gone}", hint="their own message is on standard error above")
    return WorkerDied(
        f"the worker process that ran {what} ended in the middle of it: {gone}",
        hint="signal 9 is often the system short of memory: use fewer workers or less data; it may also work the next time",
    )


def _pieces(what: str, function: object, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[tuple[Piece, ...], dict[str, bytes]]:
    named = [(f"the function {what}", function)]
    named += [(f"argument {number} of {what}", value) for number, value in enumerate(args, 1)]
    named += [(f"argument {key!r} of {what}", value) for key, value in kwargs.items()]
    pieces, blobs = [], {}
    for name, value in named:
        data = pack(value, what=name)
        if len(data) < LARGE_BYTES:
            pieces.append(Piece(data=data))
            continue
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        pieces.append(Piece(digest=digest))
    return tuple(pieces), blobs


def _absolute(store: str | None) -> str:
    if store is None:
        return str(find_store_folder(Path.cwd()))
    return store if "://" in store else os.path.abspath(store)  # noqa: PTH100  # resolve() would follow links


def _worker_environment(slots: int, store: str) -> dict[str, str]:
    """What a worker's environment adds. torch has no variable of its own: it follows OMP_NUM_THREADS and MKL_NUM_THREADS."""
    threads = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "BLIS", "RAYON")
    names = [f"{name}_THREADS" if name == "VECLIB_MAXIMUM" else f"{name}_NUM_THREADS" for name in threads]
    return {name: str(slots) for name in (*names, "POLARS_MAX_THREADS", "STRATAL_SLOTS")} | {"STRATAL_STORE": store}
