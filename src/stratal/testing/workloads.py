"""What victims do until they are killed: log with acknowledgement, compact, hold a lease."""

import io
import os
import random
import signal
import struct
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from stratal.core.ids import RunId, to_bytes
from stratal.store.journal import Writer
from stratal.tracking.autologging import autolog
from stratal.tracking.facts import START, Start
from stratal.tracking.opening import open_store, use_store
from stratal.tracking.runs import Run, run

ACKNOWLEDGED = struct.Struct("<q")


def log_until_killed(folder: str, acknowledged: str, id: str, wide: int = 3, calls: int = 1 << 40) -> None:
    """Log rows of `wide` metrics, value = step + column. After each call that returned, its step goes to a file."""
    writer = Writer(Path(folder) / "journal")
    told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    run_id = to_bytes(id)
    writer.fact(run_id, 0, START, Start(experiment="kill"))
    for step in range(calls):
        writer.log(run_id, 0, {f"m{column}": float(step + column) for column in range(wide)}, step)
        os.write(told, ACKNOWLEDGED.pack(step))


def say_until_killed(folder: str, acknowledged: str, id: str) -> None:
    """Say facts of every kind, through the public run; after each round that returned, its number goes to a file."""
    store = open_store(folder)
    told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    writing = Run(store, RunId(id), "kill")
    writing.say(START, Start(experiment="kill"))
    for number in range(1 << 40):
        writing.log_params({f"p{number}": number})
        writing.set_tags({f"t{number}": str(number)})
        writing.note(str(number))
        writing.save_bytes(f"a{number}", str(number).encode())
        writing.edge("used", f"dataset:d@{number}")
        writing.state("round", {"number": number})
        os.write(told, ACKNOWLEDGED.pack(number))


def log_media_until_killed(folder: str, acknowledged: str, id: str) -> None:
    """Log an image, a text and a number a step, through the public run; after each call that returned, its step goes to a file."""
    store = open_store(folder)
    told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    writing = Run(store, RunId(id), "kill")
    writing.say(START, Start(experiment="kill"))
    for step in range(1 << 40):
        pixels = np.full((2, 2, 3), [step % 256, step // 256 % 256, 0], np.uint8)
        writing.log({"pixels": pixels, "text": str(step), "number": step}, step=step)
        os.write(told, ACKNOWLEDGED.pack(step))


def log_into_a_living_run(url: str, id: str, base: int) -> None:
    """Join a run that another process owns, log 200 points of `m` from step `base`, and leave it open."""
    joined = run(resume=id, store=open_store(url))
    for step in range(base, base + 200):
        joined.log({"m": float(step)}, step=step)
    joined.leave()


def resume_and_wait(url: str, id: str, told: str) -> None:
    """Go on with a run, say so in a file, log nothing, and wait to be killed."""
    run(resume=id, store=open_store(url))
    Path(told).touch()
    signal.pause()


def train_in_a_block(url: str, told: str) -> None:
    """Log in a `with` block until a signal comes; the id and then the number of each acknowledged step go to a file."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with run("signals", store=open_store(url)) as training, Path(told).open("w") as acknowledged:
        acknowledged.write(f"{training.id}\n")
        for step in range(1 << 40):
            training.log({"m": float(step)}, step=step)
            acknowledged.write(f"{step}\n")
            acknowledged.flush()


def log_and_leave_at_once(url: str, told: str, steps: int) -> None:
    """Log, and leave the process without any clean-up."""
    training = run("exits", store=open_store(url))
    for step in range(steps):
        training.log({"m": float(step)}, step=step)
    Path(told).write_text(training.id)
    os._exit(3)


def hold_a_lease_and_wait(url: str, told: str, ttl_s: float) -> None:
    """Start a leased run, log one point, write its id to a file, and wait to be killed."""
    from stratal.tracking.leased import start_leased  # it needs the database, which most victims do not

    held = start_leased("leases", store=open_store(url), kind="job", ttl_s=ttl_s)
    held.log({"m": 1.0}, step=0)
    Path(f"{told}.new").write_text(held.id)
    Path(f"{told}.new").rename(told)
    signal.pause()


def print_until_killed(url: str) -> None:
    """Print inside of a run, and die."""
    sys.stdout = io.TextIOWrapper(io.BytesIO())  # the zygote talks through the other one
    use_store(url)
    autolog("console")
    with run("kill"):
        sys.stdout.write("acknowledged\n")
        sys.stdout.write("half a line")
        os.kill(os.getpid(), signal.SIGKILL)


def save_again(folder: str, acknowledged: str, id: str, contents: int, seed: int, start: str) -> None:
    """Save `contents` files, whose bytes are their numbers, in an order of its own; each one that was saved is acknowledged.

    Begins when the file `start` is there."""
    store = open_store(folder)
    told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    writing = Run(store, RunId(id), "save")
    writing.say(START, Start(experiment="save"))
    order = list(range(contents))
    random.Random(seed).shuffle(order)
    while not Path(start).exists():
        pass
    for number in order:
        writing.save_bytes(str(number), b"content %d" % number)
        os.write(told, ACKNOWLEDGED.pack(number))


def collect_until_killed(folder: str, points: int) -> None:
    """Collect everything that nobody needs and that is older than an hour, and die at the n-th named point."""
    from stratal.store.collecting import collect  # it needs the database, which most victims do not

    store = open_store(folder)
    passed = count(1)

    def perhaps_die(_point: str) -> None:
        if next(passed) == points:
            os.kill(os.getpid(), signal.SIGKILL)

    store.database.fault = perhaps_die
    collect(store, grace_s=3600, events_s=3600, dry_run=False)


def back_up_until_killed(folder: str, target: str, points: int) -> None:
    """Back a store up, and die at the n-th named point of the protocol."""
    from stratal.store.backups import back_up  # as above

    store = open_store(folder)
    passed = count(1)

    def perhaps_die(_point: str) -> None:
        if next(passed) == points:
            os.kill(os.getpid(), signal.SIGKILL)

    store.settle()
    store.database.fault = perhaps_die
    back_up(store, Path(target))


def restore_and_die(target: str, folder: str) -> None:
    """Restore a backup, and be killed when half of its blobs are there."""
    from stratal.store import backups  # as above

    copied, copy = count(), backups._copy

    def copy_or_die(source: Path, target: Path, told: Callable[[int], object] = lambda _done: None) -> str:
        if next(copied) == 25:
            os.kill(os.getpid(), signal.SIGKILL)
        return copy(source, target, told)

    backups._copy = copy_or_die
    backups.restore(Path(target), Path(folder))


def compact_until_killed(folder: str, points: int) -> None:
    """Settle and sweep for ever, and die at the n-th named point of the protocol (0: never)."""
    store = open_store(folder)
    passed = count(1)

    def perhaps_die(_point: str) -> None:
        if next(passed) == points:
            os.kill(os.getpid(), signal.SIGKILL)

    store.database.fault = perhaps_die
    while True:
        store.settler.settle()
        store.settler.sweep(at_once=True)


def acknowledged_steps(path: str | Path) -> int:
    """Give how many calls were acknowledged in a file, a torn last record not counted."""
    try:
        return Path(path).stat().st_size // ACKNOWLEDGED.size
    except FileNotFoundError:
        return 0
