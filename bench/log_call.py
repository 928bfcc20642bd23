"""What a log call costs the training loop: ours, a bare os.write of the same bytes, and MLflow on SQLite.

Both of ours and the bare write survive kill -9 of the process; MLflow also syncs each call to the disk.
"""

import os
import shutil
import tempfile
from pathlib import Path

from peers import interleaved, machine, median_ratio, mlflow, say, seconds
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run

ROUNDS, CALLS, PEER_CALLS = 7, 20_000, 60


def main() -> None:
    print(machine())
    folder = Path(tempfile.mkdtemp())
    store, peer = open_store(folder / "store"), mlflow()
    fd = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with run("bench", store=store) as ours:
        for width in (1, 10, 100):
            metrics = {f"m{i}": i * 0.1 for i in range(width)}
            frame = b"x" * (48 + 24 + 8 * width)

            def log(metrics: dict[str, float] = metrics) -> float:
                return seconds(lambda: [ours.log(metrics, step=step) for step in range(CALLS)]) / CALLS

            def bare(frame: bytes = frame) -> float:
                return seconds(lambda: [os.write(fd, frame) for _ in range(CALLS)]) / CALLS

            def other(width: int = width) -> float:
                return peer.ask(what="log_calls", width=width, calls=PEER_CALLS) / PEER_CALLS

            found = interleaved(ROUNDS, ours=log, bare=bare, mlflow=other)
            micro = {name: 1e6 * sorted(times)[ROUNDS // 2] for name, times in found.items()}
            over_bare, under_peer = median_ratio(found["ours"], found["bare"]), median_ratio(found["mlflow"], found["ours"])
            limit = {1: 4.0, 10: 8.0, 100: 8.0}[width]
            say(f"{width} metrics a call: ours / bare / MLflow", " / ".join(f"{micro[n]:.1f}" for n in ("ours", "bare", "mlflow")) + " us")
            say("  of a bare write", f"{over_bare:.1f} x", f"<= {limit:.0f} x", over_bare <= limit)
            say("  quicker than MLflow", f"{under_peer:,.0f} x", ">= 300 x", under_peer >= 300)
    os.close(fd)
    peer.close()
    store.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
