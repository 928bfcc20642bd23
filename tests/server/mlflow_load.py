"""A training script as MLflow's users write it, run by the real client until a file appears: one line per round that was acknowledged."""

import contextlib
import os
import sys
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

BATCH, ARTIFACT_EVERY, T0 = 25, 5, 1_700_000_000_000


def points_of(number: int) -> list[tuple[int, int, float]]:
    """Give (step, time, value) of a round's batch: its last point is the first of the next one, and NaN is among them."""
    steps = range(number * BATCH, (number + 1) * BATCH + 1)
    return [(step, T0 + step, float("nan") if step % 10 == 7 else step / 3) for step in steps]


def work(client: MlflowClient, id: str, folder: Path, number: int) -> None:
    """Log one round."""
    metrics = [Metric("batched", value, time, step) for step, time, value in points_of(number)]
    client.log_batch(id, metrics=metrics, params=[Param(f"p{number}", str(number))], tags=[RunTag("round", str(number))])
    client.log_metric(id, "single", float(number), timestamp=T0 + number, step=number)
    client.log_metric(id, "back", float(number), timestamp=T0 - number, step=-number)  # each before all that were
    client.log_metric(id, "same", 1.0, timestamp=T0, step=0)
    client.log_param(id, f"q{number}", "x" * (number % 50))
    client.set_tag(id, f"t{number}", str(number))
    if number % ARTIFACT_EVERY == 0:
        file = folder / f"{id}-{number}.txt"
        file.write_bytes(artifact_bytes(number))
        client.log_artifact(id, str(file), "files")


def artifact_bytes(number: int) -> bytes:
    """Give the content of a round's file."""
    return f"{number:06d}".encode() * (1 + 37 * number)


def main(url: str, told: str, stop: str) -> None:
    """Log rounds until somebody says stop; each round that was acknowledged is a line."""
    client = MlflowClient(url)
    id = client.create_run("0").info.run_id
    with open(told, "a") as file:
        file.write(f"{id}\n")
        file.flush()
        number = 0
        while not os.path.exists(stop):
            work(client, id, Path(told).parent, number)
            file.write(f"{number}\n")
            file.flush()
            number += 1
    client.set_terminated(id)
    with contextlib.suppress(BrokenPipeError):
        print('{"step": "done", "error": ""}', flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
