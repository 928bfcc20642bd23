"""From the first log call until everything can be read: ours, MLflow on SQLite, and bare rows in SQLite.

MLflow is asked twice: call by call, as training loops log, and in batches of 1,000 points, the quickest way it has.

Ours survives kill -9 after each call (durability "process"); MLflow syncs each batch of 1,000; bare rows are one commit per
1,000 in WAL mode. With durability "power" ours syncs each call, too: here each has 1,000 metrics. Also: bytes per point in the
file, and what a whole short run costs its caller.
"""

import os
import shutil
import sqlite3
import statistics
import tempfile
from pathlib import Path

import numpy as np

from peers import interleaved, machine, median_ratio, mlflow, say, seconds

os.environ["STRATAL_CAPTURE"] = "off"  # short runs turn it on, as users have it

from stratal.core.ids import new_id, to_bytes
from stratal.core.settings import Settings
from stratal.store.journal import Writer
from stratal.store.store import Store
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

ROUNDS, PEER_POINTS = 5, 10_000
SHAPES = {"1 x 1,000,000": (1, 1_000_000, 1e6), "20 x 50,000": (20, 50_000, 4e6), "10,000 x 1,000": (10_000, 1000, 1e6)}


def ours(folder: Path, wide: int, calls: int) -> float:
    """Give seconds per point from the first call until all of them were read."""
    store = open_store(folder / new_id())
    store.settle()
    metrics = {f"m{i}": i * 0.5 for i in range(wide)}

    def everything() -> None:
        with run("bench", store=store) as logging:
            for step in range(calls):
                logging.log(metrics, step=step)
        read = get_run(logging.id, store=store)
        assert all(len(read.series(name).values) == calls for name in metrics)

    took = seconds(everything) / (wide * calls)
    store.close()
    shutil.rmtree(store.folder)
    return took


def ours_synced(folder: Path, calls: int = 100) -> float:
    """Give seconds per point, each call synced with its 1,000, until all are counted and one series is read (MLflow reads none)."""
    store = open_store(folder / new_id(), settings=Settings(capture=False, durability="power"))
    store.settle()
    metrics = {f"m{i}": i * 0.5 for i in range(1000)}

    def everything() -> None:
        with run("bench", store=store) as logging:
            for step in range(calls):
                logging.log(metrics, step=step)
        store.settle()
        read = get_run(logging.id, store=store)
        assert [found.points for found in read.summaries] == [calls] * 1000 and len(read.series("m0").values) == calls

    took = seconds(everything) / (1000 * calls)
    store.close()
    shutil.rmtree(store.folder)
    return took


