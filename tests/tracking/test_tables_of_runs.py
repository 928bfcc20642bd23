"""Tables of runs: named columns, parts of metrics, groups, spreads, frames. Excluded: filters and orders."""

import math

import numpy as np
import polars as pl
import pyarrow
import pytest

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.deleting import delete
from stratal.tracking.finding import find_runs
from stratal.tracking.grouping import spread, top
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.views import save_view


@pytest.fixture
def grid(store: Store) -> Store:
    """Two models, three seeds each; the auc peaks at step 2 and falls."""
    for model, level in (("gbm", 0.8), ("mlp", 0.7)):
        for seed in range(3):
            with run("churn", name=f"{model} {seed}", params={"model": model, "opt/seed": seed, "lr": "0.1"}, store=store) as made:
                for step, value in enumerate((0.0, 0.05, 0.1, 0.02)):
                    made.log({"auc": level + seed / 100 + value, "loss": 1 - value}, step=step)
    return store


def test_a_selection_reads_the_columns_that_were_named_in_their_order(grid: Store) -> None:
    table = find_runs(
        "params.model = 'gbm'", order_by="params.`opt/seed`", select="name, params.lr, metrics.auc, max(metrics.auc), started", store=grid
    )

    assert table.columns == ("name", "params.lr", "metrics.auc", "max(metrics.auc)", "started")
    assert table.column("name") == ["gbm 0", "gbm 1", "gbm 2"]
    assert table.column("params.lr") == [0.1, 0.1, 0.1]
    assert table[1] == {
        "name": "gbm 1", "params.lr": 0.1, "metrics.auc": pytest.approx(0.83), "max(metrics.auc)": pytest.approx(0.91),
        "started": table[1]["started"],
    }  # fmt: skip
    assert [row["name"] for row in table] == ["gbm 0", "gbm 1", "gbm 2"]


def test_the_step_of_an_extreme_is_its_first_and_skips_what_is_not_finite(store: Store) -> None:
    with run("churn", store=store) as made:
        for step, value in [(5, math.nan), (6, math.inf), (7, 0.5), (8, 0.9), (9, 0.9), (10, 0.1)]:
            made.log({"auc": value}, step=step)
    with run("churn", store=store) as odd:
        odd.log({"auc": math.nan})

    table = find_runs(order_by="started", select=["max_step(metrics.auc)", "best_step(metrics.auc)", "min_step(metrics.auc)"], store=store)

    assert [list(row.values()) for row in table] == [[8, 8, 10], [None, None, None]]


def test_pages_of_a_table_go_on_after_each_other(grid: Store) -> None:
    names: list[object] = []
    after = None
    while True:
        page = find_runs(order_by="name", select="name", limit=4, after=after, store=grid)
        names += page.column("name")
        after = page.next
        if after is None:
            break

    assert names == sorted(f"{model} {seed}" for model in ("gbm", "mlp") for seed in range(3))


def test_stars_give_all_columns_of_a_kind(grid: Store) -> None:
    table = find_runs(select=["params.*", "metrics.*", "tags.*"], limit=2, store=grid)

    assert table.columns == ("params.lr", "params.model", "params.opt/seed", "metrics.auc", "metrics.loss")


def test_a_table_is_a_frame_of_any_library(grid: Store) -> None:
    table = find_runs(select=["name", "metrics.auc"], order_by="name", store=grid)

    frame = table.to_polars()
    assert frame.schema == {"name": pl.String, "metrics.auc": pl.Float64}
    assert pyarrow.table(table).num_rows == 6
    assert table.to_arrow().column_names == ["name", "metrics.auc"]
    whole = find_runs(store=grid)
    assert pyarrow.table(whole).column("metrics.auc").to_pylist() == [found.metrics["auc"] for found in whole]
    assert list(table.to_pandas()["name"]) == frame["name"].to_list()


def test_arrow_without_pyarrow_says_what_to_install(grid: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(frame: pl.DataFrame) -> None:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pl.DataFrame, "to_arrow", missing)
    with pytest.raises(Misuse, match="pip install pyarrow"):
        find_runs(select="name", store=grid).to_arrow()


