"""Pipelines whose processes are killed: coordinators at random moments, workers in the middle, zombies. Real processes and signals."""

import random
import signal
import time
from collections import Counter

import pytest
from pipeline_victims import ThreadWorkers, chains, dies_once, left, waiting

from stratal.core.errors import Conflict, StaleLease
from stratal.pipelines import pipeline
from stratal.pipelines.payloads import decode
from stratal.pipelines.running import StepFailed, take_over
from stratal.pipelines.store import PipelineStore
from stratal.tracking.facts import Start
from stratal.tracking.reading import get_run
from stratal.tracking.store import runs as run_rows

five_here_and_two_there = pytest.mark.parametrize(
    ("seen", "seed"), [*(("here", seed) for seed in range(5)), *(("over http", seed) for seed in range(2))], indirect=["seen"]
)
LENGTH = 5
PATHS = 2 * LENGTH + 1


def the_run(store):
    """Give the id of the newest pipeline run, None if its start was not recorded."""
    found = PipelineStore(store).recent()
    return found[0] if found else None


def expected(length=LENGTH):
    return [length, 1000 + length]


def check_whole(store, run, trace, traced_when_recorded, kills):
    """The laws: the value is right; one end per step is recorded; what was recorded is not run again; nothing else is lost."""
    rows = PipelineStore(store).steps(run=run)
    finished = Counter(row.path for row in rows if row.state == "finished")
    assert set(finished.values()) == {1}
    assert len(finished) == PATHS
    assert {row.state for row in rows} <= {"finished", "lost"}
    bodies = Counter(left(trace))
    for name, count in traced_when_recorded.items():
        assert bodies[name] == count, f"{name} was recorded, and ran again"
    assert len(bodies) == PATHS
    assert all(1 <= count <= 1 + kills for count in bodies.values())
    assert all(get_run(row.step_run, store=store).status == row.state for row in rows)
    assert get_run(run, store=store).status == "finished"


def recorded_traces(store, run, trace):
    """Give how often the bodies of steps whose end is recorded have run so far."""
    if run is None:
        return {}
    bodies = Counter(left(trace))
    numbers = [
        str(number_of(row)) for row in PipelineStore(store).steps(run=run) if row.state == "finished" and row.path.startswith("link")
    ]
    return {name: bodies[name] for name in numbers}


def number_of(row):
    """Give the number of a link, from its output: it lies in the row."""
    return decode(row.output, None) - 1


class Rounds:
    """One run, killed and resumed; after each kill, recorded steps are seen not to have run again."""

    def __init__(self, store, trace):
        self.store, self.trace = store, trace
        self.run, self.kills, self.recorded = None, 0, {}

    def after(self, code):
        """Take in how a coordinator ended."""
        assert code in (0, -signal.SIGKILL)
        self.kills += code != 0
        self.run = self.run or the_run(self.store)
        for name, count in recorded_traces(self.store, self.run, self.trace).items():
            assert self.recorded.setdefault(name, count) == count, f"{name} was recorded, and ran again"
        if code == 0:
            check_whole(self.store, self.run, self.trace, self.recorded, self.kills)
        return code == 0


