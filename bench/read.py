"""Reading a series of a million points, and drawing it: all points, and 1,000 buckets with min, max and last of each."""

import shutil
import statistics
import tempfile
from pathlib import Path

from peers import interleaved, machine, median_ratio, mlflow, say, seconds
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

ROUNDS, POINTS, PEER_POINTS = 7, 1_000_000, 10_000


def main() -> None:
    print(machine())
    folder = Path(tempfile.mkdtemp())
    store, peer = open_store(folder / "store"), mlflow()
    with run("bench", store=store) as logging:
        for step in range(POINTS):
            logging.log({"m": step * 0.5 % 977}, step=step)
    read = get_run(logging.id, store=store)
    peer.ask(what="fill", points=PEER_POINTS)
    found = interleaved(
        ROUNDS,
        points=lambda: seconds(lambda: read.series("m")),
        buckets=lambda: seconds(lambda: read.envelope("m", 1000)),
        mlflow=lambda: peer.ask(what="read"),
    )
    assert len(read.series("m").values) == POINTS
    assert len(read.envelope("m", 1000).steps) == 1000
    per_point = [time / PEER_POINTS for time in found["mlflow"]], [time / POINTS for time in found["points"]]
    value = statistics.median(found["points"]) * 1000
    say("read 1,000,000 points", f"{value:.0f} ms", "<= 150 ms", value <= 150)
    say("  quicker than MLflow, per point (it reads 10,000)", f"{median_ratio(*per_point):,.0f} x")
    value = statistics.median(found["buckets"]) * 1000
    say("1,000 buckets of them", f"{value:.1f} ms", "<= 60 ms", value <= 60)
    peer.close()
    store.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
