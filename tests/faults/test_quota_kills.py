"""kill -9 of a server whose clients fill an experiment up to its quota, which is raised a little after each. Excludes limits of parts."""

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest
from crowds import is_ready, wait_until

from stratal.core.errors import StoreDown
from stratal.core.ids import new_id, to_bytes
from stratal.store.calling import Server
from stratal.store.files.disk import DiskBlobs
from stratal.store.journal import Writer, segments
from stratal.store.quotas.counting import count_anew, counted
from stratal.store.shipping import Shipper
from stratal.testing.ports import held_port
from stratal.testing.service_workloads import open_elsewhere
from stratal.testing.victims import Victims
from stratal.tracking.doctor import doctor
from stratal.tracking.facts import ARTIFACT, END, START, ArtifactFact, End, Start
from stratal.tracking.finding import find_runs
from stratal.tracking.quotas import UNLIMITED, quotas, set_quota
from stratal.tracking.reading import get_run
from stratal.tracking.store.quotas import sizes_said

KILLS = int(os.environ.get("STRATAL_TEST_QUOTA_KILLS", "4"))
# What there is room for at first, and how much more after each kill; bytes of a file; points of a run; runs of a machine that wait.
RUNS, FILES, MORE_RUNS, MORE_FILES, FILE_BYTES, POINTS, WAITING = 10, 4, 5, 2, 20_000, 5, 12


@pytest.fixture(scope="module")
def servers():
    stratal = ["testing.remote_workloads", "store.postgres", "store.migrating", "store.settling", "tracking.store.settling", "server.app"]
    with Victims([f"stratal.{name}" for name in stratal]) as running:
        yield running


class Machine(threading.Thread):
    """Makes runs, each by a writer of its own, with a file that no other has, and ships them."""

    def __init__(self, spool: Path, url: str, ended: threading.Event) -> None:
        super().__init__()
        (spool / "journal").mkdir(parents=True)
        self.spool, self.files, self.ended = spool, dict[str, bytes](), ended
        self._blobs, self._shipper = DiskBlobs(spool / "blobs"), Shipper(spool, Server(url, "tester"), keeps=False)

    def run(self) -> None:
        while not self.ended.is_set():
            if len(segments(self.spool / "journal")) < WAITING:
                self._log()
            self.ship()
            self.ended.wait(0.01)

    def ship(self) -> list[str] | None:
        """Ship what has room; give what is refused, None if the server is away."""
        try:
            self._shipper._held._next_s = 0.0  # in a hurry
            self._shipper.ship()
        except StoreDown:
            return None
        return self._shipper.done.refused

    def _log(self) -> None:
        id, writer, data = new_id(), Writer(self.spool / "journal"), os.urandom(FILE_BYTES)
        digest, run = self._blobs.put(data), to_bytes(id)
        writer.fact(run, 0, START, Start(experiment="churn"))
        writer.fact(run, 0, ARTIFACT, ArtifactFact(path="a.bin", digest=digest, size_bytes=len(data)))
        for step in range(POINTS):
            writer.log(run, 0, {"a": 1.0}, step)
        writer.fact(run, 0, END, End(status="finished"))
        writer.close()
        self.files[id] = data


class Commander(threading.Thread):
    """Starts runs by commands, and notes what was answered: 200, another status, 0 for nobody knows."""

    def __init__(self, number: int, url: str, ended: threading.Event) -> None:
        super().__init__()
        self.answers, self.ended, self._number, self._url = dict[str, int](), ended, number, url

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while not self.ended.is_set():
                name = f"c{self._number}-{len(self.answers)}"
                body = {"experiment": "churn", "start": {"experiment": "churn", "name": name}, "ttl_s": 60}
                self.answers[name] = 0
                with contextlib.suppress(httpx.TransportError):
                    self.answers[name] = http.post("/api/v1/tracking/start_leased", json=body).status_code
                self.ended.wait(0.05)


