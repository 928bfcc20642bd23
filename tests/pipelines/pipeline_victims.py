"""Pipelines for processes that are killed, and workers that are threads: they die with their coordinator and start at once."""

import os
import queue
import random
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path

from stratal.pipelines import pipeline, step
from stratal.tracking.opening import use_store


class ThreadWorkers:
    """The port of workers with threads. Tasks are not copied, and cannot be ended from outside."""

    def __init__(self, count, store):
        self._waiting = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        self._waiting.put((future, function, args, kwargs))
        return future

    def interrupt(self, future):
        return future.cancel()

    def close(self, *, grace_s=5.0):
        for _ in self._threads:
            self._waiting.put(None)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    def _serve(self):
        while (work := self._waiting.get()) is not None:
            future, function, args, kwargs = work
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  the edge of a thread
                future.set_exception(error)


def leave(trace, name):
    """Append a line to a file, whole or not at all."""
    file = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{name}\n".encode())
    os.close(file)


def left(trace):
    """Give the lines that were left."""
    return Path(trace).read_text().split() if Path(trace).exists() else []


@step
def link(trace: str, number: int, seconds: float) -> int:
    """One link of a chain; its trace is written when its work is done."""
    time.sleep(seconds)
    leave(trace, number)
    return number + 1


@step
def joined(trace: str, one: int, other: int) -> tuple[int, int]:
    leave(trace, f"joined-{one}-{other}")
    return one, other


@pipeline
def chains(trace: str, length: int, seconds: float) -> tuple[int, int]:
    """Two chains side by side, joined at their ends: numbers from 0 and from 1000."""
    one, other = 0, 1000
    for _ in range(length):
        one = link(trace, one, seconds)
        other = link(trace, other, seconds)
    return joined(trace, one, other)


@step(backoff_s=0.0)
def dies_once(trace: str, times: int) -> int:
    """Be killed, as by a system short of memory, some times."""
    leave(trace, "dies")
    tries = len(left(trace))
    if tries <= times:
        os.kill(os.getpid(), 9)
    return tries


@step
def waits(folder: str, name: str) -> str:
    """Say that it runs, and wait to be let go."""
    (Path(folder) / f"{name}.runs").touch()
    ends_s = time.monotonic() + 60
    while not (Path(folder) / f"{name}.go").exists():
        assert time.monotonic() < ends_s, "nobody lets it go"
        time.sleep(0.002)
    leave(str(Path(folder) / "trace"), name)
    return name


@pipeline
def waiting(folder: str) -> tuple[str, str]:
    first = waits(folder, "first")
    return first, waits.after(first)(folder, "second")


def at_home(state_home, name, *arguments):
    """What a victim does: one of the functions below, with its journals in a folder of the test's."""
    os.environ["XDG_STATE_HOME"] = state_home
    globals()[name](*arguments)


def run_chains(store, trace, length, seconds, run, processes):
    """What a victim does: run, or resume `run`, with threads or processes as workers."""
    whole = chains.with_options(store=store, workers=2, compute=None if processes else ThreadWorkers)
    if run:
        whole.resume(run)
    else:
        whole.run(trace, length, seconds)


def run_until_a_commit_kills(store, trace, length, run, seed, rate):
    """What a victim does: run, or resume, and die with probability `rate` at points of the write protocol, or around calls of a server."""
    opened = use_store(store)
    dice = random.Random(seed)

    def perhaps_die(_point):
        if dice.random() < rate:
            os.kill(os.getpid(), signal.SIGKILL)

    if opened.remote:
        die_around_calls(opened.operations_there, perhaps_die)
    else:
        opened.database.fault = perhaps_die
    whole = chains.with_options(workers=2, compute=ThreadWorkers)
    if run:
        whole.resume(run)
    else:
        whole.run(trace, length, 0.0)


def die_around_calls(there, perhaps_die):
    """Perhaps die before a call is sent, and when its answer is here."""
    call = there.call

    def dangerous(*arguments):
        perhaps_die("before")
        answer = call(*arguments)
        perhaps_die("after")
        return answer

    there.call = dangerous


def run_waiting(store, folder, lease_s):
    """What a victim does: run until it is let go."""
    waiting.with_options(store=store, lease_s=lease_s, compute=ThreadWorkers).run(folder)
