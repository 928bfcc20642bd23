"""Studies whose trials run in this process: budgets, versions, results, runs, replay. Crashes: see test_study_crashes."""

import math

import numpy as np
import polars as pl
import pytest

from stratal.core.errors import Misuse, NotFound, Refused
from stratal.tracking.doctor import doctor
from stratal.tracking.frames import frame_digest
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tuning.samplers.random import Random
from stratal.tuning.samplers.tpe import TPE
from stratal.tuning.space import choice, integers, log_uniform, uniform
from stratal.tuning.stoppers.median import Median
from stratal.tuning.studies import study
from stratal.tuning.trying import TrialStopped

SPACE = {"x": uniform(-3, 3), "k": integers(1, 4), "kind": choice("a", "b")}


def loss(trial):
    return (trial["x"] - 1) ** 2 + trial["k"] + (trial["kind"] == "b")


def make(store, name="s", space=SPACE, **options):
    return study(name, space, store=store, seed=5, **({"minimize": "loss"} | options))


def run_here(store, objective=loss, trials=6, data=None, on_trial=None, **options):
    return make(store, **options).optimize(objective, data=data, trials=trials, workers=1, on_trial=on_trial)


def test_the_best_trial_is_the_one_with_the_best_value(store):
    lowest = run_here(store, trials=15)
    assert lowest.best.value == min(t.value for t in lowest.trials) == loss(lowest.best.params)
    highest = run_here(store, trials=15, name="other", minimize=None, maximize="gain")
    assert highest.best.value == max(t.value for t in highest.trials)


def test_the_budget_is_a_total_and_is_spent_once(store):
    seen = []

    def numbers(trials):
        seen.clear()
        done = run_here(store, trials=trials, on_trial=lambda trial: seen.append(trial.number))
        return list(seen), len(done.trials)

    assert numbers(4) == ([0, 1, 2, 3], 4)
    assert numbers(4) == ([], 4)
    assert numbers(2) == ([], 4)
    assert numbers(6) == ([4, 5], 6)


def test_a_seeded_study_gives_the_same_params_anywhere_and_another_seed_others(store):
    one, two = run_here(store, trials=16), run_here(store, trials=16, name="two")
    assert [t.params for t in one.trials] == [t.params for t in two.trials]
    other = study("three", SPACE, minimize="loss", seed=6, store=store).optimize(loss, trials=16, workers=1)
    assert [t.params for t in one.trials] != [t.params for t in other.trials]


def test_a_study_without_a_seed_keeps_the_one_that_it_drew(store):
    free = study("s", SPACE, minimize="loss", store=store).optimize(loss, trials=12, workers=1)
    more = study("s", SPACE, minimize="loss", store=store).optimize(loss, trials=14, workers=1)
    assert more.version.seed == free.version.seed
    assert more.version.version == 1
    assert more.replay() == [t.params for t in more.trials]


def kept(trial, data=None):
    return loss(trial)


def changed(trial, data=None):
    return loss(trial) + 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"space": {"x": uniform(-3, 2), "k": integers(1, 4), "kind": choice("a", "b")}}, "the space changed"),
        ({"objective": changed}, "the objective changed"),
        ({"data": None}, "the data changed"),
        ({"minimize": None, "maximize": "loss"}, "the goal changed"),
        ({"sampler": Random()}, "the sampler changed"),
        ({"objective": changed, "data": 8, "sampler": Random()}, "the objective, the data and the sampler changed"),
    ],
)
def test_a_change_opens_a_new_version_and_says_so(store, caplog, change, why):
    options = {"objective": kept, "data": 7, "trials": 3}
    first, second = run_here(store, **options), run_here(store, **(options | change))
    assert (first.version.version, second.version.version) == (1, 2)
    assert second.version.why == why
    assert why in caplog.text
    assert len(second.trials) == len(first.trials) == 3
    assert run_here(store, **options).version.version == 1


def test_data_reaches_the_objective_and_arrays_are_told_apart_by_content(store):
    def mean(trial, data):
        return float(data.mean()) + trial["x"] * 0

    first = run_here(store, mean, data=np.full(3, 2.5))
    assert first.best.value == 2.5
    assert run_here(store, mean, data=np.full(3, 2.5)).version.version == 1
    assert run_here(store, mean, data=np.full(3, 3.5)).version.version == 2


