"""What victims of remote tests do until they are killed: log into a spool, ship it, serve a store."""

import os
import time
from pathlib import Path

from stratal.core.errors import StoreDown
from stratal.core.ids import RunId
from stratal.server import serving
from stratal.store.calling import Server
from stratal.store.files import objects
from stratal.store.shipping import Shipper
from stratal.testing.workloads import ACKNOWLEDGED
from stratal.tracking.facts import START, Start
from stratal.tracking.opening import open_store
from stratal.tracking.runs import Run

# Rows of a burst, and bursts from one artifact to the next.
BURST, ARTIFACT_EVERY = 20, 10


def artifact_bytes(number: int) -> bytes:
    """Give the content of a burst's artifact: of many sizes, and no two alike."""
    return f"{number:08d}".encode() * (1 + 997 * (number % 64))


def log_bursts_until_killed(folder: str, acknowledged: str, id: str, has_files: bool = True, pause_s: float = 0.004) -> None:
    """Log `stepped` with steps, `counted` without, notes and artifacts. After each burst, its number goes to a file."""
    store = open_store(folder)
    told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    writing = Run(store, RunId(id), "remote")
    writing.say(START, Start(experiment="remote"))
    for number in range(1 << 40):
        if number % ARTIFACT_EVERY == 0:
            if has_files:
                writing.save_bytes(f"a{number}", artifact_bytes(number))
            writing.note(str(number))
        for step in range(number * BURST, (number + 1) * BURST):
            writing.log({"stepped": float(step)}, step=step)
            writing.log({"counted": float(step)})
        os.write(told, ACKNOWLEDGED.pack(number))
        time.sleep(pause_s)


def ship_until_killed(folder: str, url: str) -> None:
    """Ship a spool for ever, in a hurry."""
    shipper = Shipper(Path(folder), Server(url, "tester"), keeps=False)
    while True:
        try:
            shipper.ship()
        except StoreDown:
            time.sleep(0.005)
        time.sleep(0.001)


def compact_at_times_until_killed(folder: str) -> None:
    """Settle and sweep a store for ever, with pauses in which others come to write."""
    store = open_store(folder)
    while True:
        store.settler.settle()
        store.settler.sweep(at_once=True)
        time.sleep(0.02)


def serve_until_killed(place: str, port: int, machine: str = "", away_s: float = 0.0) -> None:
    """Serve a store on a port that is known before. machine: the folder of a server over a database; away_s: how long it waits for that,
    or for the place of its files. 0: as always."""
    if away_s:
        serving.FILES_AWAY_S, objects.QUICK_S = away_s, 2 * away_s
    if not machine:
        return serving.serve(open_store(place), port=port, listens=lambda _url: None)
    from stratal.store import postgres  # the driver: most victims serve a folder
    from stratal.testing.service_workloads import open_elsewhere

    postgres.AWAY_S = away_s or postgres.AWAY_S
    return serving.serve(open_elsewhere(place, machine), port=port, listens=lambda _url: None)
