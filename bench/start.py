"""How soon work starts: importing the package, the first run of a process, later runs. New processes, MLflow beside."""

import statistics
import subprocess
import sys
import tempfile

from peers import environment, machine, median_ratio, say

ROUNDS = 9
OURS = """
import time, os
start = time.perf_counter()
import stratal as st
imported = time.perf_counter()
with st.run("bench", params={"a": 1}) as run:
    run.log({"m": 1.0}, step=0)
    first = time.perf_counter()
later = []
for _ in range(20):
    begin = time.perf_counter()
    with st.run("bench", params={"a": 1}) as run:
        run.log({"m": 1.0}, step=0)
        later.append(time.perf_counter() - begin)
print(imported - start, first - imported, sorted(later)[10])
"""
MLFLOW = """
import time, logging
logging.disable(logging.CRITICAL)
start = time.perf_counter()
import mlflow
imported = time.perf_counter()
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("bench")
def one():
    begin = time.perf_counter()
    with mlflow.start_run():
        mlflow.log_params({"a": 1})
        mlflow.log_metrics({"m": 1.0}, step=0)
        return time.perf_counter() - begin
one()
first = time.perf_counter()
print(imported - start, first - imported, sorted(one() for _ in range(10))[5])
"""


def measure(python: str, script: str) -> list[float]:
    folder = tempfile.mkdtemp()
    out = subprocess.run([python, "-c", script], cwd=folder, capture_output=True, text=True, check=True).stdout
    return [float(word) for word in out.split()[-3:]]


def main() -> None:
    print(machine())
    peer = environment("mlflow", "mlflow==3.17.2")
    ours, theirs = [], []
    for number in range(ROUNDS + 1):
        pair = measure(sys.executable, OURS), measure(peer, MLFLOW)
        if number:
            ours.append(pair[0])
            theirs.append(pair[1])
    limits = {"import": 0.3, "first run of a process": 0.6, "later runs": 0.02}
    for i, (what, limit) in enumerate(limits.items()):
        mine, other = [round[i] for round in ours], [round[i] for round in theirs]
        value = statistics.median(mine)
        text = f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.3f} s"
        say(f"{what}: ours, and MLflow's time over it", f"{text}, {median_ratio(other, mine):.0f} x", f"<= {limit:g} s", value <= limit)


if __name__ == "__main__":
    main()
