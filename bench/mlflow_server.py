"""MLflow's protocol over HTTP: our server and `mlflow server`, on SQLite and on PostgreSQL, the same requests in turns, each in a process.

Both hold the same 10,000 runs: ours are exported into the store that the peer opens. One client, one connection, plain JSON. The PostgreSQL
does not sync its disk, for both, and has tidied both up once. Names of databases as arguments measure on these only.
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg

from peers import HERE, MLFLOW, environment, interleaved, machine, median_ratio, say, seconds

os.environ["STRATAL_CAPTURE"] = "off"

from stratal.interop.exporting.exports import export_runs
from stratal.store.store import Store
from stratal.testing.postgres import PostgresServer
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run

SQLITE, POSTGRESQL = "sqlite", "postgresql"
ROUNDS, RUNS, READY_S = 5, 10_000, 120.0
BATCHES, CALLS, SEARCHES = {"ours": 20, "peer": 2}, {"ours": 200, "peer": 20}, {"ours": 10, "peer": 2}
QUERY: dict[str, Any] = {"filter": "metrics.auc > {} and params.model = 'gbm'", "order_by": ["metrics.auc DESC"], "max_results": 100}


class Server:
    """A server in a process, and one connection to it."""

    def __init__(self, name: str, command: list[str], port: int, folder: Path) -> None:
        self.name, self.port = name, port
        self.url = f"http://127.0.0.1:{port}"
        started = time.perf_counter()
        self._process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                self.http = http.client.HTTPConnection("127.0.0.1", port)
                self.ask("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0")
                break
            except (OSError, http.client.HTTPException) as error:
                if time.perf_counter() - started > READY_S:
                    raise SystemExit(f"{name} did not start: {error}") from None
                time.sleep(0.05)
        self.ready_s = time.perf_counter() - started
        self.experiment = self.ask("GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=bench")["experiment"]["experiment_id"]
        self.run = self.make_run()
        self._step = self._searches = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def make_run(self) -> str:
        """Make a run, and give its id."""
        return str(self.post("runs/create", experiment_id="0", start_time=1)["run"]["info"]["run_id"])

    def ask(self, verb: str, path: str, body: str | None = None) -> dict:
        try:
            self.http.request(verb, path, body, {"content-type": "application/json"} if body else {})
            answer = self.http.getresponse()
        except ConnectionError:  # it dropped a connection that rested; a worker of MLflow's does so after its first answer, too
            self.http.close()
            self.http.request(verb, path, body, {"content-type": "application/json"} if body else {})
            answer = self.http.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{self.name} answered {answer.status}: {text[:300]!r}")
        return json.loads(text)

    def post(self, path: str, **fields: object) -> dict:
        return self.ask("POST", f"/api/2.0/mlflow/{path}", json.dumps(fields))

    def points(self) -> float:
        """Seconds per point, in batches of 1,000 of one series. The bodies are made before."""
        self.http.close()  # it opens another: servers drop one that rests while the other is asked
        count, first = BATCHES[self.name], self._step
        self._step += count * 1000
        steps = [range(first + n * 1000, first + n * 1000 + 1000) for n in range(count)]
        batches = [[{"key": "loss", "value": step * 0.5, "timestamp": step, "step": step} for step in each] for each in steps]
        bodies = [json.dumps({"run_id": self.run, "metrics": batch}) for batch in batches]
        return seconds(lambda: [self.ask("POST", "/api/2.0/mlflow/runs/log-batch", body) for body in bodies]) / (count * 1000)

    def calls(self) -> float:
        """Seconds per log_metric."""
        self.http.close()
        count, first = CALLS[self.name], self._step
        self._step += count
        return (
            seconds(
                lambda: [
                    self.post("runs/log-metric", run_id=self.run, key="m", value=step, timestamp=step, step=step)
                    for step in range(first, first + count)
                ]
            )
            / count
        )

    def search(self) -> float:
        """Seconds per page of 100 among all runs, filtered and sorted; no question comes twice."""
        self.http.close()
        count = SEARCHES[self.name]

        def ask() -> None:
            for _ in range(count):
                self._searches += 1
                query = {**QUERY, "filter": QUERY["filter"].format(0.5 - self._searches / 1000)}
                assert len(self.post("runs/search", experiment_ids=[self.experiment], **query)["runs"]) == 100

        return seconds(ask) / count

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def rest(servers: list[Server]) -> None:
    """Wait until both have started: `mlflow server` goes on for some ten seconds, with processes of its own that want both cores."""
    watched = [each for server in servers for each in (psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True))]
    for each in watched:
        each.cpu_percent()
    while True:
        time.sleep(1.0)
        if sum(each.cpu_percent() for each in watched if each.is_running()) < 10:
            return


def fill(store: Store) -> None:
    dice = np.random.default_rng(7)
    for number in range(RUNS):
        params = {"lr": float(dice.random()), "model": ("gbm", "mlp")[number % 2], "depth": number % 9}
        with run("bench", params=params, tags={"team": "x"}, store=store) as logging:
            logging.log({"auc": float(dice.random()), "loss": float(dice.random()), "f1": float(dice.random())}, step=1)
    store.settle()


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@contextlib.contextmanager
def both(database: str = SQLITE) -> Iterator[tuple[Server, Server, Path]]:
    """Run our server and MLflow's beside a block, over the same 10,000 runs: ours, theirs, and a folder that goes with them."""
    python = environment("mlflow", MLFLOW, "psycopg2-binary==2.9.13")
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        places = {"ours": str(folder / "store"), "peer": f"sqlite:///{folder}/mlflow/mlflow.db"}
        postgres = stack.enter_context(PostgresServer()) if database == POSTGRESQL else None
        if postgres is not None:
            os.environ["XDG_STATE_HOME"] = str(folder / "state")
            places["ours"] = postgres.url(postgres.make_database())
        store = open_store(places["ours"])
        fill(store)
        export_runs(folder / "mlflow", format="mlflow", store=store)
        store.close()
        if postgres is not None:
            there = postgres.url(postgres.make_database()).replace("postgresql:", "postgresql+psycopg2:")
            subprocess.run([python, HERE / "peer_mlflow_copy.py", places["peer"], there], check=True)
            places["peer"] = there
            for url in (str(places["ours"]), there):  # the server of a test does not do so by itself, as others do within a minute
                with psycopg.connect(url.replace("postgresql+psycopg2:", "postgresql:"), autocommit=True) as connection:
                    connection.execute("vacuum (analyze)")
        serve = "import sys; from stratal.cli.app import main; sys.argv[0] = 'stratal'; main()"
        commands = {
            "ours": [sys.executable, "-c", serve, "server", "--store", places["ours"]],
            "peer": [python, "-m", "mlflow", "server", "--backend-store-uri", places["peer"]],
        }
        servers = []
        for name, command in commands.items():
            port = free_port()
            servers.append(Server(name, [*command, "--port", str(port)], port, folder))
            stack.callback(servers[-1].close)
        rest(servers)
        yield servers[0], servers[1], folder


def main() -> None:
    print(machine())
    for database in sys.argv[1:] or (SQLITE, POSTGRESQL):
        print(f"on {database}")
        with both(database) as (ours, peer, _):
            say("ready: ours, mlflow server", f"{ours.ready_s:.1f} s, {peer.ready_s:.1f} s", "<= 2 s", ours.ready_s <= 2)
            for what, bound in (("points", 20), ("calls", 20), ("search", 20)):
                found = interleaved(ROUNDS, ours=getattr(ours, what), peer=getattr(peer, what))
                ratio = median_ratio(found["peer"], found["ours"])
                rate = f"{1 / np.median(found['ours']):,.0f}/s beside {1 / np.median(found['peer']):,.1f}/s"
                say(f"{what}: mlflow server / ours", f"{ratio:.0f} x ({rate})", f">= {bound} x", ratio >= bound)


if __name__ == "__main__":
    main()
