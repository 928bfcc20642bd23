"""How processes end while they log, and what odd worlds they live in: signals, os._exit, tasks, clocks. Excludes kill -9 (test_kills)."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from stratal.core.clock import SECOND_NS
from stratal.store import journal
from stratal.store.store import Store
from stratal.testing.victims import Victim, Victims
from stratal.tracking import runs
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


def _interrupted(victims: Victims, store: Store, told: Path, how: int) -> tuple[str, list[int]]:
    """Let a training run until it has acknowledged some steps, send the signal, and give its id and the acknowledged steps."""
    victim: Victim = victims.start("stratal.testing.workloads:train_in_a_block", store.url, str(told))
    while not told.exists() or told.read_text().count("\n") < 20:
        assert not victim.has_ended()
    victim.kill(how)
    id, *steps = told.read_text().splitlines()
    return id, [int(step) for step in steps]


def test_sigterm_loses_nothing_that_was_acknowledged_and_the_run_is_lost(victims: Victims, store: Store, tmp_path: Path):
    id, steps = _interrupted(victims, store, tmp_path / "told", signal.SIGTERM)
    read = get_run(id, store=store)
    assert read.status == "lost"
    assert read.series("m").steps.tolist()[: len(steps)] == steps


def test_sigint_in_a_block_stops_the_run(victims: Victims, store: Store, tmp_path: Path):
    id, steps = _interrupted(victims, store, tmp_path / "told", signal.SIGINT)
    read = get_run(id, store=store)
    assert (read.status, read.error) == ("stopped", "KeyboardInterrupt")
    assert read.series("m").steps.tolist()[: len(steps)] == steps


def test_a_process_that_leaves_without_clean_up_loses_nothing(victims: Victims, store: Store, tmp_path: Path):
    victim = victims.start("stratal.testing.workloads:log_and_leave_at_once", store.url, str(tmp_path / "told"), 50)
    assert victim.wait() == 3
    read = get_run((tmp_path / "told").read_text(), store=store)
    assert (read.status, read.metrics) == ("lost", {"m": 49.0})


def test_a_process_that_ends_normally_ends_its_open_runs(store: Store):
    opened = run("e", store=store)
    runs._end_open_runs()
    assert get_run(opened.id, store=store).status == "finished"


def test_tasks_that_run_side_by_side_log_each_to_its_own_run(store: Store):
    use_store(store)

    async def train(number: int) -> str:
        with run("e", name=str(number)) as mine:
            for step in range(20):
                runs.log({"m": float(number)}, step=step)
                await asyncio.sleep(0)
        return mine.id

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(train(number) for number in range(5)))

    for number, id in enumerate(asyncio.run(all_of_them())):
        read = get_run(id, store=store)
        assert read.name == str(number) and read.parent is None
        assert read.series("m").values.tolist() == [float(number)] * 20


def test_a_restarted_notebook_goes_on_where_it_was(victims: Victims, store: Store, tmp_path: Path):
    """The kernel is killed in the middle of a cell that has no block; the new one resumes by id, and steps go on."""
    victim = victims.start("stratal.testing.workloads:log_and_leave_at_once", store.url, str(tmp_path / "told"), 10)
    victim.wait()
    going_on = run(resume=(tmp_path / "told").read_text(), store=store)
    going_on.log({"m": 10.0})
    read = get_run(going_on.id, store=store)
    assert (read.status, read.series("m").steps.tolist()) == ("running", list(range(11)))
    assert read.record.epoch == 1, "what a kernel that is not quite dead still writes is told apart"


def test_a_clock_that_is_set_back_does_not_undo_what_is_said_later(store: Store, monkeypatch: pytest.MonkeyPatch):
    opened = run("e", params={"lr": 0.1}, tags={"state": "early"}, store=store)
    opened.log({"m": 0.0}, step=0)
    whole = time.time_ns
    with monkeypatch.context() as patched:
        patched.setattr(journal.time, "time_ns", lambda: whole() - 3600 * SECOND_NS)
        opened.log_params({"lr": 0.2})
        opened.set_tags({"state": "late"})
        opened.log({"m": 1.0}, step=1)
        opened.finish()
    read = get_run(opened.id, store=store)
    assert (read.params, read.tags, read.metrics, read.status) == ({"lr": 0.2}, {"state": "late"}, {"m": 1.0}, "finished")
    assert read.duration_s is not None and read.duration_s >= 0
    assert store.database.connect().execute("select txt from param").fetchall() == [("0.2",)]


def test_a_child_that_leaves_at_once_does_not_end_the_run_of_its_parent(store: Store):
    opened = run("e", store=store)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert get_run(opened.id, store=store).status == "running"
