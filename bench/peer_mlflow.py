"""MLflow's side of the benchmarks; runs in its own environment and answers with seconds."""

import json
import logging
import sys
import tempfile
import time

logging.disable(logging.CRITICAL)
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

folder = tempfile.mkdtemp()
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
mlflow.set_experiment("bench")
client = MlflowClient()


def log_calls(width: int, calls: int) -> float:
    metrics = {f"m{i}": i * 0.1 for i in range(width)}
    with mlflow.start_run():
        start = time.perf_counter()
        for step in range(calls):
            mlflow.log_metrics(metrics, step=step)
        return time.perf_counter() - start


def ingest(points: int) -> float:
    """From the first call until all points can be read: synchronous batches of 1000, the quickest way it offers."""
    run = client.create_run(client.get_experiment_by_name("bench").experiment_id)
    start = time.perf_counter()
    for first in range(0, points, 1000):
        client.log_batch(run.info.run_id, metrics=[Metric("m", step * 0.5, 0, step) for step in range(first, first + 1000)])
    return time.perf_counter() - start


filled: list[str] = []


def fill(points: int) -> float:
    took = ingest(points)
    filled[:] = [client.search_runs([client.get_experiment_by_name("bench").experiment_id], max_results=1)[0].info.run_id]
    return took


def read() -> float:
    start = time.perf_counter()
    assert client.get_metric_history(filled[0], "m")
    return time.perf_counter() - start


def short_run() -> float:
    metrics = {f"m{i}": i * 0.1 for i in range(20)}
    start = time.perf_counter()
    run = client.create_run(client.get_experiment_by_name("bench").experiment_id)
    client.log_batch(run.info.run_id, params=[Param(f"p{i}", str(i)) for i in range(20)])
    for step in range(10):
        client.log_batch(run.info.run_id, metrics=[Metric(name, value, 0, step) for name, value in metrics.items()])
    client.set_terminated(run.info.run_id)
    return time.perf_counter() - start


def fill_runs(count: int) -> float:
    """The runs of bench/search.py, each in one batch, into an experiment of their own."""
    start = time.perf_counter()
    experiment = client.create_experiment("search")
    for number in range(count):
        run = client.create_run(experiment, run_name=f"run {number}")
        values = {"p0": number % 100, "p1": f"model-{number % 7}", **{f"p{i}": (number * i) % 997 / 10 for i in range(2, 20)}}
        params = [Param(name, str(value)) for name, value in values.items()]
        metrics = [Metric(f"m{i}", (number * 7919 + i * 104729) % 100_003 / 100_003, 0, 0) for i in range(20)]
        client.log_batch(run.info.run_id, metrics=metrics, params=params)
        client.set_terminated(run.info.run_id)
    return time.perf_counter() - start


def search(where: str = "", order: str = "") -> float:
    experiment = client.get_experiment_by_name("search").experiment_id
    start = time.perf_counter()
    client.search_runs([experiment], filter_string=where, order_by=[order] if order else None, max_results=50)
    return time.perf_counter() - start


def frame() -> float:
    start = time.perf_counter()
    mlflow.search_runs(experiment_names=["search"], max_results=50_000)
    return time.perf_counter() - start


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(globals()[request.pop("what")](**request)), flush=True)
