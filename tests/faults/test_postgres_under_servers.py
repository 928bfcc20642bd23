"""PostgreSQL crashes and comes back under a server with clients. Excludes processes that write to it themselves (test_postgres_faults)."""

import os
import random
import re
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from crowds import Crowd, wait_until

from stratal.testing.ports import held_port
from stratal.testing.postgres import PostgresServer
from stratal.testing.service_workloads import open_elsewhere
from stratal.testing.victims import Victims

RESTARTS = int(os.environ.get("STRATAL_TEST_RESTARTS", "3"))
# Seconds for which the server waits for its database, instead of 15: so that some are told to come again.
AWAY_S = 0.5


@pytest.fixture(scope="module")
def machines():
    stratal = ["testing.remote_workloads", "store.postgres", "store.migrating", "store.settling", "tracking.store.settling", "server.app"]
    uvicorn = ["protocols.http.httptools_impl", "lifespan.on", "loops.asyncio"]
    with Victims([f"stratal.{name}" for name in stratal] + [f"uvicorn.{name}" for name in uvicorn]) as running:
        yield running


@pytest.mark.slow
def test_postgresql_that_crashes_under_a_server_costs_its_clients_nothing(
    lent: Callable[[], str], machines: Victims, postgres_server: PostgresServer, tmp_path: Path
):
    place, port, dice = f"{lent()}&blobs={tmp_path}/files", held_port(), random.Random(5)
    database = urlsplit(place).path[1:]
    url = f"http://127.0.0.1:{port}"
    server = machines.start("stratal.testing.remote_workloads:serve_until_killed", place, port, str(tmp_path / "server"), AWAY_S)

    def shipments() -> int:
        return int(str(postgres_server.run_sql("select count(*) from shipment", database=database)[0][0]))

    try:
        with Crowd(machines, tmp_path, url) as crowd:
            wait_until(lambda: crowd.is_ready, "the server is ready")
            for _ in range(RESTARTS):
                crowd.wait_for_progress(shipments)
                postgres_server.stop("immediate")
                wait_until(lambda: crowd.is_ready is False, "the server says that it is not ready")
                before = crowd.answers.copy()
                if dice.random() < 0.7:
                    for who in ("command", "mlflow"):
                        told = (who, 503)
                        wait_until(lambda told=told, before=before: crowd.answers[told] > before[told], f"{who} is told to come again")
                postgres_server.start()
                wait_until(lambda: crowd.is_ready, "the server is ready again")
            crowd.wait_for_progress(shipments)
            crowd.end()
            assert not server.has_ended()
            store = open_elsewhere(place, str(tmp_path / "reader"))
            print(crowd.check(store))
            store.close()
            assert crowd.answers["command", 503] and crowd.answers["mlflow", 503], "nobody was told to come again: the test proves little"
        counted = httpx.get(f"{url}/metrics", timeout=60).text
        assert re.findall(r'stratal_requests_total\{.*status="5(?!03).* [1-9].*', counted) == []
    finally:
        assert server.kill() == -signal.SIGKILL
