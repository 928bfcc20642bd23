"""Aim's side of the benchmarks; runs in its own environment and answers with seconds, or bytes."""

import json
import math
import sys
import tempfile
import time
from pathlib import Path

from aim import Run

folder = tempfile.mkdtemp()


def log_calls(width: int, calls: int) -> float:
    metrics = {f"m{i}": i * 0.1 for i in range(width)}
    run = Run(repo=folder, experiment="bench", system_tracking_interval=None, log_system_params=False)
    start = time.perf_counter()
    for step in range(calls):
        run.track(metrics, step=step)
    took = time.perf_counter() - start
    run.close()
    return took


def ingest(points: int) -> float:
    """From the first call until the run is closed."""
    run = Run(repo=folder, experiment="bench", system_tracking_interval=None, log_system_params=False)
    start = time.perf_counter()
    for step in range(points):
        run.track(math.sin(step), name="m", step=step)
    run.close()
    return time.perf_counter() - start


def size(points: int) -> float:
    before = _bytes()
    ingest(points)
    return (_bytes() - before) / points


def _bytes() -> int:
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(globals()[request.pop("what")](**request)), flush=True)
