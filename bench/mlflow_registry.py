"""Searches of the registry over HTTP: our server and `mlflow server` on SQLite, the same 10,000 versions in each, requests in turns.

One model has half of the versions, 1,000 models have the others. Rows are written straight into both databases: searches are measured.
"""

import contextlib
import http.client
import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from mlflow_server import Server, free_port
from peers import MLFLOW, environment, interleaved, machine, median_ratio, say, seconds

os.environ["STRATAL_CAPTURE"] = "off"

from stratal.interop.exporting.exports import export_runs
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run

ROUNDS, AT_ONCE = 5, 3
T0_MS = 1_700_000_000_000
RUN = "0" * 32
NO_PROMPT = "tag.`mlflow.prompt.is_prompt` != 'true'"
ASKED = {
    "versions of one model, by tag": ("model-versions", {"filter": "name = 'large' AND tags.team = 'b'", "max_results": 100}),
    "versions of one model, a page": ("model-versions", {"filter": "name = 'large'", "max_results": 100}),
    "all versions, by tag": ("model-versions", {"filter": "tags.team = 'b'", "max_results": 100}),
    "all versions, a page": ("model-versions", {"max_results": 100}),
    "all versions, by number": ("model-versions", {"order_by": "version_number DESC", "max_results": 100}),
    "models, as the client asks": ("registered-models", {"filter": NO_PROMPT, "max_results": 100}),
    "models, by tag": ("registered-models", {"filter": f"tags.team = 'b' AND {NO_PROMPT}", "max_results": 100}),
    "models, by name": ("registered-models", {"filter": f"name ILIKE 'M01%' AND {NO_PROMPT}", "max_results": 100}),
}


def models() -> Iterator[tuple[str, int]]:
    """Give the names of models, and how many versions each has."""
    yield "large", 5000
    yield from ((f"m{number:04d}", 5) for number in range(1000))


def fill_ours(folder: Path) -> None:
    rows = sqlite3.connect(folder / "store" / "stratal.db", timeout=60)
    for name, count in models():
        rows.execute(
            "insert into registry_model (name, folded, owner, next_number, epoch, at_ns) values (?,?,'x',?,0,?)",
            (name, name, count + 1, T0_MS * 10**6),
        )
        rows.execute("insert into mlflow_model values (?,?,'',?)", (name, name, T0_MS * 10**6))
        rows.execute("insert into mlflow_tag values (?,0,'team',?)", (name, "b" if hash_of(name) else "a"))
        for number in range(1, count + 1):
            at_ns = (T0_MS + number) * 10**6
            rows.execute(
                "insert into registry_version (model, number, digest, run, path, flavor, author, is_authenticated, at_ns)"
                " values (?,?,?,?,'m','mlflow','x',0,?)",
                (name, number, f"{name}-{number}", RUN, at_ns),
            )
            rows.execute("insert into registry_standing values (?,?,'Development',?,?)", (name, number, number, at_ns))
            rows.execute("insert into mlflow_version values (?,?,'',?,?,'','',0,?)", (name, number, f"runs:/{RUN}/m", RUN, at_ns))
            rows.execute("insert into mlflow_tag values (?,?,'team',?)", (name, number, "b" if number % 10 == 0 else "a"))
    rows.commit()
    rows.close()


def fill_theirs(folder: Path) -> None:
    rows = sqlite3.connect(folder / "mlflow" / "mlflow.db", timeout=60)
    for name, count in models():
        rows.execute(
            "insert into registered_models (name, creation_time, last_updated_time, description) values (?,?,?,'')", (name, T0_MS, T0_MS)
        )
        rows.execute("insert into registered_model_tags (key, value, name) values ('team',?,?)", ("b" if hash_of(name) else "a", name))
        for number in range(1, count + 1):
            rows.execute(
                "insert into model_versions (name, version, creation_time, last_updated_time, description, current_stage, source, run_id,"
                " status) values (?,?,?,?,'','None',?,?,'READY')",
                (name, number, T0_MS + number, T0_MS + number, f"runs:/{RUN}/m", RUN),
            )
            team = "b" if number % 10 == 0 else "a"
            rows.execute("insert into model_version_tags (key, value, name, version) values ('team',?,?,?)", (team, name, number))
    rows.commit()
    rows.close()


def hash_of(name: str) -> bool:
    """Give every seventh model the other tag."""
    return name[1:].isdigit() and int(name[1:]) % 7 == 0


def found(server: Server, what: str, asked: dict[str, object]) -> list[tuple[str, str]]:
    """Ask, and give what was found."""
    for _ in range(10):  # each worker of MLflow's drops its connection after its first answer
        try:
            answer = server.ask("GET", f"/api/2.0/mlflow/{what}/search?{urlencode(asked)}")
            break
        except http.client.RemoteDisconnected:
            server.http.close()
    return [(each["name"], each.get("version", "")) for each in answer[what.replace("-", "_")]]


def measure(server: Server, what: str, asked: dict[str, object]) -> float:
    """Seconds per search."""
    server.http.close()
    return seconds(lambda: [found(server, what, asked) for _ in range(AT_ONCE)]) / AT_ONCE


@contextlib.contextmanager
def both() -> Iterator[tuple[Server, Server]]:
    """Run both servers beside a block, over the same models."""
    python = environment("mlflow", MLFLOW)
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        store = open_store(folder / "store")
        run("bench", store=store).finish()  # what a Server asks for
        export_runs(folder / "mlflow", format="mlflow", store=store)
        store.close()
        serve = "import sys; from stratal.cli.app import main; sys.argv[0] = 'stratal'; main()"
        commands = {
            "ours": [sys.executable, "-c", serve, "server", "--store", str(folder / "store")],
            "peer": [python, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow/mlflow.db"],
        }
        servers = []
        for name, command in commands.items():
            port = free_port()
            servers.append(Server(name, [*command, "--port", str(port)], port, folder))
            stack.callback(servers[-1].close)
        fill_ours(folder)
        fill_theirs(folder)
        yield servers[0], servers[1]


def main() -> None:
    print(machine())
    with both() as (ours, peer):
        for name, (what, asked) in ASKED.items():
            assert found(ours, what, asked) == found(peer, what, asked), f"{name}: other answers"
            times = interleaved(ROUNDS, ours=lambda: measure(ours, what, asked), peer=lambda: measure(peer, what, asked))  # noqa: B023
            ratio = median_ratio(times["peer"], times["ours"])
            taken = f"{1000 * np.median(times['ours']):.0f} ms beside {1000 * np.median(times['peer']):.0f} ms"
            say(f"{name}: mlflow server / ours", f"{ratio:.1f} x ({taken})", ">= 1 x", ratio >= 1)


if __name__ == "__main__":
    main()
