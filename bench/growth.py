"""How questions grow with the store: 1,000 to 1,000,000 runs of 4 params and 4 metrics each, one after the other in one run."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["STRATAL_CAPTURE"] = "off"

from peers import machine
from search import fill, took_ms
from stratal.core.settings import Settings
from stratal.tracking.finding import count, find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run

WIDTH = 4
COUNTS = (1_000, 10_000, 100_000, 1_000_000)


def main() -> None:
    print(machine())
    names = ("newest page", "sorted page", "filtered page", "count", "one run", "bytes a run", "runs/s made")
    print(f"{'runs':>10} " + " ".join(f"{name:>14}" for name in names) + "   (ms, medians of 7)")
    for runs in [int(word) for word in sys.argv[1:]] or COUNTS:
        folder = Path(tempfile.mkdtemp())
        store = open_store(folder / "store", settings=Settings(user="bench", capture=False))
        store.settle()
        took = fill(store, runs, WIDTH)
        store.database.connect().execute("pragma wal_checkpoint(truncate)")
        some = find_runs(limit=1, order_by="metrics.m1", store=store)[0].id
        questions = (
            lambda store=store: find_runs(limit=50, store=store),
            lambda store=store: find_runs(order_by="metrics.m0 desc", limit=50, store=store),
            lambda store=store: find_runs("metrics.m0 > 0.9 and params.p1 = 'model-3'", limit=50, store=store),
            lambda store=store: count("metrics.m0 > 0.99", store=store),
            lambda store=store, some=some: get_run(some, store=store).series("m0"),
        )
        found = [f"{took_ms(question)[0]:.1f}" for question in questions]
        found += [f"{store.database.path.stat().st_size / runs:,.0f}", f"{runs / took:,.0f}"]
        print(f"{runs:>10,} " + " ".join(f"{value:>14}" for value in found), flush=True)
        store.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
