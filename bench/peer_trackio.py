"""trackio's side of the benchmarks; runs in its own environment and answers with seconds, or bytes."""

import contextlib
import io
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

folder = tempfile.mkdtemp()
os.environ.update(TRACKIO_DIR=folder, HF_HUB_OFFLINE="1")
import trackio

answers = sys.stdout


def log_calls(width: int, calls: int) -> float:
    metrics = {f"m{i}": i * 0.1 for i in range(width)}
    run = trackio.init(project="bench")
    start = time.perf_counter()
    for step in range(calls):
        run.log(metrics, step=step)
    took = time.perf_counter() - start
    trackio.finish()
    return took


def ingest(points: int) -> float:
    """From the first call until the run is finished: its writer thread has drained."""
    run = trackio.init(project="bench")
    start = time.perf_counter()
    for step in range(points):
        run.log({"m": math.sin(step)}, step=step)
    trackio.finish()
    return time.perf_counter() - start


def size(points: int) -> float:
    before = _bytes()
    ingest(points)
    return (_bytes() - before) / points


def _bytes() -> int:
    return sum(file.stat().st_size for file in Path(folder).rglob("*.db*"))


for line in sys.stdin:
    request = json.loads(line)
    with contextlib.redirect_stdout(io.StringIO()):  # it talks
        answer = globals()[request.pop("what")](**request)
    print(json.dumps(answer), file=answers, flush=True)
