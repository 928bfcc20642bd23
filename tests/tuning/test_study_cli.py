"""The commands `stratal study list` and `stratal study show`, and what they draw."""

import json

import pytest
import typer
from typer.testing import CliRunner

from stratal.cli.tuning import register
from stratal.core.errors import NotFound
from stratal.tracking.refs import parse_ref
from stratal.tuning.progress import best_so_far, draw, ranked
from stratal.tuning.samplers.random import Random
from stratal.tuning.space import choice, uniform
from stratal.tuning.studies import find_study, resolve_study, study


def objective(trial):
    if trial.number == 3:
        raise ValueError("[bold]not markup")
    return trial["x"]


@pytest.fixture
def done(store):
    space = {"x": uniform(0, 1), "kind": choice("a", None)}
    return study("churn", space, maximize="auc", seed=1, sampler=Random(), store=store).optimize(objective, trials=8, workers=1)


def call(store, *words):
    app = typer.Typer()
    register(app)
    app.callback()(lambda: None)
    result = CliRunner().invoke(app, ["study", *words, "--store", store.url])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_show_tells_the_goal_the_counts_the_best_trials_and_the_first_failure(store, done):
    shown = call(store, "show", "churn", "--limit", "2")
    assert "study churn, version 1: maximize auc" in shown
    assert "7 finished, 1 failed" in shown
    assert "[bold]not markup" in shown
    best, second, third = ranked(done.version, done.trials)[:3]
    assert f"run:{best.run[-8:]}" in shown
    assert f"run:{second.run[-8:]}" in shown
    assert f"run:{third.run[-8:]}" not in shown


def test_show_as_json_holds_everything(store, done):
    shown = json.loads(call(store, "show", "study:churn", "--json"))
    assert shown["counts"] == {"finished": 7, "stopped": 0, "failed": 1, "running": 0}
    assert shown["best"]["number"] == done.best.number
    assert [t["params"] for t in shown["trials"]] == [t.params for t in done.trials]
    assert shown["best_so_far"][-1] == done.best.value


def test_list_names_each_study_once(store, done):
    study("other", {"x": uniform(0, 1)}, minimize="loss", store=store).optimize(lambda t: 0.5, trials=1, workers=1)
    shown = call(store, "list")
    assert "churn" in shown
    assert "8 of 8" in shown
    listed = json.loads(call(store, "list", "--json"))
    assert [row["study"]["name"] for row in listed] == ["churn", "other"]


def test_an_empty_store_is_said_to_be_empty(store):
    assert "no study" in call(store, "list")
    with pytest.raises(NotFound, match="no study 'x'"):
        call(store, "show", "x")


def test_a_study_is_found_again_and_goes_on(store, done):
    found = find_study("study:churn", store=store)
    assert found.trials == done.trials
    assert found.best == done.best
    assert found.replay() == [t.params for t in done.trials]
    more = found.optimize(objective, trials=9, workers=1)
    assert (more.version.version, len(more.trials)) == (1, 9)
    assert resolve_study(parse_ref("study:churn"), store).value.trials == more.trials
    assert resolve_study(parse_ref("study:churn"), store).digest == done.version.digest


def test_the_best_so_far_never_gets_worse(done):
    best = best_so_far(done.version, done.trials)
    assert best == sorted(best)
    assert len(best) == 7


def test_a_drawing_has_its_highest_value_on_top_and_all_columns_once():
    lines = draw([1.0, 2.0, float("inf"), 3.0], height=3)
    assert [line[:10].strip() for line in lines] == ["3", "2", "1"]
    assert [line[12:] for line in lines] == ["  •", " •", "•"]
    wide = draw([float(i) for i in range(1000)], width=40)
    assert max(len(line) for line in wide) == 12 + 40
    assert sum(line.count("•") for line in wide) == 40
    assert draw([]) == []
    assert len(draw([5.0, 5.0])) == 1
