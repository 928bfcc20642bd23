"""The disk of a server is full while clients log, command and send files. Excludes stores without a server (test_full_disk), and what a
sender sees of a small disk (test_bad_networks)."""

import contextlib
import os
import signal
import socket
from pathlib import Path

import httpx
import pytest
from crowds import Crowd, wait_until
from disks import SmallDisk
from sqlalchemy import func, select

from stratal.core.people import Identity
from stratal.store.tables import shipment
from stratal.testing.victims import Victims
from stratal.tracking.opening import open_store

FULL = int(os.environ.get("STRATAL_TEST_FULL", "1"))  # times


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.slow
def test_a_server_whose_disk_is_full_says_so_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with SmallDisk(tmp_path / "disk", "128m"), Victims(["stratal.testing.remote_workloads", "stratal.tracking.store.settling"]) as machines:
        team, filler = tmp_path / "disk/team", tmp_path / "disk/filler"
        store = open_store(team)
        store.settle()

        def shipments() -> int:
            with store.database.read(Identity(name="tester")) as tx:
                return int(tx.value(select(func.count()).select_from(shipment)))

        server = machines.start("stratal.testing.remote_workloads:serve_until_killed", str(team), port)
        url = f"http://127.0.0.1:{port}"
        try:
            with Crowd(machines, tmp_path, url, machines=1, commanders=2, carriers=1) as crowd:
                wait_until(lambda: crowd.files, "files come")
                for _ in range(FULL):
                    crowd.wait_for_progress(shipments)
                    before = dict(crowd.answers)
                    for who in ("command", "mlflow", "carrier"):

                        def is_told(who: str = who, before: dict[tuple[str, int], int] = before) -> bool:
                            fill(filler)  # what was deleted meanwhile has made room
                            return crowd.answers[who, 503] > before.get((who, 503), 0) + 2

                        wait_until(is_told, f"{who} is told that there is no room")
                    arrived = shipments()
                    said = httpx.post(
                        f"{url}/api/v1/tracking/start_leased", json={"experiment": "e", "start": {"experiment": "e"}, "ttl_s": 9}
                    )
                    assert (said.status_code, said.json()["error"]) == (503, "store-down") and "disk" in said.text
                    asked = httpx.post(f"{url}/api/v1/registry/models", json={})  # what was logged before it may have no room to be settled
                    assert asked.status_code in (200, 503)
                    assert httpx.get(f"{url}/ready").status_code == httpx.get(f"{url}/health").status_code == 200
                    filler.unlink()
                    crowd.wait_for_progress(shipments)
                    assert shipments() > arrived
                crowd.end()
                assert not server.has_ended()
                print(crowd.check(store))
        finally:
            assert server.kill() == -signal.SIGKILL
        store.close()
