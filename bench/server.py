"""The server under load, beside `mlflow server`: native ingest, 50 clients at half of each one's peak, memory, buckets over HTTP.

Both hold the same 10,000 runs, on SQLite and on PostgreSQL. Natively a process logs into its spool, and the server has acknowledged and
applied all of it at the end. Arguments: seconds of load (60), and names of databases to measure on these only.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

os.environ["STRATAL_CAPTURE"] = "off"

import psutil

from mlflow_server import POSTGRESQL, SQLITE, Server, both
from peers import HERE, machine, median_ratio, say, seconds
from stratal.core.ids import new_id
from stratal.core.settings import Settings
from stratal.store.store import Store
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

ROUNDS, WIDE, POINTS, CLIENTS, PEAKS, PEAK_S = 5, 20, 200_000, 50, 3, 12.0
LOAD_S = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0


class Loaded(NamedTuple):
    """What the clients saw. ms: of the 50th, 99th and 99.9th of 100 answers; client: the share of a core that the clients took."""

    per_s: float
    count: int
    errors: int
    ms: tuple[float, float, float]
    client: float


class Clients:
    """50 clients of a server in a process of their own, each with a connection and a run, that log single metrics."""

    def __init__(self, server: Server) -> None:
        self._server, self._step = server, 1
        self._runs = [server.make_run() for _ in range(CLIENTS)]

    def load(self, rate: float | None, length_s: float) -> Loaded:
        """Log at `rate` requests a second in all, evenly spaced; None: as fast as they are answered."""
        asked = {"port": self._server.port, "runs": self._runs, "step": self._step, "rate": rate, "length_s": length_s}
        done = subprocess.run(
            [sys.executable, "-SE", HERE / "load.py"], input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True
        )
        found = json.loads(done.stdout)
        self._step += found["count"]
        ms = (1000 * found["at"]["0.5"], 1000 * found["at"]["0.99"], 1000 * found["at"]["0.999"])
        return Loaded(found["count"] / length_s, found["count"], found["errors"], ms, found["cpu_s"] / length_s)


def remote(server: Server, folder: Path) -> Store:
    return open_store(server.url, settings=Settings(user="bench", capture=False, state_home=folder / new_id()))


def native(server: Server, folder: Path) -> tuple[float, str]:
    """Seconds per point, from the first call to all of it applied at the server; and the run."""
    store = remote(server, folder)
    metrics = {f"m{i}": i * 0.5 for i in range(WIDE)}
    ids = []

    def log() -> None:
        with run("bench", store=store) as logging:
            ids.append(logging.id)
            for step in range(POINTS // WIDE):
                logging.log(metrics, step=step)
        assert not store.ship_now([]).refused

    took = seconds(log) / POINTS
    assert len(get_run(ids[0], store=store).series("m0").steps) == POINTS // WIDE
    store.uploader.finish()
    store.close()
    return took, ids[0]


def buckets_ms(server: Server, folder: Path) -> float:
    """Milliseconds from asking for 1,000 buckets of a million points to having them."""
    store = remote(server, folder)
    with run("bench", store=store) as logging:
        for step in range(1_000_000):
            logging.log({"long": step * 0.5 % 977}, step=step)
    found = get_run(logging.id, store=store)
    found.envelope("long", 1000)
    took = [seconds(lambda: found.envelope("long", 1000)) for _ in range(ROUNDS)]
    store.uploader.finish()
    store.close()
    return 1000 * statistics.median(took)


def memory_mb(pid: int) -> float:
    process = psutil.Process(pid)
    return sum(each.memory_full_info().uss for each in (process, *process.children(recursive=True))) / 1e6


def tails(ours: Server, peer: Server) -> None:
    """Load both at half of what each can do, in turns, and ours at the peer's rate, too."""
    mine, theirs = Clients(ours), Clients(peer)
    for clients in (mine, theirs):
        clients.load(None, 1.0)  # the first point of a run reads where its series end
    peaks = [(mine.load(None, PEAK_S / PEAKS).per_s, theirs.load(None, PEAK_S / PEAKS).per_s) for _ in range(PEAKS)]
    peak, their_peak = (statistics.median(each) for each in zip(*peaks, strict=True))
    loads = ((theirs, their_peak), (mine, their_peak), (mine, peak))
    rounds = [[clients.load(most / 2, LOAD_S / ROUNDS) for clients, most in loads] for _ in range(ROUNDS)]
    slow, slowly, fast = (list(each) for each in zip(*rounds, strict=True))
    show("peer", "half", their_peak, slow)
    show("ours", "the same rate as theirs: half", their_peak, slowly)
    show("ours", "half", peak, fast)
    errors, count = sum(each.errors for each in fast), sum(each.count for each in fast)
    say(f"errors of ours in {LOAD_S:g} s at half of its peak", f"{errors} of {count:,}", "0", errors == 0)
    their_ms, our_ms = (statistics.median(each.ms[1] for each in loaded) for loaded in (slow, fast))
    ratio = their_ms / our_ms
    say("p99 of theirs / ours, each at half of its peak", f"{their_ms:.1f} / {our_ms:.1f} ms, {ratio:.1f} x", ">= 10 x", ratio >= 10)


def show(name: str, at: str, peak: float, seen: list[Loaded]) -> None:
    what = f"{name}: {CLIENTS} clients, {ROUNDS} times {LOAD_S / ROUNDS:g} s at {at} of {peak:,.0f}/s"
    p50, p99, p999 = (statistics.median(each) for each in zip(*(each.ms for each in seen), strict=True))
    tails_ms = ", ".join(f"{each.ms[1]:.1f}" for each in seen)
    say(
        f"{what}: p50, p99, p99.9",
        f"{p50:.1f}, {p99:.1f}, {p999:.1f} ms (p99: {tails_ms})",
        f"errors {sum(each.errors for each in seen)}, clients {statistics.median(each.client for each in seen):.0%}",
    )


def main() -> None:
    print(machine())
    for database in sys.argv[2:] or (SQLITE, POSTGRESQL):
        print(f"on {database}")
        measure(database)


def measure(database: str) -> None:
    with both(database) as (ours, peer, folder):
        say("ready: ours, mlflow server", f"{ours.ready_s:.1f} s, {peer.ready_s:.1f} s", "<= 2 s", ours.ready_s <= 2)
        rates = [(native(ours, folder)[0], peer.points()) for _ in range(ROUNDS)]
        ratio = median_ratio([theirs for _, theirs in rates], [mine for mine, _ in rates])
        fast, slow = (1 / statistics.median(each) for each in zip(*rates, strict=True))
        say("native ingest / batches of mlflow server", f"{ratio:.0f} x ({fast:,.0f}/s, {slow:,.0f}/s)", ">= 50 x", ratio >= 50)
        took_ms = buckets_ms(ours, folder)
        say("1,000 buckets of 1 M points over HTTP", f"{took_ms:.1f} ms", "<= 60 ms", took_ms <= 60)
        tails(ours, peer)
        used = memory_mb(ours.pid)
        say("memory with 10,000 runs and 2 M points taken", f"{used:.0f} MB", "< 400 MB", used < 400)


if __name__ == "__main__":
    main()
