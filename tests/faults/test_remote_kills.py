"""kill -9 of writers, uploaders, ingest servers and compactors, at random moments, all at once. Excludes bad networks.

`make test-long` makes it 1,000 kills. The seed is printed; the moments depend on the machine, too.
"""

import contextlib
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from stratal.core.errors import StoreDown
from stratal.core.ids import new_id, to_bytes
from stratal.store.calling import Server
from stratal.store.journal import segments
from stratal.store.shipping import Shipper
from stratal.store.store import Store
from stratal.testing.ports import held_port
from stratal.testing.remote_workloads import ARTIFACT_EVERY, BURST, artifact_bytes
from stratal.testing.victims import Victim, Victims
from stratal.testing.workloads import acknowledged_steps
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run

KILLS = int(os.environ.get("STRATAL_TEST_KILLS", "100"))
ROLES = ("writer", "writer", "writer", "uploader", "uploader", "uploader", "server", "compactor")
# Most kills wait, a little at most, until something was shipped since the last one: a start takes a tenth of a second and more. On a busy
# machine it takes seconds: where too little was shipped, they wait as long as it takes; the limit only keeps a broken build from hanging.
LITTLE_S, LONGEST_S = 0.5, 60.0


@pytest.fixture(scope="module")
def remote_victims():
    stratal = ["testing.remote_workloads", "store.migrating", "store.settling", "tracking.store.settling"]
    uvicorn = ["protocols.http.httptools_impl", "lifespan.on", "loops.asyncio"]
    imports = [f"stratal.{name}" for name in stratal] + [f"uvicorn.{name}" for name in uvicorn]
    with Victims(imports) as running:
        yield running


class Scene:
    """A spool, a served store, and the victims of each role."""

    def __init__(self, victims: Victims, folder: Path, dice: random.Random) -> None:
        self.victims, self.folder, self.dice = victims, folder, dice
        self.spool, self.team = folder / "spool", folder / "team"
        (self.spool / "journal").mkdir(parents=True)
        self.port = held_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.running: dict[str, Victim] = {}
        self.runs: dict[str, Path] = {}
        self.shipments = 0
        self.fills_the_spool = True

    def start(self, role: str) -> None:
        if role == "writer":
            id = new_id()
            self.runs[id] = self.folder / f"told-{id}"
            self.fills_the_spool = self.dice.random() >= 0.2  # the server's store has writers of its own
            folder = self.spool if self.fills_the_spool else self.team
            self._start(role, "remote_workloads:log_bursts_until_killed", str(folder), str(self.runs[id]), id)
        elif role == "uploader":
            self._start(role, "remote_workloads:ship_until_killed", str(self.spool), self.url)
        elif role == "server":
            self._start(role, "remote_workloads:serve_until_killed", str(self.team), self.port)
        else:
            self._start(role, "remote_workloads:compact_at_times_until_killed", str(self.team))

    def kill(self, role: str) -> None:
        assert self.running.pop(role).kill() == -signal.SIGKILL, f"the {role} had ended by itself"

    def end(self) -> None:
        """Kill who is left, also after a failure: the zygote waits for all of them."""
        while self.running:
            self.running.popitem()[1].kill()

    def _start(self, role: str, function: str, *arguments: str | int) -> None:
        self.running[role] = self.victims.start(f"stratal.testing.{function}", *arguments)

    def wait_for_a_shipment(self, longest_s: float = LITTLE_S) -> None:
        before, ends_s = self.shipped(), time.monotonic() + longest_s
        while time.monotonic() < ends_s and self.shipped() == before:
            time.sleep(0.005)

    def shipped(self) -> int:
        with contextlib.closing(sqlite3.connect(self.team / "stratal.db")) as connection:
            return int(connection.execute("select count(*) from shipment").fetchone()[0])

    def check(self) -> int:
        """Kill everybody, ship the rest, and hold what arrived against what was acknowledged; give the number of rows."""
        for role in list(self.running):
            self.kill(role)
        self.start("server")
        self.ship_the_rest()
        store, total = open_store(self.team), 0
        for id, told in self.runs.items():
            bursts = acknowledged_steps(told)
            total += bursts * BURST
            if bursts:
                check_run(store, id, bursts)
        assert segments(self.spool / "journal") == [], "all writers are dead, and all of it is there"
        assert store.database.connect().execute("pragma integrity_check").fetchone() == ("ok",)
        assert store.database.connect().execute("select count(*) from damage").fetchone() == (0,)
        self.shipments = store.database.connect().execute("select count(*) from shipment").fetchone()[0]
        store.close()
        return total

    def ship_the_rest(self) -> None:
        shipper = Shipper(self.spool, Server(self.url, "tester"), keeps=False)
        for _ in range(1000):
            try:
                shipper.ship()
                assert shipper.done.refused == []
                return
            except StoreDown:
                time.sleep(0.01)  # the server is starting
        raise AssertionError("the server does not start")


def check_run(store: Store, id: str, bursts: int, *, has_files: bool = True) -> None:
    with store.snapshot() as snapshot:
        stepped, counted = (snapshot.series(to_bytes(id), name) for name in ("stepped", "counted"))
    for points in (stepped, counted):
        n = points.n
        assert points.steps.tolist() == list(range(n)), "lost, doubled or out of order"
        assert points.values.tolist() == [float(step) for step in range(n)], "another order than that of logging"
        assert bursts * BURST <= n <= (bursts + 1) * BURST, "acknowledged rows are missing"
    read = get_run(id, store=store)
    notes = [note.text for note in read.notes]
    expected = [str(number) for number in range(0, bursts, ARTIFACT_EVERY)]
    assert notes[: len(expected)] == expected
    assert len(notes) - len(expected) in (0, 1)
    for number in range(0, bursts if has_files else 0, ARTIFACT_EVERY):
        assert read.read_artifact(f"a{number}") == artifact_bytes(number)


@pytest.mark.slow
def test_kills_of_anybody_at_any_moment_lose_and_double_nothing(remote_victims: Victims, tmp_path: Path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice, total = random.Random(seed), 0
    scene = Scene(remote_victims, tmp_path, dice)
    open_store(scene.team).settle()
    try:
        for number in range(KILLS):
            for role in set(ROLES) - set(scene.running):
                scene.start(role)
            role = dice.choice(ROLES)
            if scene.shipped() < number // 2 + 5 and scene.fills_the_spool:
                scene.wait_for_a_shipment(LONGEST_S)
            elif dice.random() < 0.7:
                scene.wait_for_a_shipment()
            time.sleep(dice.uniform(0.001, 0.03))
            scene.kill(role)
            if number % 50 == 49 or number == KILLS - 1:
                total = scene.check()
    finally:
        scene.end()
    print(f"{KILLS} kills, {len(scene.runs)} runs, {total} acknowledged rows of two points, {scene.shipments} shipments")
    assert total > 10 * KILLS, "the writers hardly came to log: the test proves nothing"
    assert scene.shipments > KILLS // 2, "the uploaders hardly came to ship: the test proves nothing"
