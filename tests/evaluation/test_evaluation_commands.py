"""`stratal evaluate` and `stratal report`, called in this process on a real store."""

import json

import numpy as np
import polars as pl
import pytest
import typer
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from stratal.cli.evaluation import register
from stratal.core.errors import Misuse
from stratal.tracking.models import log_model
from stratal.tracking.opening import use_store
from stratal.tracking.runs import run


@pytest.fixture
def call(store):
    use_store(store)
    app = typer.Typer()
    register(app)

    def calling(*words):
        outcome = CliRunner().invoke(app, [str(word) for word in words])
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        return outcome

    return calling


@pytest.fixture
def model(store):
    random = np.random.default_rng(1)
    x = pl.DataFrame({"spend": random.normal(0, 1, 200)})
    y = random.random(200) < 1 / (1 + np.exp(-2 * x["spend"].to_numpy()))
    with run("churn", store=store) as training:
        handle = log_model(training, "model", LogisticRegression().fit(x, y), sample=x.head(3))
    table = x.with_columns(churn=pl.Series(np.where(y, 1, 0)), gender=pl.Series(["female", "male"] * 100))
    table.write_csv("test.csv")
    return f"run:{handle.run[-8:]}"


def test_evaluate_shows_numbers_and_writes_the_report(call, model, store):
    said = call(
        "evaluate", model, "test.csv", "--target", "churn", "--sensitive", "gender", "--slice", "gender", "--kpi", "profit=110,-15 EUR"
    )
    assert said.exit_code == 0
    assert "auc" in said.output
    assert "equalized_odds_difference[gender]" in said.output
    assert " EUR" in said.output
    (report,) = (store.folder / "reports").glob("churn-*.html")
    assert report.name in said.output.replace("\n", "")


def test_evaluate_gives_one_json_document(call, model):
    said = json.loads(call("evaluate", model, "test.csv", "--target", "churn", "--json").output)
    assert said["results"]["metrics"]["auc"]["value"] > 0.7
    assert said["subject"].startswith("sha256:")


def test_report_writes_where_it_is_told(call, model, tmp_path):
    run_id = json.loads(call("evaluate", model, "test.csv", "--target", "churn", "--json").output)["run"]
    said = call("report", f"run:{run_id[-8:]}", "--out", tmp_path / "page.html", "--json")
    assert json.loads(said.output)["report"] == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert call("report", model).output.strip().endswith(".html")


@pytest.mark.parametrize("text", ["profit", "profit=", "profit=a,b", "profit=1,2,3"])
def test_a_kpi_that_cannot_be_read_is_refused_with_an_example(call, model, text):
    with pytest.raises(Misuse, match="campaign profit=110,-15 EUR"):
        call("evaluate", model, "test.csv", "--target", "churn", "--kpi", text)
