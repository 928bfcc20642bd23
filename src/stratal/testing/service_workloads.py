"""What victims do with a store on a database server: log, command and tune, each as if on a machine of its own."""

import os
import signal
import threading
import time
from itertools import count
from pathlib import Path

from stratal.core.errors import StoreDown
from stratal.core.ids import RunId
from stratal.core.settings import Settings
from stratal.store import uploading
from stratal.store.database import insert
from stratal.store.store import Store
from stratal.store.tables import key
from stratal.testing.workloads import ACKNOWLEDGED
from stratal.tracking.facts import START, Start
from stratal.tracking.opening import open_store, use_store
from stratal.tracking.runs import Run, run
from stratal.tuning.space import uniform
from stratal.tuning.studies import study
from stratal.tuning.trying import LiveTrial

_ADD = insert(key).on_conflict_do_nothing()
SPACE = {"x": uniform(0, 1)}


def open_elsewhere(url: str, machine: str) -> Store:
    """Open a store as another machine does: with a folder of its own for journals."""
    return open_store(url, settings=Settings(store=url, state_home=Path(machine), capture=False, on_error="raise", user="victim"))


def log_as_if_elsewhere(url: str, machine: str, told: str, id: str) -> None:
    """Log points without end, while a thread settles them every 20 ms; after each call that returned, its step goes to a file."""
    uploading.PASS_S = uploading.MOST_WAIT_S = 0.02
    writing = Run(open_elsewhere(url, machine), RunId(id), "kill")
    writing.say(START, Start(experiment="kill"))
    acknowledged = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for step in count():
        writing.log({"m": float(step)}, step=step)
        os.write(acknowledged, ACKNOWLEDGED.pack(step))
        time.sleep(0.0005)  # a million points would prove no more


def command_as_if_elsewhere(url: str, machine: str, told: str, name: str) -> None:
    """Add rows by commands without end, each again until it was acknowledged; then its number goes to a file."""
    store = open_elsewhere(url, machine)
    acknowledged = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in count():
        while True:
            try:
                with store.command() as tx:
                    tx.run(_ADD, name=f"{name} {number}")
                    tx.emit("added", f"{name} {number}")
                break
            except StoreDown:
                continue
        os.write(acknowledged, ACKNOWLEDGED.pack(number))


def hold_a_transaction(url: str, machine: str, told: str) -> None:
    """Write inside a transaction, say so, and wait to be killed."""
    store = open_elsewhere(url, machine)
    with store.command() as tx:
        tx.run(_ADD, name="never committed")
        Path(told).touch()
        signal.pause()


def tune_as_if_elsewhere(url: str, machine: str, trials: int) -> None:
    """Take part in a study until its budget is spent, and log a run of 300 points beside it."""
    store = open_elsewhere(url, machine)
    use_store(store)
    beside = threading.Thread(target=_log_a_run, args=(store,))
    beside.start()
    study("shared", SPACE, minimize="loss", seed=3, store=store).optimize(loss, trials=trials, workers=1)
    beside.join()
    store.close()


def loss(trial: LiveTrial) -> float:
    """Give the number that was chosen."""
    value = float(str(trial["x"]))
    trial.report(value, step=0)
    return value


def _log_a_run(store: Store) -> None:
    with run("beside", store=store) as logging:
        for step in range(300):
            logging.log({"m": float(step)}, step=step)
