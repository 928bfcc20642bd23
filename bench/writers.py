"""Many at once: eight processes that log into one store, and a hundred runs that are live at the same time; MLflow beside.

Each process logs for a fixed time; a call counts when it has returned, and all of it is then read back. Call by call beside call by
call, and calls of 20 metrics beside MLflow's batches of 1,000, the quickest way that it has.
"""

import json
import multiprocessing
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from peers import HERE, MLFLOW, environment, machine, say
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

ROUNDS, PROCESSES, SECONDS, LIVE = 5, 8, 3.0, 100


def main() -> None:
    print(machine())
    folder = Path(tempfile.mkdtemp())
    python = environment("mlflow", MLFLOW)
    shares = []
    for width, batch in ((1, 1), (20, 1000)):
        rates, theirs = [], []
        for number in range(ROUNDS):
            counts = ours(folder / f"ours{width}-{number}", width)
            rates.append(sum(counts) / SECONDS)
            shares.append(min(counts) / statistics.mean(counts))
            theirs.append(mlflow(python, folder / f"mlflow{width}-{number}", batch))
        ratio = statistics.median(a / b for a, b in zip(rates, theirs, strict=True))
        ours_rate, their_rate = statistics.median(rates), statistics.median(theirs)
        say(f"8 processes, {width} a call / MLflow, {batch} a batch", f"{ours_rate:,.0f} / {their_rate:,.0f} points/s")
        say("  more than MLflow", f"{ratio:,.0f} x", ">= 100 x", ratio >= 100)
    least = statistics.median(shares)
    say("  the slowest writer, of the mean (median of rounds)", f"{least:.2f}", ">= 0.5", least >= 0.5)
    errors = live(folder / "live")
    say(f"{LIVE} runs live at once, errors", str(errors), "0", errors == 0)
    shutil.rmtree(folder)


def ours(folder: Path, width: int) -> list[int]:
    """Give the points of each process; all of them are then read back."""
    open_store(folder).settle()
    context = multiprocessing.get_context("spawn")
    start, counts = context.Barrier(PROCESSES), context.Queue()
    processes = [context.Process(target=log_for_a_while, args=(str(folder), width, start, counts)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    found = [counts.get() for _ in processes]
    for process in processes:
        process.join()
    store = open_store(folder)
    for id, count in found:
        assert len(get_run(id, store=store).series("m0").values) == count
    store.close()
    return [count * width for _, count in found]


def log_for_a_while(folder: str, width: int, start, counts) -> None:
    store, done = open_store(folder), 0
    metrics = {f"m{i}": i * 0.5 for i in range(width)}
    with run("bench", store=store) as logging:
        start.wait()
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            logging.log(metrics, step=done)
            done += 1
    counts.put((logging.id, done))


def mlflow(python: str, folder: Path, batch: int) -> float:
    """Give the points a second of all processes."""
    folder.mkdir()
    script = HERE / "peer_mlflow_writer.py"
    subprocess.run([python, str(script), str(folder), "0", "1"], check=True, capture_output=True)  # makes the schema
    command = [python, str(script), str(folder), str(SECONDS), str(batch)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdout
        process.stdout.readline()  # it is ready
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(json.loads(process.communicate()[0]) for process in processes) / SECONDS


def live(folder: Path) -> int:
    """Log to a hundred runs from as many threads while somebody lists them; give the number of errors."""
    store, errors = open_store(folder), []

    def one() -> None:
        try:
            with run("bench", store=store) as logging:
                for step in range(100):
                    logging.log({"m": step * 0.5}, step=step)
        except Exception as error:  # noqa: BLE001  # counted
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(LIVE)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        store.settle()
    for thread in threads:
        thread.join()
    store.close()
    return len(errors)


if __name__ == "__main__":
    main()