def bare_rows(folder: Path, points: int = 300_000) -> float:
    database = sqlite3.connect(folder / new_id(), isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=normal")
    database.execute("create table point(run integer, key integer, step integer, time integer, value real)")

    def everything() -> None:
        for first in range(0, points, 1000):
            database.execute("begin")
            database.executemany("insert into point values(1,1,?,?,?)", [(step, step, step * 0.5) for step in range(first, first + 1000)])
            database.execute("commit")

    took = seconds(everything) / points
    database.close()
    return took


def settle_shape(folder: Path, wide: int, calls: int) -> tuple[float, float]:
    """Give seconds per point of settling a journal, and bytes per point of the database file."""
    store, id = open_store(folder / new_id()), new_id()
    store.settle()
    empty = store.database.path.stat().st_size
    writer = Writer(store.journals)
    noise = (2 * np.exp(-np.linspace(0, 3, calls)) + np.random.default_rng(0).normal(0, 0.02, calls)).tolist()
    names = [f"layer{i}/loss" for i in range(wide)]
    for step, value in enumerate(noise):
        writer.log(to_bytes(id), 0, {name: value + i for i, name in enumerate(names)}, step)
    writer.close()
    took = seconds(store.settler.settle) / (wide * calls)
    store.database.connect().execute("pragma wal_checkpoint(truncate)")
    size = (store.database.path.stat().st_size - empty) / (wide * calls)
    store.close()
    shutil.rmtree(store.folder)
    return took, size


METRICS = {f"m{i}": i * 0.1 for i in range(20)}


def plain_runs(store: Store, count: int = 100) -> float:
    def everything() -> None:
        for _ in range(count):
            with run("bench", params=METRICS, store=store) as one:
                for step in range(10):
                    one.log(METRICS, step=step)

    return seconds(everything) / count


def leased_runs(store: Store, count: int = 50) -> float:
    def everything() -> None:
        for _ in range(count):
            with start_leased("bench", store=store, kind="trial", params=METRICS) as one:
                for step in range(10):
                    one.log(METRICS, step=step)

    store.settle()  # what others logged before is not this one's to settle
    return seconds(everything) / count


def main() -> None:
    print(machine())
    folder = Path(tempfile.mkdtemp())
    peer = mlflow()
    found = interleaved(
        ROUNDS,
        ours=lambda: ours(folder, 1, 100_000),
        mlflow=lambda: peer.ask(what="log_calls", width=1, calls=60) / 60,
        wide=lambda: ours(folder, 20, 20_000),
        bare=lambda: bare_rows(folder),
        synced=lambda: ours_synced(folder),
        batches=lambda: peer.ask(what="ingest", points=PEER_POINTS) / PEER_POINTS,
    )
    rates = {name: f"{1 / statistics.median(times):,.0f}" for name, times in found.items()}
    say("1 metric a call: ours / MLflow", f"{rates['ours']} / {rates['mlflow']} points/s")
    ratio = median_ratio(found["mlflow"], found["ours"])
    say("  quicker than MLflow", f"{ratio:,.0f} x", ">= 100 x", ratio >= 100)
    say("20 metrics a call / bare rows / MLflow in batches of 1,000", f"{rates['wide']} / {rates['bare']} / {rates['batches']} points/s")
    ratio = median_ratio(found["batches"], found["wide"])
    say("  quicker than MLflow", f"{ratio:,.0f} x", ">= 100 x", ratio >= 100)
    ratio = median_ratio(found["batches"], found["ours"])
    say("  1 metric a call of ours beside its batches of 1,000", f"{ratio:,.0f} x")
    ratio = median_ratio(found["batches"], found["synced"])
    say("both synced each 1,000 points: ours / MLflow", f"{rates['synced']} / {rates['batches']} points/s")
    say("  quicker than MLflow", f"{ratio:,.0f} x", ">= 20 x", ratio >= 20)
    for name, (wide, calls, wanted) in SHAPES.items():
        rounds = [settle_shape(folder, wide, calls) for _ in range(ROUNDS)]
        rate = 1 / statistics.median(time for time, _ in rounds)
        size = statistics.median(size for _, size in rounds)
        bare = statistics.median(found["bare"])
        say(f"settle {name}", f"{rate / 1e6:.1f} M points/s", f">= {wanted / 1e6:.0f} M points/s", rate >= wanted)
        say("  of bare rows, and bytes a point", f"{rate * bare:.1f} x, {size:.1f} bytes", "<= 10 bytes", size <= 10)
    store = open_store(folder / "runs", settings=Settings(capture=True, user="bench"))
    store.settle()
    runs = interleaved(
        ROUNDS, plain=lambda: plain_runs(store), leased=lambda: leased_runs(store), mlflow=lambda: peer.ask(what="short_run")
    )
    for name, limit in (("plain", 0.0002), ("leased", 0.002)):
        value = statistics.median(runs[name])
        say(
            f"a short run, {name} (20 params, 10 x 20 metrics), MLflow over it",
            f"{value * 1000:.3f} ms, {median_ratio(runs['mlflow'], runs[name]):,.0f} x",
            f"<= {limit * 1000:g} ms",
            value <= limit,
        )
    peer.close()
    store.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
