"""The process beside the server that settles and tells: asked, killed, left by a server that was killed. Excludes what is told to whom."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from stratal.core.ids import to_bytes
from stratal.core.settings import Settings
from stratal.server import keeping as keeping_module
from stratal.server.keeping import Keeper, keeping
from stratal.store.settling import LITTLE_BYTES
from stratal.store.store import Store
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

LONGEST_S = 60
SECRET = "k" * 43
SERVE = "from stratal.cli.app import main; main(['server', '--port', '0', '--no-log'])"


def wait_until(is_so: Callable[[], object]) -> None:
    ends = time.monotonic() + LONGEST_S
    while not is_so():
        assert time.monotonic() < ends


def log_much(store: Store, id: str) -> int:
    """Write more than a process settles by itself; give how many points."""
    count = LITTLE_BYTES // 20
    for step in range(count):
        store.writer.log(to_bytes(id), 0, {"loss": step * 0.5}, step)
    return count


@pytest.fixture
def place(new_place):
    opened = open_store(new_place("kept"), settings=Settings(user="tester", token=SECRET, capture=False))
    yield opened
    opened.close()


def test_what_is_much_is_settled_by_the_process_beside(place):
    with run("e", store=place) as logging:
        pass
    place.settle()
    with keeping(place) as keeper:
        wait_until(lambda: keeper.pid)
        count = log_much(place, logging.id)
        assert keeper.settle() and place.settler.waiting_bytes() == 0
        assert len(get_run(logging.id, store=place).series("loss").steps) == count
        mine = psutil.Process(keeper.pid)
        assert SECRET not in " ".join(mine.cmdline()), "who lists processes must not read it"
        assert mine.nice() > psutil.Process().nice()


def test_it_is_started_again_when_it_was_killed_and_queries_do_without(place):
    with run("e", store=place) as logging:
        pass
    with keeping(place) as keeper:
        wait_until(lambda: keeper.pid)
        first = keeper.pid
        os.kill(first, signal.SIGKILL)
        count = log_much(place, logging.id)
        assert len(get_run(logging.id, store=place).series("loss").steps) == count
        wait_until(lambda: keeper.pid not in (None, first))
        assert keeper.settle()


def test_who_waits_for_it_goes_on_when_it_is_killed(place):
    with keeping(place) as keeper:
        wait_until(lambda: keeper.pid)
        child = psutil.Process(keeper.pid)
        child.suspend()  # it does not answer
        try:
            answers = []
            asking = threading.Thread(target=lambda: answers.append(keeper.settle()))
            asking.start()
        finally:
            child.kill()
        asking.join(LONGEST_S)
        assert answers == [False]


def test_who_asks_is_told_that_it_could_not_settle(store):
    with run("e", store=store) as logging, keeping(store) as keeper:
        wait_until(lambda: keeper.pid)
        first = keeper.pid
        with sqlite3.connect(store.folder / "stratal.db", isolation_level=None) as beside:
            beside.execute("alter table segment rename to segment_away")
            log_much(store, logging.id)
            assert not keeper.settle()
            beside.execute("alter table segment_away rename to segment")
        assert keeper.settle() and keeper.pid == first
        assert store.settler.waiting_bytes() == 0
    beside.close()


def test_without_it_nobody_waits(place):
    assert not Keeper(place).settle()


@pytest.mark.parametrize("told", [0.0, 0.5, 1.0], ids=["nothing", "half of it", "what it keeps"])
def test_it_ends_quietly_when_its_server_was_killed_before_it_was_ready(place, told: float):
    order = msgspec.json.encode(Keeper(place)._order, enc_hook=str) + b"\n"
    boot = keeping_module._BOOT.format(path=[str(Path(each).absolute()) for each in sys.path])
    process = subprocess.Popen([sys.executable, "-P", "-c", boot], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    _, said = process.communicate(order[: int(told * len(order))], timeout=LONGEST_S)
    assert (process.returncode, said) == (0, b"")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_it_ends_with_its_server(tmp_path: Path, how):
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE], env={**os.environ, "STRATAL_STORE": str(tmp_path / "store")}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert "listening" in server.stdout.readline()
        parent = psutil.Process(server.pid)
        wait_until(parent.children)
        children = parent.children()
        os.kill(server.pid, how)
        server.wait(LONGEST_S)
        assert psutil.wait_procs(children, timeout=LONGEST_S)[1] == []
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
