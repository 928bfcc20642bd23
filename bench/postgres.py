"""What a store on PostgreSQL costs beside one in a folder: settling, a leased run, a glance. In turns, on a server on this machine."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable

from peers import machine
from stratal.core.ids import new_id, to_bytes
from stratal.store.events import latest_seq
from stratal.store.journal import Writer
from stratal.store.store import Store
from stratal.testing.postgres import PostgresServer
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import open_store

ROUNDS = 5


def settle_s(store: Store, runs: int, steps: int, wide: int = 1) -> float:
    writer = Writer(store.journals)
    for _ in range(runs):
        id = to_bytes(new_id())
        for step in range(steps):
            writer.log(id, 0, {f"m{column}": float(step) for column in range(wide)}, step)
    writer.close()
    began = time.perf_counter()
    store.settle()
    return time.perf_counter() - began


def leased_s(store: Store) -> float:
    took = []
    for _ in range(7):
        began = time.perf_counter()
        held = start_leased("bench", store=store, kind="job", ttl_s=60)
        for step in range(10):
            held.log({f"m{column}": float(step) for column in range(20)}, step=step)
        held.finish()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def glance_s(store: Store) -> float:
    began = time.perf_counter()
    for _ in range(50):
        with store.database.read(store.actor()) as tx:
            latest_seq(tx)
    return (time.perf_counter() - began) / 50


MEASURED: dict[str, Callable[[Store], float]] = {
    "settle 1 x 50,000 points": lambda store: settle_s(store, 1, 50_000),
    "settle 20 x 1,000 points": lambda store: settle_s(store, 20, 1000),
    "settle 50 x 100 x 3 points": lambda store: settle_s(store, 50, 100, 3),
    "a leased run, 10 x 20 metrics": leased_s,
    "a glance: one snapshot, one row": glance_s,
}


def main() -> None:
    print(machine())
    os.environ |= {"STRATAL_CAPTURE": "off", "STRATAL_SYSTEM_METRICS_S": "0", "XDG_STATE_HOME": tempfile.mkdtemp()}
    with PostgresServer() as server:
        folder, service = open_store(tempfile.mkdtemp()), open_store(server.url(server.make_database()))
        for store in (folder, service):
            for measure in MEASURED.values():
                measure(store)  # opened, compiled, prepared
        for name, measure in MEASURED.items():
            pairs = [(measure(folder), measure(service)) for _ in range(ROUNDS)]
            ours, theirs = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
            ratio = statistics.median(service / folder for folder, service in pairs)
            print(f"{name:34} SQLite {ours:9.2f} ms, PostgreSQL {theirs:9.2f} ms: {ratio:.1f} x")
        service.close()


if __name__ == "__main__":
    main()
