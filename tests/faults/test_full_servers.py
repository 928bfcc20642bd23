"""A disk of a server is full while clients log, command and send files. Excludes stores without a server (test_full_disk), and what a
sender sees of a small disk (test_bad_networks)."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from crowds import Crowd, wait_until
from disks import SmallDisk
from sqlalchemy import func, select

from stratal.core.people import Identity
from stratal.core.settings import load_settings
from stratal.store.store import Store
from stratal.store.tables import shipment
from stratal.testing.ports import held_port
from stratal.testing.postgres import PostgresServer
from stratal.testing.service_workloads import open_elsewhere
from stratal.testing.victims import Victims
from stratal.tracking.opening import open_store

FULL = int(os.environ.get("STRATAL_TEST_FULL", "1"))  # times
_IMPORTS = ["stratal.testing.remote_workloads", "stratal.store.postgres", "stratal.tracking.store.settling"]


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@dataclass(frozen=True)
class Scene:
    """A store of which something lies on a small disk. told: who has no room when that is full; machine: the server's, over a database."""

    store: Store
    place: str
    filler: Path
    told: tuple[str, ...]
    machine: str = ""

    def shipments(self) -> int:
        with self.store.database.read(Identity(name="tester")) as tx:
            return int(tx.value(select(func.count()).select_from(shipment)))


@pytest.fixture(params=["all of it", "files", "database"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """What lies on the small disk: a store in a folder, its files alone, or the tables of PostgreSQL."""
    if request.param == "database":
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        small = postgres.folder / "small"  # where its user comes
        with SmallDisk(small, "96m"):
            (small / "tables").mkdir()
            with postgres.database_on(small / "tables") as name:
                place = f"{postgres.url(name)}&blobs={tmp_path}/files"
                store = open_elsewhere(place, str(tmp_path / "reader"))
                store.settle()
                yield Scene(store, place, small / "filler", ("command",), str(tmp_path / "server"))
                store.close()
        small.rmdir()
        return
    small, has_all = tmp_path / "disk", request.param == "all of it"
    with SmallDisk(small, "128m"):
        team = (small if has_all else tmp_path) / "team"
        store = open_store(team, settings=load_settings(environ={} if has_all else {"STRATAL_BLOBS": str(small / "files")}))
        store.settle()
        yield Scene(store, str(team), small / "filler", ("command", "mlflow", "carrier") if has_all else ("carrier",))
        store.close()


@pytest.mark.slow
def test_a_server_whose_disk_is_full_says_so_loses_nothing_and_goes_on_when_there_is_room(scene: Scene, tmp_path: Path):
    port = held_port()
    url = f"http://127.0.0.1:{port}"
    with Victims(_IMPORTS) as machines:
        server = machines.start("stratal.testing.remote_workloads:serve_until_killed", scene.place, port, scene.machine)
        try:
            with Crowd(machines, tmp_path, url, machines=1, commanders=2, carriers=1) as crowd:
                crowd.wait_until(lambda: crowd.files, "files come")
                for _ in range(FULL):
                    crowd.wait_for_progress(scene.shipments)
                    fill_until_told(scene, crowd)
                    arrived = scene.shipments()
                    if "command" in scene.told:
                        said = refusal_of_a_command(scene, url)
                        assert said["error"] == "store-down" and ("room" in said["hint"] or "disk" in said["hint"])
                    else:
                        crowd.wait_for_progress(scene.shipments)  # what needs no file goes on
                    with httpx.Client(base_url=url, timeout=60) as http:
                        asked = http.post("/api/v1/registry/models", json={})  # what was logged before it may have no room to be settled
                        assert asked.status_code in (200, 503)
                        assert http.get("/ready").status_code == http.get("/health").status_code == 200
                    scene.filler.unlink()
                    carried = len(crowd.files)
                    crowd.wait_for_progress(scene.shipments)
                    crowd.wait_until(lambda carried=carried: len(crowd.files) > carried, "files come again")
                    assert scene.shipments() > arrived
                crowd.end()
                assert not server.has_ended()
                print(crowd.check(scene.store))
        finally:
            assert server.kill() == -signal.SIGKILL


def fill_until_told(scene: Scene, crowd: Crowd) -> None:
    """Fill the disk until each who needs room on it is told that there is none."""
    before = dict(crowd.answers)
    for who in scene.told:

        def is_told(who: str = who) -> bool:
            fill(scene.filler)  # what was deleted meanwhile has made room
            return crowd.answers[who, 503] > before.get((who, 503), 0) + 2

        wait_until(is_told, f"{who} is told that there is no room")


def refusal_of_a_command(scene: Scene, url: str) -> dict[str, str]:
    """Command until it is refused, which may need some: a page of a table can have room for a row."""
    said: list[dict[str, str]] = []

    def is_refused() -> bool:
        fill(scene.filler)
        body = {"experiment": "e", "start": {"experiment": "e"}, "ttl_s": 9}
        answer = httpx.post(f"{url}/api/v1/tracking/start_leased", json=body, timeout=60)
        assert answer.status_code in (200, 503)
        said.extend([answer.json()] * (answer.status_code == 503))
        return bool(said)

    wait_until(is_refused, "a command is refused")
    return said[0]