def kill_after(victim, seconds):
    """Kill a victim after that time, unless it has ended by itself; give its exit code."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s and not victim.has_ended():
        time.sleep(0.001)
    return victim.wait() if victim.has_ended() else victim.kill()


@pytest.mark.slow
@five_here_and_two_there
def test_a_coordinator_killed_at_random_moments_resumes_what_was_in_flight(coordinators, store, tmp_path, seed):
    rounds, dice = Rounds(store, str(tmp_path / "trace")), random.Random(seed)
    for kills in range(6):
        arguments = (store.url, rounds.trace, LENGTH, 0.004, rounds.run, False)
        victim = coordinators("run_chains", *arguments)
        # The last one has all the time that it needs; the others die somewhere between their start and a little after a lone run's end.
        if rounds.after(kill_after(victim, dice.uniform(0, 0.4) if kills < 5 else 300)):
            return
    raise AssertionError("it did not end although it was not killed")


@pytest.mark.slow
@five_here_and_two_there
def test_a_coordinator_killed_before_or_after_a_commit_resumes_what_was_in_flight(coordinators, store, tmp_path, seed):
    rounds = Rounds(store, str(tmp_path / "trace"))
    for kills in range(40):
        arguments = (store.url, rounds.trace, LENGTH, rounds.run, 1000 * seed + kills, 0.12 if kills < 12 else 0.0)
        victim = coordinators("run_until_a_commit_kills", *arguments)
        if rounds.after(victim.wait()):
            return
    raise AssertionError("it did not end although it was not killed")


@pytest.mark.slow
def test_a_coordinator_with_worker_processes_resumes_too(coordinators, store, tmp_path):
    rounds = Rounds(store, str(tmp_path / "trace"))
    for least in (1, 5, None):
        victim = coordinators("run_chains", store.url, rounds.trace, LENGTH, 0.01, rounds.run, True)
        if least is not None:
            until(lambda least=least: len(left(rounds.trace)) >= least)
        is_whole = rounds.after(victim.kill() if least is not None else victim.wait())
        assert is_whole == (least is None)


@pytest.mark.slow
def test_after_a_kill_running_again_hits_what_was_finished(coordinators, store, tmp_path):
    trace = str(tmp_path / "trace")
    victim = coordinators("run_chains", store.url, trace, LENGTH, 0.02, None, False)
    while len(left(trace)) < 4 and not victim.has_ended():
        time.sleep(0.001)
    victim.kill()
    recorded = {row.path for row in PipelineStore(store).steps(run=the_run(store)) if row.state == "finished"}
    again = chains.with_options(store=store.url, compute=ThreadWorkers).run(trace, LENGTH, 0.02)
    assert list(again.value) == expected()
    assert {path for path, state in again.states().items() if state == "hit"} == recorded


@pytest.mark.slow
def test_a_killed_worker_costs_one_attempt(store, tmp_path):
    trace = str(tmp_path / "trace")

    @pipeline
    def whole() -> int:
        return dies_once(trace, 1)

    done = whole.with_options(store=store.url).run()
    assert done.value == 2
    rows = PipelineStore(store).steps(run=done.id)
    assert [row.state for row in rows] == ["lost", "finished"]
    assert rows[0].error.type == "WorkerDied"
    assert get_run(rows[0].step_run, store=store).status == "lost"


@pytest.mark.slow
def test_a_step_that_always_kills_its_worker_comes_to_an_end(store, tmp_path):
    @pipeline
    def whole() -> int:
        return dies_once(str(tmp_path / "trace"), 99)

    with pytest.raises(StepFailed, match="failed in attempt 4: WorkerDied"):
        whole.with_options(store=store.url).run()


def test_a_run_with_a_living_coordinator_is_not_taken_over(coordinators, store, tmp_path):
    victim = coordinators("run_waiting", store.url, str(tmp_path), 30.0)
    try:
        until((tmp_path / "first.runs").exists)
        with pytest.raises(Conflict, match="is held by"):
            take_over(store, the_run(store), (), lease_s=30.0)
    finally:
        victim.kill()


def test_a_killed_coordinators_run_is_taken_over_before_its_lease_runs_out(coordinators, store, tmp_path):
    victim = coordinators("run_waiting", store.url, str(tmp_path), 3600.0)
    until((tmp_path / "first.runs").exists)
    victim.kill()
    for name in ("first", "second"):
        (tmp_path / f"{name}.go").touch()
    done = waiting.with_options(store=store.url, compute=ThreadWorkers).resume(the_run(store))
    assert list(done.value) == ["first", "second"]
    assert left(str(tmp_path / "trace")) == ["first", "second"]


def test_taking_over_ends_what_was_in_flight(coordinators, store, tmp_path):
    victim = coordinators("run_waiting", store.url, str(tmp_path), 3600.0)
    until((tmp_path / "first.runs").exists)
    victim.kill()
    take_over(store, the_run(store), (), lease_s=30.0)
    (row,) = PipelineStore(store).steps(run=the_run(store))
    assert row.state == "lost"
    assert get_run(row.step_run, store=store).status == "lost"


def test_a_coordinator_that_lost_its_lease_writes_nothing_more(coordinators, here, store, tmp_path):
    zombie = coordinators("run_waiting", store.url, str(tmp_path), 3600.0)
    until((tmp_path / "first.runs").exists)
    run = the_run(store)
    with here.command() as tx:
        token = run_rows.resume(tx, here, run)  # as an administrator would: whoever holds it
    before = PipelineStore(store).steps(run=run)
    (tmp_path / "second.go").touch()  # it would run to its end if nothing stopped it
    (tmp_path / "first.go").touch()
    assert zombie.wait() == 1
    assert left(str(tmp_path / "trace")) == ["first"]
    assert PipelineStore(store).steps(run=run) == before
    assert [row.state for row in before] == ["running"]
    with here.query() as tx:
        assert run_rows.get_record(tx, run).epoch == token


def test_each_command_of_a_zombie_is_refused_and_changes_nothing(here, store):
    rows = PipelineStore(store)
    with here.command() as tx:
        run, token = run_rows.insert_leased(tx, here, Start(experiment="x", kind="pipeline"), ttl_s=60)
        newer = run_rows.resume(tx, here, run)
    assert newer > token
    with here.query() as tx:
        before = run_rows.get_record(tx, run)
    for command in (
        lambda: rows.record(run=run, token=token, lease_s=1.0),
        lambda: rows.renew(run=run, token=token, lease_s=1.0, steps=()),
        lambda: rows.end(run=run, token=token, status="finished"),
    ):
        with pytest.raises(StaleLease):
            command()
    with here.query() as tx:
        assert run_rows.get_record(tx, run) == before


def test_a_stopped_pipeline_keeps_what_it_finished_and_resumes(store, tmp_path):
    trace = str(tmp_path / "trace")

    def stop(event):
        if event.state == "finished" and event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chains.with_options(store=store.url, compute=ThreadWorkers, on_event=stop).run(trace, LENGTH, 0.0)
    run = the_run(store)
    assert get_run(run, store=store).status == "stopped"
    finished = [row.path for row in PipelineStore(store).steps(run=run) if row.state == "finished"]
    assert len(finished) >= 3
    done = chains.with_options(store=store.url, compute=ThreadWorkers).resume(run)
    assert list(done.value) == expected()
    states = Counter((row.path, row.state) for row in PipelineStore(store).steps(run=run))
    assert all(states[path, "finished"] == 1 for path in finished)


def until(holds):
    end_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end_s, "it never happened"
        time.sleep(0.002)
