"""The server under load, beside `mlflow server` on SQLite: native ingest, 50 clients at half of each one's peak, memory, buckets over HTTP.

Both hold the same 10,000 runs. Natively a process logs into its spool, and the server has acknowledged and applied all of it at the end.
"""

import os
import statistics
import sys
import threading
import time
from pathlib import Path

os.environ["STRATAL_CAPTURE"] = "off"

import numpy as np
import psutil

from mlflow_server import Server, both
from peers import machine, median_ratio, say, seconds
from stratal.core.ids import new_id
from stratal.core.settings import Settings
from stratal.store.store import Store
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

ROUNDS, WIDE, POINTS, CLIENTS, PEAK_S = 5, 20, 200_000, 50, 10.0
LOAD_S = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0


class Clients:
    """50 clients of a server, each with a connection and a run of its own, that log single metrics."""

    def __init__(self, server: Server) -> None:
        self._each = [server.another() for _ in range(CLIENTS)]

    def load(self, rate: float | None, length_s: float) -> tuple[list[float], int]:
        """Log at `rate` requests a second in all, None: as fast as they are answered; the seconds of each answer, and the errors."""
        took: list[float] = []
        errors: list[str] = []
        begin = time.perf_counter()

        def log(number: int, server: Server) -> None:
            step = 0
            while True:
                due = time.perf_counter() if rate is None else begin + (number + step * CLIENTS) / rate
                if due > begin + length_s:
                    return
                time.sleep(max(0.0, due - time.perf_counter()))
                try:
                    took.append(seconds(server.log))
                except (OSError, SystemExit) as error:
                    errors.append(str(error))
                step += 1

        threads = [threading.Thread(target=log, args=pair) for pair in enumerate(self._each)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return took, len(errors)


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
        assert store.ship_now([]) == ""

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


def main() -> None:
    print(machine())
    with both() as (ours, peer, folder):
        say("ready: ours, mlflow server", f"{ours.ready_s:.1f} s, {peer.ready_s:.1f} s", "<= 2 s", ours.ready_s <= 2)
        rates = [(native(ours, folder)[0], peer.points()) for _ in range(ROUNDS)]
        ratio = median_ratio([theirs for _, theirs in rates], [mine for mine, _ in rates])
        fast, slow = (1 / statistics.median(each) for each in zip(*rates, strict=True))
        say("native ingest / batches of mlflow server", f"{ratio:.0f} x ({fast:,.0f}/s, {slow:,.0f}/s)", ">= 50 x", ratio >= 50)
        took_ms = buckets_ms(ours, folder)
        say("1,000 buckets of 1 M points over HTTP", f"{took_ms:.1f} ms", "<= 60 ms", took_ms <= 60)
        p99 = {}
        for server in (peer, ours):
            clients = Clients(server)
            peak = len(clients.load(None, PEAK_S)[0]) / PEAK_S
            took, errors = clients.load(peak / 2, LOAD_S)
            p99[server.name] = float(np.quantile(took, 0.99)) * 1000
            held = errors == 0 if server is ours else None
            what = f"{server.name}: {CLIENTS} clients for {LOAD_S:g} s at half of {peak:,.0f}/s, errors"
            say(what, f"{errors} of {len(took):,}", "0" if server is ours else "", held)
        ratio = p99["peer"] / p99["ours"]
        say("p99 of theirs / ours", f"{p99['peer']:.0f} / {p99['ours']:.0f} ms, {ratio:.1f} x", ">= 10 x", ratio >= 10)
        used = memory_mb(ours.pid)
        say("memory with 10,000 runs and 2 M points taken", f"{used:.0f} MB", "< 400 MB", used < 400)


if __name__ == "__main__":
    main()
