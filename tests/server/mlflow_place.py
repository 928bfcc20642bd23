"""Servers of one store to be killed, the real client's script that loads them, and what must then be in the store."""

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from mlflow_load import ARTIFACT_EVERY, artifact_bytes, points_of

from stratal.store.store import Store
from stratal.testing.ports import held_port
from stratal.testing.victims import Victim, Victims
from stratal.tracking.reading import get_run

# What a server imports, so that it need not when it is started for the tenth time.
IMPORTS = [f"stratal.{name}" for name in ("testing.remote_workloads", "store.migrating", "tracking.store.settling")]
IMPORTS += [f"uvicorn.{name}" for name in ("protocols.http.httptools_impl", "lifespan.on", "loops.asyncio")]
# The client's own settings: without them it waits for 2, 4, 8 ... seconds.
RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "9", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0", "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.9"}
SCRIPT = Path(__file__).parent / "mlflow_load.py"


class Place:
    """A store that is served at one port, by one server after the other."""

    def __init__(self, victims: Victims, url: str) -> None:
        self.victims, self.store_url = victims, url
        self.port = held_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.server: Victim | None = None

    def start(self) -> None:
        self.server = self.victims.start("stratal.testing.remote_workloads:serve_until_killed", self.store_url, self.port)
        for _ in range(2000):
            try:
                httpx.get(f"{self.url}/health", timeout=30, verify=False)
                return
            except httpx.TransportError:
                time.sleep(0.005)
        raise AssertionError("the server does not start")

    def kill(self) -> None:
        assert self.server is not None
        assert self.server.kill() == -signal.SIGKILL, "the server had ended by itself"
        self.server = None

    def end(self) -> None:
        if self.server is not None:
            self.kill()


def rounds_of(told: Path) -> int:
    """Give how many rounds a client was told of as kept; -1 before its run is there."""
    return len(told.read_text().splitlines()) - 1 if told.exists() else -1


def wait_for_a_round(tolds: Sequence[Path], clients: "Sequence[subprocess.Popen[str]]") -> None:
    """Wait until something was acknowledged since: a start takes longer than many rounds."""
    before, ends_s = sum(map(rounds_of, tolds)), time.monotonic() + 60
    while sum(map(rounds_of, tolds)) <= before:
        assert time.monotonic() < ends_s, "nothing is acknowledged"
        assert all(client.poll() is None for client in clients), clients[0].stderr.read()
        time.sleep(0.002)


def check_load(store: Store, told: Path) -> int:
    """Hold a run against what its client was told, and give the number of points."""
    id, rounds = told.read_text().splitlines()[0], rounds_of(told)
    read = get_run(id, store=store)
    batched = list(dict.fromkeys(repr(point) for number in range(rounds) for point in points_of(number)))
    expected = {
        "batched": batched,
        "single": [repr((number, 1_700_000_000_000 + number, float(number))) for number in range(rounds)],
        "back": [repr((-number, 1_700_000_000_000 - number, float(number))) for number in reversed(range(rounds))],
        "same": [repr((0, 1_700_000_000_000, 1.0))],
    }
    for name, points in expected.items():
        series = read.series(name)
        times = series.times.astype("datetime64[ms]").astype(int).tolist()
        found = [repr(point) for point in zip(series.steps.tolist(), times, series.values.tolist(), strict=True)]
        assert found == points, f"{name}: lost, doubled or out of order"
    assert read.params == {
        **{f"p{number}": number for number in range(rounds)}, **{f"q{number}": "x" * (number % 50) for number in range(rounds)},
    }  # fmt: skip
    assert read.tags == {"round": str(rounds - 1), **{f"t{number}": str(number) for number in range(rounds)}}
    files = {f"files/{id}-{number}.txt": artifact_bytes(number) for number in range(0, rounds, ARTIFACT_EVERY)}
    assert {artifact.path: read.read_artifact(artifact.path) for artifact in read.artifacts} == files
    assert read.status == "finished"
    return sum(map(len, expected.values()))
