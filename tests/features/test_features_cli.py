"""`stratal features`: what is printed is what is there."""

import json

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from stratal.cli import features as commands
from stratal.core.errors import Misuse, NotFound, Refused
from stratal.features import FeatureStore, FeatureView, feature_view, find_features, resolve_features
from stratal.tracking import refs
from stratal.tracking.opening import use_store
from stratal.tracking.refs import Number, Ref, Resolved, parse_ref, register_resolver

ROWS = pl.DataFrame({"customer_id": ["C1", "C2", "C3"], "tenure": [1, 2, None], "plan": ["a", "b", None]})
FEATURES = {"months": pl.col("tenure").fill_null(0), "plan": pl.col("plan")}
CUSTOMER = feature_view("customer", source="dataset:churn", entity="customer_id", features=FEATURES)


class Rows:
    def __init__(self, frame):
        self._frame = frame

    def frame(self):
        return self._frame


@pytest.fixture
def served(store, monkeypatch):
    """A store with a materialised view, and a dataset that its source names."""
    use_store(store)
    CUSTOMER.materialise(ROWS)
    monkeypatch.setattr(refs, "_resolvers", dict(refs._resolvers))
    register_resolver("dataset", lambda ref, _: Resolved(ref=ref, digest="d" * 64, value=Rows(ROWS)))
    return store


def call(*words):
    app = typer.Typer()
    commands.register(app)
    app.command("other")(lambda: None)  # a program of one group would swallow its name
    done = CliRunner().invoke(app, ["features", *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_views_are_listed(served):
    feature_view("account", source="dataset:churn", entity="customer_id", features={"plan": pl.col("plan")}).version(store=served)
    text = call("list")
    assert "customer" in text and "months, plan" in text and "tester" in text
    assert [(row["ref"], row["version"]) for row in json.loads(call("list", "--json"))] == [
        ("features:account@1", 1),
        ("features:customer@1", 1),
    ]


def test_an_empty_store_says_so(store):
    use_store(store)
    assert "No feature view yet" in call("list")
    assert json.loads(call("list", "--json")) == []
    with pytest.raises(NotFound, match="there are none yet"):
        call("show", "customer")


def test_a_view_shows_its_definition_and_what_serves_it(served):
    text = call("show", "features:customer@1")
    assert 'FillNull(col("tenure"), 0)' in text and "int64" in text and "3 rows of sha256:" in text
    shown = json.loads(call("show", "customer", "--json"))
    assert shown["digest"] == CUSTOMER.digest and shown["online"]["rows"] == 3
    assert shown["features"] == {"months": 'FillNull(col("tenure"), 0)', "plan": 'col("plan")'}


def test_a_row_is_read_online(served):
    assert json.loads(call("get", "customer", "C3", "--json")) == {"months": 0, "plan": None}
    assert "months" in call("get", "customer", "C2")
    with pytest.raises(NotFound, match="customer_id = 'C9'"):
        call("get", "customer", "C9")


def test_whole_numbers_are_read_as_such(store):
    use_store(store)
    view = feature_view("numbered", source="dataset:churn", entity="id", features={"n": pl.col("n")})
    view.materialise(pl.DataFrame({"id": [7, -1], "n": [1, 2]}))
    assert json.loads(call("get", "numbered", "7", "--json")) == {"n": 1}
    with pytest.raises(Misuse, match="'seven' is no whole number"):
        call("get", "numbered", "seven")


def test_parity_is_proved_against_the_source(served):
    assert "online = offline for 3 of 3" in call("parity", "customer")
    assert json.loads(call("parity", "customer", "--sample", "2", "--json"))["sampled"] == 2


def test_parity_that_fails_is_an_error_and_shows_the_values(served, capsys):
    CUSTOMER.materialise(ROWS.with_columns(tenure=pl.lit(5)))
    with pytest.raises(Refused, match="not the same online and offline"):
        call("parity", "customer")


def test_refs_find_versions(served):
    changed = feature_view("customer", source="dataset:churn", entity="customer_id", features={"plan": pl.col("plan")})
    assert changed.ref(store=served) == "features:customer@2"
    numbers = {
        text: find_features(served, text).version
        for text in ("customer", "features:customer@latest", "features:customer@1", "customer@previous")
    }
    assert numbers == {"customer": 2, "features:customer@latest": 2, "features:customer@1": 1, "customer@previous": 1}
    assert find_features(served, f"features:customer@sha256:{CUSTOMER.digest}").version == 1
    with pytest.raises(Misuse, match="no stages and no aliases, so 'Production'"):
        find_features(served, "features:customer@production")
    with pytest.raises(Misuse, match="is no feature view"):
        find_features(served, "model:customer@1")
    with pytest.raises(NotFound, match="none before the latest"):
        feature_view("one", source="s", entity="e", features={"f": pl.col("f")}).version(store=served)
        find_features(served, "one@previous")


def test_a_resolved_ref_is_the_view(served):
    found = resolve_features(parse_ref("features:customer"), served)
    assert found.ref == Ref(kind="features", name="customer", selector=Number(value=1))
    assert isinstance(found.value, FeatureView) and found.value == CUSTOMER and found.digest == CUSTOMER.digest


def test_data_may_be_a_ref(served):
    assert CUSTOMER.frame("dataset:churn@latest").to_polars()["months"].to_list() == [1, 2, 0]
    assert FeatureStore(served).materialisation(name="customer", version=1).rows == 3