def test_an_odd_param_comes_back_as_the_number_that_it_was(store: Store) -> None:
    odd = {"nan": math.nan, "inf": -math.inf, "text": "NaN", "more": "Infinity"}
    with run("churn", params=odd, store=store) as made:
        made.log_params({"later": math.inf})

    params = get_run(made.id, store=store).params

    assert math.isnan(params.pop("nan"))
    assert params == {"inf": -math.inf, "text": "NaN", "more": "Infinity", "later": math.inf}
    row = find_runs(select="params.*", store=store)[0]
    assert math.isnan(row.pop("params.nan"))
    assert row == {"params.inf": -math.inf, "params.later": math.inf, "params.more": "Infinity", "params.text": "NaN"}


def test_a_text_that_is_a_number_is_found_by_its_number(store: Store) -> None:
    for value in ("0.10", "1e-2", "high", "0x1", "٣"):
        run("churn", params={"lr": value}, store=store).finish()

    assert {found.params["lr"] for found in find_runs("params.lr < 0.5", store=store)} == {"0.10", "1e-2"}
    assert [found.params["lr"] for found in find_runs("params.lr = 0.1", store=store)] == ["0.10"]


def test_the_best_of_each_group_is_found_and_missing_values_are_left_out(grid: Store) -> None:
    run("churn", params={"model": "none"}, store=grid).finish()
    with run("churn", params={"model": "nan"}, store=grid) as made:
        made.log({"auc": math.nan})

    best = top("metrics.auc", per="params.model", select="name", store=grid)
    two = top("min(metrics.auc) asc", k=2, per="params.model", select="name", store=grid)

    assert [tuple(row.values()) for row in best] == [("gbm", pytest.approx(0.84), "gbm 2"), ("mlp", pytest.approx(0.74), "mlp 2")]
    assert two.column("name") == ["mlp 0", "mlp 1", "gbm 0", "gbm 1"]
    assert top("metrics.auc", k=3, where="params.model = 'mlp'", select="name", store=grid).column("name") == ["mlp 2", "mlp 1", "mlp 0"]


def test_best_and_top_take_the_goal_that_runs_define_before_the_name(store: Store) -> None:
    for name, values in (("low", (1.0, 4.0)), ("high", (2.0, 9.0))):
        with run("churn", name=name, store=store) as made:
            made.define_metric("odd*", goal="maximize")
            made.define_metric("oddest", goal="minimize")
            for value in values:
                made.log({"odd": value, "odd loss": value, "oddest": value})
    run("churn", name="silent", store=store).finish()

    columns = ["name", "best(metrics.`odd loss`)", "best_step(metrics.oddest)", "best(metrics.oddest)"]
    best = find_runs("best(metrics.odd) > 5", select=columns, store=store)

    assert [tuple(row.values()) for row in best] == [("high", 9.0, 0, 2.0)]
    assert find_runs("name != 'silent'", order_by="best(metrics.oddest)", select="name", store=store).column("name") == ["low", "high"]
    assert top("metrics.`odd loss`", select="name", store=store)[0]["name"] == "high"
    assert top("metrics.oddest", select="name", store=store)[0]["name"] == "low"
    assert save_view("odd", "best(metrics.odd) > 5", store=store).runs(store=store)[0].name == "high"


