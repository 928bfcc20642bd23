"""Several servers over one PostgreSQL and one bucket, behind what gives each request to the next of them; some are killed.
Excludes points by MLflow's protocol, which a server keeps in a journal of its own for a second."""

import os
import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from crowds import Crowd, is_ready, wait_until

from stratal.core.people import Identity
from stratal.store.events import events_since
from stratal.testing.ports import held_port
from stratal.testing.postgres import PostgresServer
from stratal.testing.proxies import bad_network
from stratal.testing.service_workloads import open_elsewhere
from stratal.testing.victims import Victim, Victims

KILLS = int(os.environ.get("STRATAL_TEST_SERVER_KILLS", "2"))
SERVERS = 3


@pytest.fixture
def machines(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What starts them, where the bucket can be reached."""
    monkeypatch.setenv("STRATAL_CACHE", str(tmp_path / "cache"))
    stratal = [
        "testing.remote_workloads",
        "store.postgres",
        "store.files.bucket",
        "store.migrating",
        "store.settling",
        "tracking.store.settling",
    ]
    with Victims([f"stratal.{name}" for name in stratal]) as running:
        yield running


class Servers:
    """Servers over one store, each on a machine and a port of its own."""

    def __init__(self, victims: Victims, place: str, folder: Path) -> None:
        self._victims, self._place, self._folder = victims, place, folder
        self._ports = [held_port() for _ in range(SERVERS)]
        self.urls = [f"http://127.0.0.1:{port}" for port in self._ports]
        self._running: dict[int, Victim] = {}

    def __enter__(self) -> "Servers":
        for number in range(SERVERS):
            self.start(number)
            self.wait_for(number)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        for number in list(self._running):
            self.kill(number)

    def start(self, number: int) -> None:
        machine = str(self._folder / f"server{number}")
        function = "stratal.testing.remote_workloads:serve_until_killed"
        self._running[number] = self._victims.start(function, self._place, self._ports[number], machine)

    def wait_for(self, number: int) -> None:
        wait_until(lambda: is_ready(self.urls[number]), "a server is ready")

    def kill(self, number: int) -> None:
        assert self._running.pop(number).kill() == -signal.SIGKILL, "it had ended by itself"


class Reader:
    """Follows all events of one server, across its deaths."""

    def __init__(self, url: str) -> None:
        self.seen: list[int] = []
        self.cuts = 0
        self._url, self._has_ended = url, threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def end(self) -> None:
        self._has_ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._has_ended.is_set():
            try:
                since = self.seen[-1] if self.seen else 0
                with httpx.stream("GET", f"{self._url}/api/v1/events?since={since}", timeout=30) as answer:
                    for line in answer.iter_lines():
                        if line.startswith("id: "):  # of an event, or of a sign of life
                            id = int(line[4:])
                        elif line.startswith("data: "):
                            self.seen.append(id)
            except httpx.TransportError:
                self.cuts += 1
                self._has_ended.wait(0.05)


@pytest.mark.slow
def test_several_servers_serve_as_one_and_may_be_killed(
    bucket: str, lent: Callable[[], str], machines: Victims, postgres_server: PostgresServer, tmp_path: Path
):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    place, dice = f"{lent()}&blobs={bucket}", random.Random(seed)
    database = urlsplit(place).path[1:]

    def shipments() -> int:
        return int(str(postgres_server.run_sql("select count(*) from shipment", database=database)[0][0]))

    with Servers(machines, place, tmp_path) as servers, bad_network(" ".join(servers.urls)) as (url, _):
        readers = [Reader(each) for each in servers.urls]
        try:
            with Crowd(machines, tmp_path, url, machines=1, commanders=2, has_batches=False) as crowd:
                for _ in range(KILLS):
                    crowd.wait_for_progress(shipments)
                    number = dice.randrange(SERVERS)
                    servers.kill(number)
                    crowd.wait_for_progress(shipments)
                    servers.start(number)
                    servers.wait_for(number)
                crowd.wait_for_progress(shipments)
                crowd.end()
                store = open_elsewhere(place, str(tmp_path / "reader"))
                print(crowd.check(store))
                with store.database.read(Identity(name="tester")) as tx:
                    all_of_them = [event.seq for event in events_since(tx, 0, limit=10**6)]
                for reader in readers:
                    wait_until(
                        lambda reader=reader: reader.seen and reader.seen[-1] >= all_of_them[-1], "a reader of each server has all events"
                    )
                    assert reader.seen[: len(all_of_them)] == all_of_them
                print(f"{len(all_of_them)} events, {[reader.cuts for reader in readers]} cuts of their readers")
                store.close()
        finally:
            servers.end()  # which ends what they stream
            for reader in readers:
                reader.end()


@pytest.mark.slow
def test_what_comes_to_all_servers_at_once_is_done_once(bucket: str, lent: Callable[[], str], machines: Victims, tmp_path: Path):
    """A file and the version that it makes, from two clients of each server."""
    with Servers(machines, f"{lent()}&blobs={bucket}", tmp_path) as servers, ThreadPoolExecutor(2 * SERVERS) as threads:

        def add(url: str, number: int) -> int:
            data = b"content %d" % number
            digest = sha256(data).hexdigest()
            place, headers = f"{url}/ingest/v1/blobs/{digest}", {"stratal-offset": "0", "stratal-size": str(len(data))}
            while (sent := httpx.put(place, content=data, headers=headers, timeout=60)).status_code == 409:
                assert sent.json()["error"] == "conflict", "another client of the same server sends it"
            assert sent.status_code == 200, sent.text
            said = {"name": "churn", "digest": digest, "rows": 1, "columns": [], "content": digest, "profile": digest}
            added = httpx.post(f"{url}/api/v1/data/add_version", json=said, timeout=60)
            assert added.status_code == 200, added.text
            return int(added.json()["version"])

        for number in range(5):
            assert set(threads.map(add, servers.urls * 2, [number] * 2 * SERVERS)) == {number + 1}
