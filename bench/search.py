"""Finding among 10,000 and 100,000 runs of 20 params and 20 metrics; MLflow on SQLite beside it, on 1,000 of its runs.

The runs are written to a journal, fact by fact as `st.run` writes them, and settled by the store's own code; only the database
that comes of it is searched.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["STRATAL_CAPTURE"] = "off"

from peers import interleaved, machine, median_ratio, mlflow, say, seconds
from stratal.core.ids import new_id, to_bytes
from stratal.core.settings import Settings
from stratal.store.store import Store
from stratal.tracking.facts import END, NOTE, START, End, Note, Start
from stratal.tracking.finding import find_runs
from stratal.tracking.grouping import spread, top
from stratal.tracking.opening import open_store

ROUNDS, PEER_RUNS = 7, 1000
FILTER = "metrics.m0 > 0.9 and metrics.m1 < 0.5 and params.p0 > 50"
PEER_FILTER = "metrics.m0 > 0.5 and metrics.m1 < 0.5 and params.p1 = 'model-3'"  # MLflow compares params as texts only


def fill(store: Store, count: int, width: int = 20) -> float:
    """Make runs of `width` params and metrics, and give the seconds that it took."""

    def everything() -> None:
        for number in range(count):
            run = to_bytes(new_id(store.clock))
            params = {"p0": number % 100, "p1": f"model-{number % 7}", **{f"p{i}": (number * i) % 997 / 10 for i in range(2, width)}}
            store.writer.fact(run, 0, START, Start(experiment="bench", name=f"run {number}", params=params, user="bench"))
            store.writer.log(run, 0, {f"m{i}": (number * 7919 + i * 104729) % 100_003 / 100_003 for i in range(width)}, 0)
            if number % 50 == 0:
                store.writer.fact(run, 0, NOTE, Note(text=f"warmup of {number} steps, cosine after it", author="bench"))
            store.writer.fact(run, 0, END, End(status="finished"))
        store.settle()

    return seconds(everything)


def asked(store: Store) -> dict[str, object]:
    """What is measured: each question as a user asks it, through st.runs."""
    after = find_runs(order_by="metrics.m0 desc", limit=50, store=store).next
    return {
        "newest page": lambda: find_runs(limit=50, store=store),
        "sorted page": lambda: find_runs(order_by="metrics.m0 desc", limit=50, store=store),
        "sorted page, the next": lambda: find_runs(order_by="metrics.m0 desc", limit=50, after=after, store=store),
        "sorted by two keys": lambda: find_runs(order_by="params.p1, metrics.m0 desc", limit=50, store=store),
        "sorted by best value": lambda: find_runs(order_by="max(metrics.m0) desc", limit=50, store=store),
        "filtered page": lambda: find_runs(FILTER, limit=50, store=store),
        "filtered and sorted": lambda: find_runs(FILTER, order_by="metrics.m2", limit=50, store=store),
        "words of notes": lambda: find_runs("text contains 'cosine warm'", limit=50, store=store),
        "page of 4 columns": lambda: find_runs(
            order_by="metrics.m0 desc", limit=50, select="name, params.p0, metrics.m0, max(metrics.m1)", store=store
        ),
        "best of 7 groups": lambda: top("metrics.m0 desc", per="params.p1", store=store),
        "spread over groups": lambda: spread("metrics.m0", per="params.p1", store=store),
    }


def took_ms(call: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """The median of the clock, and of the processor's time: on a busy machine they are far apart."""
    call()
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls) * 1000, statistics.median(cpus) * 1000


BOUNDS_MS = {
    10_000: {"newest page": 25, "sorted page": 25, "sorted page, the next": 25, "filtered page": 15},
    100_000: {"newest page": 100, "sorted page": 100, "sorted page, the next": 100, "filtered page": 100},
}


def measure(count: int, folder: Path) -> None:
    store = open_store(folder / f"runs-{count}", settings=Settings(user="bench", capture=False))
    store.settle()
    took = fill(store, count)
    say(f"{count:,} runs made and settled", f"{took:.1f} s, {count / took:,.0f} runs/s")
    for name, call in asked(store).items():
        wall, cpu = took_ms(call)
        bound = BOUNDS_MS.get(count, {}).get(name)
        say(f"  {name}", f"{wall:.1f} ms, CPU {cpu:.1f}", f"<= {bound} ms" if bound else "", None if bound is None else wall <= bound)
    if count == 10_000:
        wall, cpu = took_ms(lambda: find_runs(store=store).to_polars(), 5)
        say("  all runs as a frame of 49 columns", f"{wall / 1000:.2f} s, CPU {cpu / 1000:.2f}", "<= 1 s", wall <= 1000)
        wall, cpu = took_ms(lambda: find_runs(select="params.*, metrics.*", store=store).to_polars(), 5)
        say("  params and metrics of all runs as a frame", f"{wall / 1000:.2f} s, CPU {cpu / 1000:.2f}")
    store.close()


def beside_mlflow(folder: Path) -> None:
    """The same number of runs, the same questions, in turns."""
    store, peer = open_store(folder / "beside", settings=Settings(user="bench", capture=False)), mlflow()
    store.settle()
    fill(store, PEER_RUNS)
    peer.ask(what="fill_runs", count=PEER_RUNS)
    ours = asked(store)
    questions = {
        "newest page": {"what": "search"},
        "sorted page": {"what": "search", "order": "metrics.m0 DESC"},
        "filtered page": {"what": "search", "where": PEER_FILTER},
        "all runs as a frame": {"what": "frame"},
    }
    ours["filtered page"] = lambda: find_runs(PEER_FILTER, limit=50, store=store)
    ours["all runs as a frame"] = lambda: find_runs(store=store).to_polars()
    say(f"beside MLflow, {PEER_RUNS:,} runs each", "ours, MLflow, ratio")
    for name, question in questions.items():
        found = interleaved(ROUNDS, ours=lambda name=name: seconds(ours[name]), mlflow=lambda question=question: peer.ask(**question))
        mine, theirs = (statistics.median(found[side]) * 1000 for side in ("ours", "mlflow"))
        say(f"  {name}", f"{mine:.1f}, {theirs:,.1f} ms, {median_ratio(found['mlflow'], found['ours']):,.0f} x")
    peer.close()
    store.close()


def main() -> None:
    print(machine())
    folder = Path(tempfile.mkdtemp())
    started = time.monotonic()
    try:
        for part in sys.argv[1:] or ["10000", "mlflow", "100000"]:  # parts may be named, to run some of them
            if part == "mlflow":
                beside_mlflow(folder)
            else:
                measure(int(part), folder)
    finally:
        shutil.rmtree(folder)
    print(f"took {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
