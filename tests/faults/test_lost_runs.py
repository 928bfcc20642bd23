"""Runs whose process was killed: lost for whoever looks, alive again when somebody goes on with them. Excludes what they logged."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from stratal.cli.app import main
from stratal.core.clock import SECOND_NS
from stratal.core.ids import new_id
from stratal.store.store import Store
from stratal.testing.victims import Victim, Victims
from stratal.testing.workloads import acknowledged_steps
from stratal.tracking.finding import find_runs
from stratal.tracking.forking import fork
from stratal.tracking.leased import claim_leased
from stratal.tracking.opening import open_store, use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


class Later:
    """A clock that is ahead."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead_ns = int(ahead_s * SECOND_NS)

    def now_ns(self) -> int:
        import time

        return time.time_ns() + self._ahead_ns

    def monotonic_s(self) -> float:
        return 0.0


def _wait_for(victim: Victim, told: Path) -> None:
    while not told.exists():
        assert not victim.has_ended()


def _killed_writer(victims: Victims, store: Store, tmp_path: Path) -> str:
    id, told = new_id(), tmp_path / "told"
    victim = victims.start("stratal.testing.workloads:log_until_killed", store.url, str(told), id)
    while acknowledged_steps(told) < 3:
        assert not victim.has_ended()
    assert get_run(id, store=store).status == "running"
    victim.kill()
    return id


def _status(store: Store, id: str) -> str:
    """As Python and a search see it, which must agree."""
    status = get_run(id, store=store).status
    assert [found.id for found in find_runs(f"status = '{status}' and id = '{id}'", store=store)] == [id]
    return status


def test_a_run_of_a_killed_process_is_lost_for_everybody_who_looks(
    victims: Victims, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    id = _killed_writer(victims, store, tmp_path)
    assert _status(store, id) == "lost"
    use_store(store)
    for words in (["show", id, "--json"], ["runs", "-q", "status = 'lost'", "--json"]):
        with pytest.raises(SystemExit):
            main(words)
        shown = json.loads(capsys.readouterr().out)
        assert (shown if isinstance(shown, dict) else shown[0])["status"] == "lost"


def test_a_lost_run_is_revived_by_another_process_and_lost_again_with_it(victims: Victims, store: Store, tmp_path: Path):
    id, told = _killed_writer(victims, store, tmp_path), tmp_path / "resumed"
    victim = victims.start("stratal.testing.workloads:resume_and_wait", store.url, id, str(told))
    _wait_for(victim, told)
    assert _status(store, id) == "running", "before it has logged anything"
    victim.kill()
    assert _status(store, id) == "lost"
    with run(resume=id, store=store) as going_on:
        assert _status(store, id) == "running"
        assert going_on.epoch == 2
    assert _status(store, id) == "finished"


def test_a_run_lives_as_long_as_one_of_its_processes(victims: Victims, store: Store, tmp_path: Path):
    opened, told = run("e", store=store), tmp_path / "joined"
    victim = victims.start("stratal.testing.workloads:resume_and_wait", store.url, opened.id, str(told))
    _wait_for(victim, told)
    assert get_run(opened.id, store=store).record.epoch == 0, "a run that is alive is joined, not taken over"
    opened.leave()
    store.writer.close()
    other = open_store(store.url)
    assert _status(other, opened.id) == "running"
    victim.kill()
    assert _status(other, opened.id) == "lost"
    other.close()


def test_a_child_goes_on_with_the_run_of_its_parent(store: Store):
    opened = run("e", store=store)
    opened.log({"m": 0.0}, step=0)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            with run(resume=opened.id, store=store) as going_on:
                going_on.log({"m": 1.0}, step=1)
            os._exit(0)
        finally:
            sys.stderr.flush()
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    read = get_run(opened.id, store=store)
    assert (read.status, read.metrics) == ("finished", {"m": 1.0})


def test_a_leased_run_is_lost_when_its_lease_ran_out_and_revived_by_a_claim(victims: Victims, store: Store, tmp_path: Path):
    told = tmp_path / "id"
    victim = victims.start("stratal.testing.workloads:hold_a_lease_and_wait", store.url, str(told), 100)
    _wait_for(victim, told)
    id = told.read_text()
    victim.kill()
    assert _status(store, id) == "running", "its lease still runs"
    later = open_store(store.url, clock=Later(101))
    assert _status(later, id) == "lost"
    with claim_leased(id, store=later):
        assert _status(later, id) == "running"
    assert _status(later, id) == "finished"
    later.close()


def test_a_fork_that_has_logged_nothing_yet_is_not_lost(store: Store, tmp_path: Path):
    with run("e", store=store) as first:
        first.log({"m": 1.0}, step=0)
    store.writer.close()
    going_on = first.fork(step=1)
    assert _status(store, going_on.id) == "running"
    going_on.finish()
    assert fork(first.id, step=1, store=store).status == "stopped"