def test_definitions_that_disagree_are_an_error_until_an_experiment_is_named(store: Store) -> None:
    for experiment, goal in (("up", "maximize"), ("down", "minimize")):
        with run(experiment, name=experiment, store=store) as made:
            made.define_metric("loss", goal=goal)
            made.log({"loss": 1.0})
            made.log({"loss": 2.0})

    with pytest.raises(Misuse, match=r"the runs' definitions disagree which way metrics\.loss is better"):
        top("metrics.loss", store=store)
    with pytest.raises(Misuse, match="definitions disagree which way loss is better"):
        find_runs("best(metrics.loss) = 2", store=store)
    assert find_runs("best(metrics.loss) = 2", experiment="up", store=store)[0].name == "up"
    assert find_runs("best(metrics.loss) = 1", experiment=["down"], store=store)[0].name == "down"
    delete(made.id, store=store)
    assert top("metrics.loss", select="name", store=store)[0]["name"] == "up"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: top("metrics.zork"), "nobody knows which way metrics.zork is better"),
        (lambda: top("metrics.auc", k=0), "k = 0"),
        (lambda: top("metrics.auc, metrics.loss"), "not one thing"),
        (lambda: top("metrics.auc", per="params.*"), "not one key"),
        (lambda: spread("tags.a"), "has no spread"),
        (lambda: spread(""), "no metric is named"),
        (lambda: find_runs(select=""), "no column is selected"),
        (lambda: find_runs(select=5), "5 is no column|Expected `str \\| array`, got `int`"),
        (lambda: find_runs(order_by=[5]), "this order is no text|Expected `str`, got `int`"),
        (lambda: find_runs(limit="x"), "limit = 'x'"),
        (lambda: find_runs(select="text"), "text is no column"),
        (lambda: find_runs(select="params.a b"), "a comma or the end is expected"),
    ],
)
def test_what_has_no_meaning_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch, call, says: str) -> None:
    monkeypatch.setattr("stratal.tracking.grouping.current_store", lambda: store)
    monkeypatch.setattr("stratal.tracking.finding.current_store", lambda: store)
    with pytest.raises(Misuse, match=says):
        call()


def test_a_spread_over_seeds_is_that_of_numpy(grid: Store) -> None:
    table = spread("metrics.auc", store=grid)

    rows = {row["params.model"]: row for row in table}
    values = np.array([0.82, 0.83, 0.84])
    assert table.columns[:4] == ("params.lr", "params.model", "runs", "n(metrics.auc)")
    assert (rows["gbm"]["runs"], rows["gbm"]["n(metrics.auc)"]) == (3, 3)
    percentiles = {f"p{p}": np.percentile(values, p) for p in (25, 50, 75)}
    for name, expected in {"mean": values.mean(), "std": values.std(ddof=1), "min": 0.82, "max": 0.84, **percentiles}.items():
        assert rows["gbm"][f"{name}(metrics.auc)"] == pytest.approx(expected)


def test_a_spread_counts_numbers_only_and_one_has_no_deviation(store: Store) -> None:
    for value in (1.0, math.nan):
        with run("churn", params={"seed": value}, store=store) as made:
            made.log({"auc": value})
    run("churn", store=store).finish()

    row = spread(["metrics.auc"], per="experiment", store=store)[0]

    assert (row["runs"], row["n(metrics.auc)"], row["mean(metrics.auc)"], row["std(metrics.auc)"]) == (3, 1, 1.0, None)


def test_keys_that_no_run_has_are_remarked_on_with_what_was_meant(grid: Store, fresh_store) -> None:
    found = find_runs("metrics.acu > 0 and params.model = 'x'", order_by="params.lrr", store=grid)

    assert [remark.splitlines()[0] for remark in found.remarks] == [
        "no run has params.lrr: did you mean params.lr?",
        "no run has metrics.acu: did you mean metrics.auc?",
    ]
    assert "did you mean metrics.auc?" in repr(found)
    assert find_runs("metrics.acu > 0", store=fresh_store()).remarks == ()


def test_a_bare_name_is_explained_by_what_the_store_has(grid: Store) -> None:
    with pytest.raises(Misuse, match=r"did you mean params\.model\?"):
        find_runs("modell = 'gbm'", store=grid)


def test_words_of_names_and_notes_are_found_once_they_are_said(store: Store) -> None:
    with run("churn", name="Cosine schedule", store=store) as made:
        made.note("warmed up for 500 steps")
    assert len(find_runs("text contains 'cosine WARM'", store=store)) == 1
    assert len(find_runs("text contains 'diverged'", store=store)) == 0

    with run(resume=made.id, store=store) as again:
        again.note("it diverged")

    assert [found.id for found in find_runs("text contains 'diverge cosine'", store=store)] == [made.id]
