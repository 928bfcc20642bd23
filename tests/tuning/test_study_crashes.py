"""Studies on worker processes, with real kills: of a worker, of the parent, of whoever takes a trial."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter

import psutil
import pytest

from stratal.core.errors import Conflict
from stratal.tracking.reading import get_run
from stratal.tuning.space import integers, uniform
from stratal.tuning.stoppers.median import Median
from stratal.tuning.studies import study

SPACE = {"x": uniform(0, 1), "k": integers(1, 9)}


def make(store, **options):
    return study("s", SPACE, minimize="loss", seed=3, store=store, **options)


def loss(trial, place):
    """Log who tries what, and refuse to be tried by two workers at once."""
    guard = place / f"busy-{trial.number}"
    if trial.attempt == 1 and guard.exists():
        raise Conflict("two workers try one trial")
    guard.touch()
    with (place / "log").open("a") as log:
        log.write(f"{trial.number} {trial['x']!r} {os.getpid()}\n")
    trial.report(trial["x"], step=0)
    guard.unlink()
    return trial["x"]


def loss_once_two_are_here(trial, place):
    """As `loss`, but a worker waits at its first trial until another one has begun: one alone must not try them all."""
    (place / f"came-{os.getpid()}").touch()
    until = time.monotonic() + 60
    while len(list(place.glob("came-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    return loss(trial, place)


def lines(place):
    return [line.split() for line in (place / "log").read_text().splitlines()]


@pytest.mark.slow
def test_workers_share_a_study_and_replay_gives_the_same_params(store, tmp_path):
    three = make(store).optimize(loss_once_two_are_here, data=tmp_path, trials=24, workers=3)
    assert [t.number for t in three.trials] == list(range(24))
    assert Counter(int(line[0]) for line in lines(tmp_path)) == Counter(range(24))
    assert len({line[2] for line in lines(tmp_path)}) > 1
    assert {t.status for t in three.trials} == {"finished"}
    assert three.replay() == [t.params for t in three.trials]
    alone = study("alone", SPACE, minimize="loss", seed=3, store=store).optimize(loss, data=tmp_path, trials=24, workers=1)
    assert alone.replay() == [t.params for t in alone.trials]
    assert [t.params for t in alone.trials[:10]] == [t.params for t in three.trials[:10]]  # before TPE looks at results


@pytest.mark.slow
def test_a_killed_worker_costs_an_attempt_and_no_trial(store, tmp_path):
    def dies_once(trial, place):
        if trial.number in (2, 5) and trial.attempt == 1:
            trial.report(9.0, step=0)
            trial.report(9.0, step=1)
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(trial, place)

    done = make(store, stopper=Median(startup=99)).optimize(dies_once, data=tmp_path, trials=10, workers=2)
    assert [(t.number, t.status) for t in done.trials] == [(n, "finished") for n in range(10)]
    assert [t.attempts for t in done.trials] == [2 if n in (2, 5) else 1 for n in range(10)]
    assert done.replay() == [t.params for t in done.trials]
    run = get_run(done.trials[2].run, store=store)
    assert run.series("loss").values.tolist() == [done.trials[2].value]
    assert run.series("loss", superseded=True).values.tolist() == [9.0, 9.0]


@pytest.mark.slow
def test_params_that_kill_every_worker_fail_after_three_and_the_study_goes_on(store, tmp_path):
    def kills(trial, place):
        if trial.number == 1:
            with (place / "deaths").open("a") as log:
                log.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(trial, place)

    done = make(store).optimize(kills, data=tmp_path, trials=6, workers=2)
    assert (tmp_path / "deaths").read_text() == "xxx"
    assert done.trials[1].status == "failed"
    assert "died 3 times" in done.trials[1].error
    assert [t.status for t in done.trials].count("finished") == 5


@pytest.mark.slow
def test_results_of_workers_are_called_back_once_in_order_of_telling(store, tmp_path):
    seen = []
    done = make(store).optimize(loss, data=tmp_path, trials=9, workers=2, on_trial=seen.append)
    assert seen == sorted(done.trials, key=lambda t: t.told)


SCRIPT = """
    import os, sys, time
    from pathlib import Path
    from stratal.tracking.opening import open_store
    from stratal.tuning.space import uniform
    from stratal.tuning.studies import study

    def objective(trial, place):
        busy = Path(place, f"busy-{trial.number}-{trial.attempt}")
        busy.touch()
        with open(Path(place, "log"), "a") as log:
            log.write(f"{trial.number} {trial['x']!r} {os.getpid()}\\n")
        for step in range(4):
            trial.report(trial["x"] + step, step=step)
            time.sleep(0.01)
        return trial["x"]

    store = open_store(sys.argv[1])
    searched = study("s", {"x": uniform(0, 1)}, minimize="loss", seed=3, store=store)
    done = searched.optimize(objective, data=sys.argv[2], trials=20, workers=2)
    assert done.replay() == [t.params for t in done.trials]
    for t in done.trials:
        print(t.number, repr(t.params["x"]), t.value == t.params["x"], t.status, t.run)
"""


@pytest.mark.slow
def test_a_parent_killed_again_and_again_still_brings_the_study_to_its_budget(store, tmp_path):
    kills = (1, 9, 19)  # trials begun
    script, place = tmp_path / "script.py", tmp_path / "place"
    script.write_text(textwrap.dedent(SCRIPT))
    place.mkdir()
    (place / "log").touch()
    command = [sys.executable, script, store.url, place]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for begun in kills:
        parent = subprocess.Popen(command, env=environment)
        wait_until(lambda begun=begun: len(lines(place)) >= begun)
        workers = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
        parent.wait()
        wait_until(lambda workers=workers: all(map(is_gone, workers)))
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    trials = [line.split() for line in finished.stdout.splitlines()]
    assert [int(t[0]) for t in trials] == list(range(20))
    assert {tuple(t[2:4]) for t in trials} == {("True", "finished")}
    tried = {}
    for number, x, _ in lines(place):
        assert tried.setdefault(number, x) == x  # the same params at each attempt
    assert tried == {t[0]: t[1] for t in trials}
    assert len(lines(place)) <= 20 + 2 * len(kills)  # only what was in flight was tried again
    for t in trials:
        x = float(t[1])
        assert get_run(t[4], store=store).series("loss").values.tolist() == [x, x + 1, x + 2, x + 3, x]


def is_gone(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
