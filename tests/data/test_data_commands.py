"""The command line of the data room. Excludes: what the verbs themselves do."""

import json

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

import stratal.data as data
from stratal.cli import data as data_commands
from stratal.core.errors import Misuse, NotFound
from stratal.tracking.opening import use_store

app = typer.Typer()
data_commands.register(app)


@app.command()
def other() -> None:
    """Make `data` a command among several, as it is in the whole command line."""


@pytest.fixture
def folder(tmp_path, store):
    good = pl.DataFrame({"id": [f"C{i}" for i in range(40)], "tenure": range(40), "plan": ["[a]", "b"] * 20, "score": [0.5, None] * 20})
    good.write_csv(tmp_path / "good.csv")
    good.with_columns(tenure=pl.col("tenure") - 500).write_parquet(tmp_path / "bad.parquet")
    data.infer_schema(good).save(tmp_path / "schema.toml")
    use_store(store)
    return tmp_path


def call(*arguments, code=0):
    result = CliRunner().invoke(app, ["data", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_profile_shows_each_column(folder):
    output = call("profile", folder / "good.csv")
    assert "40 rows, 4 columns" in output
    assert "[a] 50%, b 50%" in output
    assert json.loads(call("profile", folder / "good.csv", "--json"))["columns"]["tenure"]["numbers"]["high"] == 39


def test_infer_prints_or_writes_a_schema_that_reads_back(folder):
    schema = data.Schema.from_toml(call("infer", folder / "good.csv"))
    assert "wrote 4 columns" in call("infer", folder / "good.csv", "-o", folder / "new.toml")
    assert data.Schema.load(folder / "new.toml") == schema
    assert json.loads(call("infer", folder / "good.csv", "--json"))["plan"]["values"] == ["[a]", "b"]


def test_validate_says_what_is_wrong_and_exits_with_one(folder):
    assert "40 rows: valid" in call("validate", folder / "good.csv", "--schema", folder / "schema.toml")
    output = call("validate", folder / "bad.parquet", "-s", folder / "schema.toml", "--against", folder / "good.csv", code=1)
    assert "✕ tenure: 40 rows below 0, lowest -500" in output
    assert "40 rows: refused" in output
    found = json.loads(call("validate", folder / "bad.parquet", "-s", folder / "schema.toml", "--json", code=1))
    assert (found["ok"], found["findings"][0]["count"]) == (False, 40)


def test_drift_names_the_columns_that_moved(folder):
    output = call("drift", folder / "good.csv", folder / "bad.parquet")
    assert "1 of 4 columns have moved" in output
    assert "shares no value with the reference" in output
    found = json.loads(call("drift", folder / "good.csv", folder / "bad.parquet", "--json"))
    assert [one["column"] for one in found if one["is_moved"]] == ["tenure"]
    assert "0 of 3 columns" in call("drift", folder / "good.csv", folder / "bad.parquet", "--skip", "tenure")


def test_drift_names_columns_that_only_one_side_has_and_refuses_to_skip_none(folder):
    data.read_frame(folder / "good.csv").rename({"plan": "contract"}).write_csv(folder / "renamed.csv")
    output = call("drift", folder / "good.csv", folder / "renamed.csv")
    assert "0 of 3 columns have moved" in output
    said = [line.split("is only in")[0].split() for line in output.splitlines() if "is only in" in line]
    assert said == [["!", "plan"], ["!", "contract"]]
    with pytest.raises(Misuse, match="no column 'tenrue' to skip"):
        call("drift", folder / "good.csv", folder / "renamed.csv", "--skip", "tenrue")


def test_versions_are_listed_and_can_be_read_by_ref(folder):
    data.dataset("churn", folder / "good.csv")
    data.dataset("churn", folder / "bad.parquet")
    output = call("versions", "churn")
    assert "good.csv" in output
    assert "unchecked" in output
    assert [v["version"] for v in json.loads(call("versions", "dataset:churn", "--json"))] == [1, 2]
    assert "40 rows" in call("profile", "dataset:churn@1")
    assert "1 of 4" in call("drift", "dataset:churn@previous", "dataset:churn@latest")


def test_wrong_arguments_raise_what_the_edge_will_print(folder):
    with pytest.raises(NotFound, match="no dataset 'nobody'"):
        call("versions", "nobody")
    with pytest.raises(NotFound, match="no file"):
        call("profile", folder / "none.csv")
    with pytest.raises(Misuse, match="stands alone"):
        call("profile", "dataset:churn", folder / "good.csv")
