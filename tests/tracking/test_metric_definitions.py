"""Definitions of metrics: which value stands for one, what it is drawn against, and who wins. Excluded: series themselves."""

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.cli.app import main
from stratal.core.errors import Misuse, NotFound
from stratal.store.store import Store
from stratal.tracking.definitions import align, define, definition_of, summarize
from stratal.tracking.explaining import compare_runs
from stratal.tracking.opening import use_store
from stratal.tracking.reading import Series, get_run
from stratal.tracking.runs import Run, run

law = settings(max_examples=60)


def trained(store: Store, values: list[float], **definition: str) -> Run:
    with run("churn", store=store) as made:
        if definition:
            made.define_metric("val/*", **definition)
        for step, value in enumerate(values):
            made.log({"val/loss": value, "other": value}, step=10 * step)
    return made


@pytest.mark.parametrize(
    ("definition", "value", "step", "how"),
    [
        ({}, 3.0, 30, "last"),
        ({"goal": "minimize"}, 1.0, 10, "min"),
        ({"goal": "maximize"}, 5.0, 0, "max"),
        ({"summary": "min"}, 1.0, 10, "min"),
        ({"summary": "max", "goal": "minimize"}, 5.0, 0, "max"),
        ({"summary": "first"}, 5.0, 0, "first"),
        ({"summary": "mean"}, 2.5, None, "mean"),
        ({"summary": "last", "goal": "minimize"}, 3.0, 30, "last"),
    ],
    ids=str,
)
def test_the_value_that_stands_for_a_metric_has_its_step(store: Store, definition: dict[str, str], value: float, step: int, how: str):
    read = get_run(trained(store, [5.0, 1.0, 1.0, 3.0], **definition).id, store=store)
    found = read.summary["val/loss"]
    assert (found.value, found.step, found.how) == (value, step, how)
    assert (read.summary["other"].value, read.metrics["val/loss"]) == (3.0, 3.0)


@law
@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_the_best_is_never_nan_unless_all_is(values: list[float]):
    found = summarize(define("m", None, None, "minimize"), np.arange(len(values)), np.array(values))
    real = [value for value in values if not math.isnan(value)]
    if real:
        assert found.value == min(real)
        assert values.index(found.value) == found.step
    else:
        assert math.isnan(found.value)


@law
@given(st.lists(st.tuples(st.integers(-5, 20), st.floats(-9, 9)), max_size=12), st.lists(st.integers(-5, 20), max_size=12))
def test_each_step_gets_the_last_x_at_or_before_it(points: list[tuple[int, float]], steps: list[int]):
    points, steps = sorted(points, key=lambda point: point[0]), sorted(steps)
    has, found = align(np.array(steps, np.int64), np.array([s for s, _ in points], np.int64), np.array([v for _, v in points], float))
    expected = [[value for step, value in points if step <= wanted] for wanted in steps]
    assert has.tolist() == [bool(before) for before in expected]
    assert found.tolist() == [before[-1] for before in expected if before]


def test_a_series_is_read_against_what_was_defined_or_is_asked_for(store: Store):
    with run("churn", store=store) as made:
        made.define_metric("val/*", x="epoch")
        made.log({"val/loss": 9.0}, step=-1)
        for epoch in range(3):
            made.log({"epoch": epoch}, step=100 * epoch)
            made.log({"val/loss": 1.0 / (epoch + 1)}, step=100 * epoch + 50)
    loss = get_run(made.id, store=store).series("val/loss")
    assert loss.against().x.tolist() == loss.against("epoch").x.tolist() == [0.0, 1.0, 2.0]
    assert loss.against("epoch").steps.tolist() == [50, 150, 250]
    assert loss.against("epoch").values.tolist() == [1.0, 0.5, 1.0 / 3]
    assert loss.against("step").x.tolist() == [-1.0, 50.0, 150.0, 250.0]
    assert loss.against("time").x[0] == 0
    assert (np.diff(loss.against("time").x) >= 0).all()
    with pytest.raises(NotFound, match="epochs"):
        loss.against("epochs")


def test_a_series_travels_without_its_run(store: Store):
    loss = get_run(trained(store, [1.0, 2.0]).id, store=store).series("val/loss")
    again = pickle.loads(pickle.dumps(loss))
    steps, _times, values = again
    assert (steps.tolist(), values.tolist()) == ([0, 10], [1.0, 2.0])
    assert again.against(loss).x.tolist() == [1.0, 2.0]
    with pytest.raises(Misuse, match="no run"):
        again.against("epoch")
    assert isinstance(again, Series)


def test_the_own_name_wins_over_patterns_and_the_longest_pattern_over_others():
    made = {name: define(name, None, None, None) for name in ("*", "val/*", "val/*loss", "val/loss", "a.c")}
    for metric, expected in (("val/loss", "val/loss"), ("val/logloss", "val/*loss"), ("val/auc", "val/*"), ("loss", "*"), ("abc", "*")):
        found = definition_of(metric, made)
        assert found is not None
        assert found.name == expected
    assert definition_of("x", {"val/*": made["val/*"]}) is None


def test_what_is_said_last_counts_also_across_processes(store: Store):
    made = trained(store, [2.0, 1.0], goal="maximize")
    with run(resume=made.id, store=store) as again:
        again.define_metric("val/*", goal="minimize")
    read = get_run(made.id, store=store)
    assert (read.summary["val/loss"].value, list(read.definitions)) == (1.0, ["val/*"])


def test_a_fork_inherits_what_was_said_of_the_metrics_whose_points_it_shares(store: Store):
    made = trained(store, [2.0, 1.0, 3.0], goal="minimize")
    with run(resume=made.id, store=store) as again:
        again.define_metric("other", summary="max")
    with run("churn", fork_from=(made.id, 20), store=store) as fork:
        fork.define_metric("other", summary="first")
        fork.log({"val/loss": 9.0}, step=20)
    read = get_run(fork.id, store=store)
    assert (read.summary["val/loss"].value, read.summary["val/loss"].step, read.summary["other"].how) == (1.0, 10, "first")


@pytest.mark.parametrize(
    "wrong",
    [{"goal": "down"}, {"summary": "median"}, {"summary": "best"}, {"x": "val/loss"}, {"x": ""}, {"x": 3}],
    ids=str,
)
def test_a_definition_of_other_words_is_refused(store: Store, wrong: dict[str, object]):
    with run("churn", store=store) as made, pytest.raises(Misuse):
        made.define_metric("val/loss", **wrong)
    assert get_run(made.id, store=store).definitions == {}


def test_a_comparison_takes_the_values_and_the_goal_that_runs_state(store: Store):
    left, right = trained(store, [1.0, 4.0], goal="maximize"), trained(store, [3.0, 2.0], goal="maximize")
    (row,) = [row for row in compare_runs([left.id, right.id], store=store).metrics if row.name == "val/loss"]
    assert (row.values, row.direction, row.best) == ((4.0, 3.0), "max", (0,))
    (row,) = [row for row in compare_runs([left.id, right.id], minimize=["val/loss"], store=store).metrics if row.name == "val/loss"]
    assert (row.direction, row.best) == ("min", (1,))


def test_show_says_which_value_stands_for_a_metric(store: Store, capsys: pytest.CaptureFixture[str]):
    use_store(store)
    made = trained(store, [5.0, 1.0, 3.0], goal="minimize")
    with pytest.raises(SystemExit):
        main(["show", made.short])
    assert "min 1 at step 10" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["show", made.short, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["summary"]["val/loss"] == {"value": 1.0, "step": 10, "how": "min"}
    assert document["definitions"]["val/*"]["goal"] == "minimize"