def test_a_trial_is_a_run_with_params_series_and_value(store):
    def reports(trial):
        for step in range(3):
            trial.report(trial["x"] + step)
        trial.run.log({"extra": 1.5})
        return {"loss": trial["x"] + 9, "accuracy": 0.5}

    done = run_here(store, reports, trials=2)
    trial = done.trials[1]
    read, parent = get_run(trial.run, store=store), get_run(done.version.run, store=store)
    assert (read.kind, read.status, read.parent, read.experiment) == ("trial", "finished", parent.id, "s")
    assert read.params == trial.params
    x = trial.params["x"]
    assert read.metrics == {"loss": x + 9, "value": x + 9, "accuracy": 0.5, "extra": 1.5}
    assert read.series("loss").values.tolist() == [x, x + 1, x + 2, x + 9]
    assert (parent.kind, parent.status, parent.metrics["loss"]) == ("study", "finished", done.best.value)
    assert parent.children == [t.run for t in done.trials]


def test_a_study_inside_a_run_is_part_of_it_and_names_its_data(store):
    data = pl.DataFrame({"x": [1.0, 2.0]})
    with run("pipeline", kind="step", store=store) as step:
        done = run_here(store, lambda trial, frame: float(frame["x"].sum()), data=data, trials=2, stopper=Median())
    found = get_run(done.version.run, store=store)
    assert found.parent == step.id
    assert [(e.verb, e.target) for e in found.edges] == [("used", f"sha256:{frame_digest(data)}")]
    assert {check.name: check.state for check in doctor(store=store)}["files"] == "good", "the digest of a frame is that of no file"
    assert found.tags["stopper"] == Median().describe()
    assert found.tags["best trial"] == done.best.run


def test_reports_without_a_value_count_by_the_last_one(store):
    def reports(trial):
        for value in (3.0, 2.0, trial.number):
            trial.report(value)

    done = run_here(store, reports, trials=3)
    assert [(t.value, t.step) for t in done.trials] == [(0.0, 2), (1.0, 2), (2.0, 2)]


@pytest.mark.parametrize(
    ("returned", "says"),
    [(math.nan, "not a number"), ({"accuracy": 1.0}, "'loss'"), (None, "returned nothing"), ("high", "could not convert")],
)
def test_what_is_no_result_fails_the_trial_and_says_why(store, returned, says):
    def objective(trial):
        return returned if trial.number == 1 else 1.0

    trial = run_here(store, objective, trials=3).trials[1]
    assert (trial.status, trial.value) == ("failed", None)
    assert says in trial.error
    read = get_run(trial.run, store=store)
    assert read.status == "failed"
    assert says in (read.error or read.tags["error"])


def test_a_failing_trial_costs_its_place_and_the_study_goes_on(store):
    def objective(trial):
        if trial.number % 2:
            raise ValueError("odd ones cannot work")
        return loss(trial)

    done = run_here(store, objective, trials=14)
    assert [t.status for t in done.trials] == ["finished", "failed"] * 7
    assert done.replay() == [t.params for t in done.trials]


def test_an_objective_that_fails_from_the_start_is_refused_before_the_budget_burns(store):
    def objective(trial):
        raise KeyError("no such column")

    with pytest.raises(Refused, match="no such column"):
        run_here(store, objective, trials=40)
    assert len(make(store).optimize(loss, trials=1, workers=1).trials) == 1
    with pytest.raises(Refused, match="first 5 trials"):
        run_here(store, objective, trials=40)


def test_when_what_the_objective_needs_is_there_again_the_study_goes_on(store, tmp_path):
    def objective(trial, path):
        return float(path.read_text()) + trial["x"]

    with pytest.raises(Refused, match="No such file"):
        run_here(store, objective, trials=12, data=tmp_path / "needed")
    (tmp_path / "needed").write_text("1.5")
    done = run_here(store, objective, trials=12, data=tmp_path / "needed")
    assert [t.status for t in done.trials] == ["failed"] * 5 + ["finished"] * 7
    assert done.version.version == 1
    assert done.replay() == [t.params for t in done.trials]