class Watch(threading.Thread):
    """Looks without a pause whether more is held than there is room for."""

    def __init__(self, place: str, folder: Path, ended: threading.Event) -> None:
        super().__init__()
        self.store, self.ended, self.wrong, self.looks = open_elsewhere(place, str(folder)), ended, list[str](), 0
        self.runs, self.size_bytes = RUNS, FILES * FILE_BYTES
        self.give_room()

    def give_room(self, runs: int = 0, files: int = 0) -> None:
        self.runs, self.size_bytes = self.runs + runs, self.size_bytes + files * FILE_BYTES
        set_quota("churn", most_runs=self.runs, most_bytes=self.size_bytes, store=self.store)

    def used(self) -> tuple[int, int]:
        [now] = quotas(store=self.store).used
        return now.runs, now.size_bytes

    def is_full(self) -> bool:
        return self.used() == (self.runs, self.size_bytes)

    def run(self) -> None:
        while not self.ended.wait(0.02):
            runs, size_bytes = self.used()
            self.looks += 1
            if runs > self.runs or size_bytes > self.size_bytes:
                self.wrong.append(f"{runs} of {self.runs} runs, {size_bytes} of {self.size_bytes} bytes")


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_server_that_is_killed_at_its_quota_never_exceeds_it_and_counts_what_is_there(
    database: str,
    request: pytest.FixtureRequest,
    servers: Victims,
    tmp_path: Path,
):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice, port, ended = random.Random(seed), held_port(), threading.Event()
    place = str(tmp_path / "team") if database == "sqlite" else f"{request.getfixturevalue('lent')()}&blobs={tmp_path}/files"
    url, elsewhere = f"http://127.0.0.1:{port}", "" if database == "sqlite" else str(tmp_path / "server")

    def start():
        server = servers.start("stratal.testing.remote_workloads:serve_until_killed", place, port, elsewhere)
        wait_until(lambda: is_ready(url), "the server is ready")
        return server

    watch = Watch(place, tmp_path / "watch", ended)
    senders = [Machine(tmp_path / f"machine{number}", url, ended) for number in range(2)]
    commanders = [Commander(number, url, ended) for number in range(2)]
    threads = [watch, *senders, *commanders]
    server = start()
    try:
        for each in threads:
            each.start()
        for _ in range(KILLS):
            goal = watch.runs - dice.randrange(MORE_RUNS)
            wait_until(lambda goal=goal: watch.used()[0] >= goal, "runs come")
            assert server.kill() == -signal.SIGKILL
            watch.give_room(MORE_RUNS, MORE_FILES)
            server = start()
        wait_until(watch.is_full, "all room is used")
        wait_until(lambda: all(422 in each.answers.values() for each in commanders), "a command is refused")
        ended.set()
        for each in threads:
            each.join()
        assert watch.wrong == [] and watch.looks > KILLS
        _check_what_is_there(watch, senders, commanders)
    finally:
        ended.set()
        for each in threads:
            each.join()
        server.kill()
        watch.store.close()


def _check_what_is_there(watch: Watch, senders: list[Machine], commanders: list[Commander]) -> None:
    store = watch.store
    assert watch.is_full() and _is_right(store)
    [check] = [check for check in doctor(store=store) if check.name == "quotas"]
    assert "recount" not in check.hint, check
    found = Counter(found.name for found in find_runs(experiment="churn", store=store, limit=10_000))
    answers = {name: status for each in commanders for name, status in each.answers.items()}
    print(
        f"{watch.used()} used, {watch.looks} looks, answers {Counter(answers.values())}, {sum(len(one.files) for one in senders)} shipped"
    )
    assert [name for name, status in answers.items() if status == 200 and found[name] != 1] == [], "what was acknowledged is there once"
    assert [name for name, status in answers.items() if status == 422 and name in found] == [], "what was refused is not"
    assert any(one.ship() for one in senders), "nothing that was shipped was refused: the test proves nothing"
    set_quota("churn", most_runs=UNLIMITED, most_bytes=UNLIMITED, store=store)
    for one in senders:
        wait_until(lambda one=one: one.ship() == [], "the rest is taken")
        assert segments(one.spool / "journal") == []
        for id, data in one.files.items():
            read = get_run(id, store=store)
            with store.snapshot() as snapshot:
                steps = snapshot.series(to_bytes(id), "a").steps.tolist()
            assert (read.status, steps, read.read_artifact("a.bin")) == ("finished", list(range(POINTS)), data)
    named = set(found) - {""}
    assert set(found.values()) - {found[""]} <= {1} and named <= set(answers), "nothing is there twice"
    assert watch.used()[0] == len(named) + sum(len(one.files) for one in senders) and _is_right(store)


def _is_right(store) -> bool:
    with store.query() as tx:
        return counted(tx) == count_anew(tx, sizes_said(tx))
