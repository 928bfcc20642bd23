"""`stratal runs` with columns, pages and views; `top`, `spread`, `views`. Excluded: what filters mean."""

import json

import pytest

from stratal.cli.app import main
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import use_store
from stratal.tracking.runs import run


@pytest.fixture(autouse=True)
def grid(store: Store) -> Store:
    use_store(store)
    for model, level in (("gbm", 0.8), ("mlp", 0.7)):
        for seed in range(3):
            with run("churn", name=f"{model} {seed}", params={"model": model, "seed": seed}, store=store) as made:
                made.log({"auc": level + seed / 100})
    return store


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_columns_are_listed_page_after_page(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("runs", "-c", "name, max(metrics.auc)", "-o", "metrics.auc desc", "-n", "4", "--json")

    first = json.loads(output(capsys, *words))
    second = json.loads(output(capsys, *words, "--after", first["next"]))

    names = [row["name"] for row in first["rows"] + second["rows"]]
    assert names == ["gbm 2", "gbm 1", "gbm 0", "mlp 2", "mlp 1", "mlp 0"]
    assert second["next"] is None
    page = output(capsys, *words[:-1])
    assert "max(metrics.auc)" in page
    assert f"--after {first['next']}" in page


def test_a_list_says_how_it_goes_on_and_what_no_run_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["runs", "-n", "2", "--json"])
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 2
    assert "--after" in said.err
    assert "did you mean metrics.auc?" in output(capsys, "runs", "-q", "metrics.acu > 1")


def test_the_best_of_groups_and_the_spread_over_seeds_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    best = json.loads(output(capsys, "top", "metrics.auc", "--per", "params.model", "-c", "name", "--json"))
    rows = json.loads(output(capsys, "spread", "metrics.auc", "-q", "params.model = 'gbm'", "--json"))

    assert [row["name"] for row in best] == ["gbm 2", "mlp 2"]
    assert [(row["params.model"], row["n(metrics.auc)"]) for row in rows] == [("gbm", 3)]
    assert "gbm 2" in output(capsys, "top", "metrics.auc desc", "-k", "2")
    page = output(capsys, "spread", "metrics.auc", "--per", "experiment")
    assert page.split()[:6] == ["metrics.auc", "experiment", "runs", "n", "mean", "std"]


def test_views_are_saved_used_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "stratal views save" in output(capsys, "views")
    saved = json.loads(
        output(capsys, "views", "save", "good", "-q", "metrics.auc > 0.7", "-o", "metrics.auc", "-c", "name", "-n", "2", "--json")
    )
    assert saved["query"]["select"] == ["name"]

    assert json.loads(output(capsys, "runs", "--view", "good", "--json"))["rows"] == [{"name": "mlp 1"}, {"name": "mlp 2"}]
    narrowed = json.loads(output(capsys, "runs", "--view", "good", "-q", "params.seed = 0", "-n", "5", "--json"))
    assert narrowed["rows"] == [{"name": "gbm 0"}]
    assert "metrics.auc > 0.7" in output(capsys, "views")
    assert "metrics.auc > 0.7" in output(capsys, "views", "show", "good")
    assert "Removed" in output(capsys, "views", "remove", "good")
    assert json.loads(output(capsys, "views", "--json")) == []
    with pytest.raises(SystemExit) as ended:
        main(["runs", "--view", "good"])
    assert ended.value.code == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("runs", "-n", "0"), "limit = 0 is not possible"),
        (("top", "metrics.acu"), "did you mean metrics.auc?"),
        (("importance", "metrics.acu"), "no run has metrics.acu: did you mean metrics.auc?"),
        (("importance", "auc"), "did you mean metrics.auc?"),
        (("plot", "-q", "name = 'x'", "-m", "auc"), "no run passes the filter"),
        (("purge",), "--older-than 30"),
    ],
)
def test_a_slip_of_the_pen_is_told_with_what_was_meant(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code in (1, 2)
    assert says in capsys.readouterr().err


def test_the_first_digits_of_an_id_are_no_short_form_and_the_hint_says_which_are(grid: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first = find_runs(limit=1, store=grid)[0]
    with pytest.raises(SystemExit) as ended:
        main(["show", first.id[:8]])
    assert ended.value.code == 1
    assert "the short form of an id is its last 8 digits" in capsys.readouterr().err


def test_a_run_of_which_no_output_is_kept_says_how_it_is(grid: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first = find_runs(limit=1, store=grid)[0]
    with pytest.raises(SystemExit) as ended:
        main(["output", first.short])
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (0, "")
    assert "st.autolog()" in told.err
