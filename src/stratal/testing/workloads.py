"""What victims do until they are killed: log with acknowledgement, compact, hold a lease."""

import os
import random
import signal
import struct
from pathlib import Path

from stratal.core.ids import RunId, to_bytes
from stratal.store.journal import Writer
from stratal.tracking.facts import START, Start
from stratal.tracking.opening import open_store
from stratal.tracking.runs import Run

ACKNOWLEDGED = struct.Struct("<q")


def log_until_killed(folder: str, acknowledged: str, run: str, wide: int = 3, calls: int = 1 << 40) -> None:
    """Log rows of `wide` metrics, value = step + column. After each call that returned, its step goes to a file."""
    writer = Writer(Path(folder) / "journal")
    told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    id = to_bytes(run)
    writer.fact(id, 0, START, Start(experiment="kill"))
    for step in range(calls):
        writer.log(id, 0, {f"m{column}": float(step + column) for column in range(wide)}, step)
        os.write(told, ACKNOWLEDGED.pack(step))


def say_until_killed(folder: str, acknowledged: str, run: str) -> None:
    """Say facts of every kind, through the public run; after each round that returned, its number goes to a file."""
    store = open_store(folder)
    told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    writing = Run(store, RunId(run), "kill")
    writing._fact(START, Start(experiment="kill"))
    for number in range(1 << 40):
        writing.log_params({f"p{number}": number})
        writing.set_tags({f"t{number}": str(number)})
        writing.note(str(number))
        writing.save_bytes(f"a{number}", str(number).encode())
        writing.edge("used", f"dataset:d@{number}")
        writing.state("round", {"number": number})
        os.write(told, ACKNOWLEDGED.pack(number))


def compact_until_killed(folder: str, seed: int, rate: float) -> None:
    """Settle and sweep for ever; at each named point of the protocol, die with probability `rate`."""
    store = open_store(folder)
    dice = random.Random(seed)

    def perhaps_die(_point: str) -> None:
        if dice.random() < rate:
            os.kill(os.getpid(), signal.SIGKILL)

    store.database.fault = perhaps_die
    while True:
        store.settler.settle()
        store.settler.sweep(at_once=True)


def acknowledged_steps(path: str | Path) -> int:
    """Give how many calls were acknowledged in a file, a torn last record not counted."""
    try:
        return os.path.getsize(path) // ACKNOWLEDGED.size
    except FileNotFoundError:
        return 0
