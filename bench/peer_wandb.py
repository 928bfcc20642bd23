"""W&B's side of the benchmarks, offline; runs in its own environment and answers with seconds, or bytes."""

import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

folder = tempfile.mkdtemp()
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_DIR=folder, WANDB_CACHE_DIR=folder, WANDB_DATA_DIR=folder)
import wandb


def log_calls(width: int, calls: int) -> float:
    metrics = {f"m{i}": i * 0.1 for i in range(width)}
    with wandb.init(project="bench", settings=wandb.Settings(x_disable_stats=True, console="off")) as run:
        start = time.perf_counter()
        for step in range(calls):
            run.log(metrics, step=step)
        return time.perf_counter() - start


def ingest(points: int) -> float:
    """From the first call until the run's file is closed; its files cannot be read back without a server."""
    run = wandb.init(project="bench", settings=wandb.Settings(x_disable_stats=True, console="off"))
    start = time.perf_counter()
    for step in range(points):
        run.log({"m": math.sin(step)}, step=step)
    run.finish()
    return time.perf_counter() - start


def size(points: int) -> float:
    before = _bytes()
    ingest(points)
    return (_bytes() - before) / points


def _bytes() -> int:
    return sum(file.stat().st_size for file in Path(folder).rglob("*.wandb"))


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(globals()[request.pop("what")](**request)), flush=True)