def test_median_stopping_ends_bad_trials_early_and_good_ones_never(store):
    def objective(trial):
        for step in range(4):
            trial.report(trial["x"] - 0.1 * step, step=step)
        return trial["x"]

    done = run_here(store, objective, trials=30, space={"x": uniform(0, 1)}, sampler=Random(), stopper=Median(startup=4, warmup=1))
    stopped = [t for t in done.trials if t.status == "stopped"]
    assert len(stopped) > 5
    assert all(t.step >= 1 and t.number >= 4 for t in stopped)
    for trial in done.trials:
        known = [t for t in done.trials if t.told < trial.told and t.status == "finished"]
        middle = np.median([t.params["x"] for t in known]) if len(known) >= 4 else math.inf
        assert (trial.status == "stopped") == (trial.params["x"] > middle)
    assert get_run(stopped[0].run, store=store).status == "stopped"
    assert done.best.status == "finished"


def test_a_stop_passes_through_the_objective_and_its_finally(store):
    cleaned = []

    def objective(trial):
        try:
            trial.report(float(trial.number))
        except TrialStopped:
            cleaned.append(trial.number)
            raise
        return float(trial.number)

    done = run_here(store, objective, trials=6, stopper=Median(startup=2))
    assert cleaned == [t.number for t in done.trials if t.status == "stopped"] != []


def test_a_diverged_report_never_helps_a_trial_and_stops_it(store):
    def objective(trial):
        trial.report(math.nan if trial.number == 3 else 1.0)
        return 1.0

    done = run_here(store, objective, trials=5, stopper=Median(startup=2))
    assert [t.status for t in done.trials] == ["finished"] * 3 + ["stopped", "finished"]
    assert done.trials[3].value is None


def test_an_interrupt_leaves_the_trial_to_the_next_call(store, tmp_path):
    flag = tmp_path / "interrupted"

    def objective(trial, flag):
        if trial.number == 2 and not flag.exists():
            flag.touch()
            raise KeyboardInterrupt
        return loss(trial)

    with pytest.raises(KeyboardInterrupt):
        run_here(store, objective, trials=4, data=flag)
    done = run_here(store, objective, trials=4, data=flag)
    assert [(t.number, t.attempts, t.status) for t in done.trials] == [(i, 1, "finished") for i in range(4)]


def test_each_result_is_called_back_once(store):
    seen = []
    done = run_here(store, trials=5, on_trial=seen.append)
    assert seen == done.trials


def test_the_trial_is_a_mapping_of_its_params(store):
    seen = {}

    def objective(trial):
        seen.update(**trial)
        assert "x" in trial
        assert len(trial) == 3
        assert trial.params == dict(trial)
        with pytest.raises(Misuse, match="it has: k, kind, x"):
            trial["y"]
        return 1.0

    done = run_here(store, objective, trials=1)
    assert done.trials[0].status == "finished"
    assert seen == done.best.params


def test_params_come_back_from_the_store_bit_for_bit(store):
    done = run_here(store, lambda trial: trial["rate"], space={"rate": log_uniform(1e-7, 1e3), "flag": choice(True, 1, None)}, trials=25)
    assert done.replay() == [t.params for t in done.trials]
    assert {type(t.params["flag"]) for t in done.trials} == {bool, int, type(None)}


def test_a_loss_of_infinity_is_a_result_and_is_never_the_best(store):
    done = run_here(store, lambda trial: math.inf if trial.number % 2 else 1.0, trials=12)
    assert done.best.value == 1.0
    assert done.trials[1].value == math.inf


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s: study("s", SPACE, store=s), "one goal"),
        (lambda s: study("s", SPACE, store=s, minimize="a", maximize="b"), "one goal"),
        (lambda s: study("", SPACE, store=s, minimize="a"), "cannot name the study"),
        (lambda s: study("s", {}, store=s, minimize="a"), "empty"),
        (lambda s: study("s", SPACE, store=s, minimize="a", sampler=TPE), "no sampler"),
        (lambda s: study("s", SPACE, store=s, minimize="a", stopper="median"), "no stopper"),
        (lambda s: study("s", SPACE, store=s, minimize="a", seed=-1), "seed"),
        (lambda s: make(s).optimize(loss, trials=0), "1 or more"),
        (lambda s: make(s).optimize(3.0), "not a function"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(store, call, says):
    with pytest.raises(Misuse, match=says):
        call(store)


def test_a_study_without_results_has_no_best(store):
    with pytest.raises(NotFound, match="no trials yet"):
        _ = make(store).best
