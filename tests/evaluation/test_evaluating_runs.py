"""`evaluate` against a real store: what is recorded, stated, found through lineage, and refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import stratal
from stratal.core.errors import Misuse, NotFound
from stratal.evaluation import evaluate, kpi, read_results, write_report
from stratal.evaluation.seen import count_shared
from stratal.tracking.doctor import doctor
from stratal.tracking.frames import frame_digest, frame_to_bytes
from stratal.tracking.models import log_model
from stratal.tracking.reading import get_run
from stratal.tracking.refs import Resolved, parse_ref, register_resolver
from stratal.tracking.runs import run

PROFIT = kpi("campaign profit", true_positive=110.0, false_positive=-15.0, unit="EUR")
FEATURES = ["tenure", "spend"]


def customers(n, seed=1, start=0):
    random = np.random.default_rng(seed)
    tenure, spend = random.integers(0, 72, n), random.normal(60, 20, n)
    churn = random.random(n) < 1 / (1 + np.exp(0.06 * tenure - 0.02 * spend))
    return pl.DataFrame(
        {
            "customer_id": [f"C{start + i:05d}" for i in range(n)],
            "tenure": tenure,
            "spend": spend,
            "contract": random.choice(["Month-to-month", "One year", None], n, p=[0.6, 0.3, 0.1]),
            "gender": random.choice(["female", "male"], n),
            "churn": np.where(churn, "Yes", "No"),
        }
    )


def fitted(train, features=FEATURES):
    return LogisticRegression(max_iter=500).fit(train.select(features), train["churn"] == "Yes")


def trained(store, train, *, features=FEATURES, role="train"):
    """Train as a step that was given its rows by a split does."""
    with run("churn", store=store) as splitting:
        digest = frame_digest(train)
        blob = splitting.save_bytes("split/train.arrow", frame_to_bytes(train)).digest
        splitting.edge("produced", f"sha256:{digest}", role="split", is_file=False)
        splitting.state("split", {"parts": {"train": digest}, "blobs": {"train": blob}}, subject=f"sha256:{digest}")
    with run("churn", kind="step", store=store) as step:
        step.edge("used", f"sha256:{digest}", role=role, is_file=False)
        with run("churn", store=store) as training:
            return log_model(training, "model", fitted(train, features), sample=train.select(features).head(5))


@pytest.fixture
def train():
    return customers(400, seed=1)


@pytest.fixture
def test():
    return customers(300, seed=2, start=1000)


def ask(model, data, store, **more):
    return evaluate(model, data, target="churn", positive=more.pop("positive", "Yes"), store=store, **more)


def body_of(evaluation, store):
    (statement,) = get_run(evaluation.run, store=store).statements("evaluation")
    return statement


def test_an_evaluation_is_a_finished_run_with_metrics_facts_document_and_report(store, train, test):
    model = trained(store, train)
    found = ask(model, test, store, slices=["contract", ["contract", "gender"]], sensitive=["gender"], kpi=PROFIT)
    read = get_run(found.run, store=store)
    scores = fitted(train).predict_proba(test.select(FEATURES))[:, 1]
    assert (read.kind, read.status, read.experiment) == ("evaluation", "finished", "churn")
    assert found.subject == f"sha256:{model.digest}"
    assert read.metrics["auc"] == pytest.approx(roc_auc_score(test["churn"] == "Yes", scores), abs=1e-9)
    assert {artifact.path for artifact in read.artifacts} == {"evaluation.json", "report.html"}
    assert {(edge.verb, edge.target, edge.role) for edge in read.edges} == {
        ("used", f"sha256:{model.digest}", "model"),
        ("used", f"sha256:{frame_digest(test)}", "data"),
    }
    assert {check.name: check.state for check in doctor(store=store)}["files"] == "good", "rows are known by their digest, and no file"
    statement = body_of(found, store)
    assert statement.subject == f"sha256:{model.digest}"
    assert set(statement.body) == {"data", "metrics", "slices", "fairness", "kpis", "champion"}
    assert statement.body["data"]["digest"] == f"sha256:{frame_digest(test)}"
    assert statement.body["data"]["ref"] is None
    assert statement.body["data"]["rows"] == 300
    assert set(statement.body["metrics"]["auc"]) == {"value", "low", "high", "confidence", "n", "reason"}
    assert "contract=One year" in statement.body["slices"]
    assert "contract is null & gender=male" in statement.body["slices"]
    assert {"value", "low", "high"} <= set(statement.body["fairness"]["equalized_odds_difference[gender]"])
    assert {"value", "low", "high", "threshold", "unit"} <= set(statement.body["kpis"]["campaign profit"])
    assert statement.body["champion"] is None


def test_facts_are_plain_json_without_nan(store, train, test):
    statement = body_of(ask(trained(store, train), test.head(1), store, slices=["contract"], sensitive=["gender"], kpi=PROFIT), store)
    text = json.dumps(statement.body, allow_nan=False)
    assert json.loads(text)["metrics"]["auc"]["value"] is None
    assert statement.body["metrics"]["auc"]["reason"]


def test_results_and_report_are_read_back_by_run_and_by_model(store, train, test, tmp_path):
    model = trained(store, train)
    found = ask(model, test, store)
    assert read_results(found, store=store) == read_results(f"run:{found.run}", store=store) == read_results(model, store=store)
    place = write_report(model, store=store)
    assert place.parent == store.folder / "reports"
    assert place.read_text(encoding="utf-8") == get_run(found.run, store=store).read_artifact("report.html").decode()
    assert write_report(found, tmp_path / "deep" / "page.html", store=store).is_file()


def test_a_model_that_was_never_evaluated_has_no_report(store, train):
    with pytest.raises(NotFound, match="never evaluated"):
        write_report(trained(store, train), store=store)


def test_the_same_seed_gives_the_same_results(store, train, test):
    model = trained(store, train)
    first, second = (body_of(ask(model, test, store, slices=["contract"], sensitive=["gender"], kpi=PROFIT), store).body for _ in range(2))
    assert first == second


def test_no_rows_at_all_are_recorded_as_undefined(store, train, test):
    model = trained(store, train)
    body = body_of(ask(model, test.clear(), store, slices=["contract"], sensitive=["gender"], kpi=PROFIT), store).body
    everything = [*body["metrics"].values(), *body["fairness"].values(), *body["kpis"].values()]
    assert all(entry["value"] is None and entry["reason"] for entry in everything)
    assert body["data"]["rows"] == 0


@pytest.mark.slow
def test_the_number_of_threads_changes_nothing(store, train, test, tmp_path):
    """Law of the same seed, over processes that polars and BLAS give one thread, and three."""
    model = trained(store, train)
    test.write_parquet(tmp_path / "test.parquet")
    code = (
        "import json, sys; from stratal.evaluation import evaluate, kpi; from stratal.tracking.opening import open_store;"
        "from stratal.tracking.reading import get_run;"
        "store = open_store(sys.argv[1]);"
        "found = evaluate(sys.argv[2], sys.argv[3], target='churn', positive='Yes', slices=['contract'], sensitive=['gender'],"
        "kpi=kpi('profit', true_positive=110, false_positive=-15), store=store);"
        "print(json.dumps(get_run(found.run, store=store).statements('evaluation')[0].body, sort_keys=True))"
    )
    said = []
    for threads in ("1", "3"):
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), threads)
        source = str(Path(stratal.__file__).parents[1])
        command = [sys.executable, "-c", code, str(store.folder), f"run:{model.run}", str(tmp_path / "test.parquet")]
        done = subprocess.run(command, env={**os.environ, **limits, "PYTHONPATH": source}, capture_output=True, text=True, check=True)
        said.append(done.stdout)
    assert said[0] == said[1]
    assert '"auc"' in said[0]


# --- rows that training has seen ---


def test_rows_of_the_training_part_are_counted(store, train, test):
    model = trained(store, train)
    mixed = pl.concat([test, train.head(17)])
    assert body_of(ask(model, test, store), store).body["data"]["rows_shared_with_training"] == 0
    assert body_of(ask(model, mixed, store), store).body["data"]["rows_shared_with_training"] == 17
    assert body_of(ask(model, train, store), store).body["data"]["rows_shared_with_training"] == 400


def test_a_run_that_split_and_trained_by_itself_is_understood(store, train, test):
    with run("churn", store=store) as training:
        digests = {"train": frame_digest(train), "test": frame_digest(test)}
        blobs = {"train": training.save_bytes("split/train", frame_to_bytes(train)).digest}
        for digest in digests.values():
            training.state("split", {"parts": digests, "blobs": blobs}, subject=f"sha256:{digest}")
        model = log_model(training, "model", fitted(train), sample=train.select(FEATURES).head(5))
    assert body_of(ask(model, test, store), store).body["data"]["rows_shared_with_training"] == 0
    assert body_of(ask(model, train.head(9), store), store).body["data"]["rows_shared_with_training"] == 9


def test_unknown_training_rows_are_null_with_a_reason(store, train, test):
    with run("churn", store=store) as training:
        model = log_model(training, "model", fitted(train), sample=train.select(FEATURES).head(5))
    data = body_of(ask(model, test, store), store).body["data"]
    assert data["rows_shared_with_training"] is None
    assert "lineage" in data["reason"]


def test_the_test_part_of_a_split_is_not_taken_for_training_rows(store, train, test):
    with run("churn", store=store) as splitting:
        digests = {"train": frame_digest(train), "test": frame_digest(test)}
        blobs = {
            name: splitting.save_bytes(f"split/{name}", frame_to_bytes(part)).digest for name, part in (("train", train), ("test", test))
        }
        for digest in digests.values():
            splitting.state("split", {"parts": digests, "blobs": blobs}, subject=f"sha256:{digest}")
    with run("churn", store=store) as training:
        for digest in digests.values():
            training.edge("used", f"sha256:{digest}", role="rows")
        model = log_model(training, "model", fitted(train), sample=train.select(FEATURES).head(5))
    assert body_of(ask(model, test, store), store).body["data"]["rows_shared_with_training"] == 0


def test_rows_used_to_test_are_not_taken_for_training_rows(store, train, test):
    model = trained(store, train, role="test")
    assert body_of(ask(model, train, store), store).body["data"]["rows_shared_with_training"] is None


def test_shared_rows_are_counted_by_content_with_repeats_and_across_dtypes():
    one = pl.DataFrame({"a": [1, 1, 2, None], "b": ["x", "x", "y", None]})
    other = pl.DataFrame({"b": pl.Series(["x", None], dtype=pl.Categorical), "a": [1.0, None], "extra": [1, 2]})
    assert count_shared(one, other) == 3
    assert count_shared(one, pl.DataFrame({"c": [1]})) is None


# --- the champion ---


@pytest.fixture
def production(store):
    """A registry with one place."""
    held = {}

    def resolver(ref, _store):
        if "model" not in held:
            raise NotFound("model 'churn' has no version in Production", hint="promote one")
        return Resolved(ref=ref, digest=held["model"].digest, value=held["model"])

    register_resolver("model", resolver)
    return held


def test_a_champion_that_does_not_exist_yet_is_recorded_as_none(store, train, test, production):
    found = ask(trained(store, train), test, store, champion="model:churn@production")
    assert body_of(found, store).body["champion"] is None
    assert "no version in Production" in read_results(found, store=store).champion_note
    assert "no version in Production" in write_report(found, store=store).read_text()


def test_the_champion_against_itself_differs_by_nothing(store, train, test, production):
    production["model"] = trained(store, train)
    found = body_of(ask(production["model"], test, store, champion="model:churn@production", kpi=PROFIT), store).body["champion"]
    assert found["digest"] == f"sha256:{production['model'].digest}"
    assert {"auc", "log_loss", "f1", "average_precision", "campaign profit"} <= set(found["difference"])
    for name, entry in found["difference"].items():
        assert entry["value"] == 0, name
        assert entry["p"] >= 0.99, name
        assert entry["low"] <= 0 <= entry["high"], name


def test_another_model_is_compared_on_the_same_rows(store, train, test, production):
    production["model"] = trained(store, train, features=["spend"])
    ours = trained(store, train)
    found = ask(ours, test, store, champion="model:churn@production", kpi=PROFIT)
    entry = body_of(found, store).body["champion"]["difference"]["auc"]
    truth = test["churn"] == "Yes"
    expected = [roc_auc_score(truth, fitted(train, names).predict_proba(test.select(names))[:, 1]) for names in (FEATURES, ["spend"])]
    assert entry["value"] == pytest.approx(expected[0] - expected[1], abs=1e-9)
    assert entry["low"] > 0
    assert entry["p"] < 0.01
    assert ("model:churn@production", "champion") in {(edge.target, edge.role) for edge in get_run(found.run, store=store).edges}


# --- what may be passed, and what is refused ---


def test_scores_are_judged_without_a_model(store, test):
    scored = test.with_columns(p=pl.col("spend") / 200)
    by_column, by_array = ask(None, scored, store, scores="p"), ask(None, test, store, scores=scored["p"])
    left, right = read_results(by_column, store=store), read_results(by_array, store=store)
    assert left.metrics == right.metrics
    assert by_column.subject == ""
    assert left.data.rows_shared_with_training is None


def test_anything_with_scores_is_judged(store, test):
    class Rule:
        def scores(self, frame):
            return 1 - frame["tenure"].to_numpy() / 72

    assert read_results(ask(Rule(), test, store), store=store).metrics["auc"].value > 0.5


def test_the_model_says_which_class_is_positive(store, train, test):
    with run("churn", store=store) as training:
        model = LogisticRegression(max_iter=500).fit(train.select(FEATURES), train["churn"])
        handle = log_model(training, "model", model, sample=train.select(FEATURES).head(5))
    assert read_results(ask(handle, test, store, positive=None), store=store).positive == "Yes"


def test_a_run_ref_finds_its_model_and_a_file_its_rows(store, train, test, tmp_path):
    model = trained(store, train)
    test.write_csv(tmp_path / "test.csv")
    test.write_parquet(tmp_path / "test.parquet")
    values = [
        read_results(ask(f"run:{model.run[-8:]}", path, store), store=store).metrics["auc"].value
        for path in (test, tmp_path / "test.csv", str(tmp_path / "test.parquet"), test.to_pandas())
    ]
    assert values == pytest.approx([values[0]] * 4, abs=1e-12)


def test_a_bare_id_is_that_of_a_run(store, train, test):
    model = trained(store, train)
    found = ask(model.run[-8:], test, store)
    assert found.subject == f"sha256:{model.digest}"
    assert read_results(model.run[-8:], store=store) == read_results(found, store=store)


def test_weights_count_rows_and_zero_leaves_them_out(store, train, test):
    model = trained(store, train)
    weighted = test.with_columns(w=pl.Series([2.0, 0.0, 1.0] * 100))
    repeated = pl.concat([test.gather_every(3), test.gather_every(3), test.gather_every(3, offset=2)])
    left = read_results(ask(model, weighted, store, weights="w", slices=["contract"], sensitive=["gender"], kpi=PROFIT), store=store)
    right = read_results(ask(model, repeated, store, slices=["contract"], sensitive=["gender"], kpi=PROFIT), store=store)
    assert left.n == right.n == 300
    for name, found in left.metrics.items():
        assert found.value == pytest.approx(right.metrics[name].value, rel=1e-12), name
        assert found.low == pytest.approx(right.metrics[name].low, rel=1e-9), name
    assert left.kpis == right.kpis
    assert left.fairness == right.fairness


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"target": "chrun"}, "no column 'chrun'"),
        ({"target": "contract"}, "have no 'contract'"),
        ({"positive": None}, "which 'churn' is positive"),
        ({"positive": "yes"}, "no row has churn = yes"),
        ({"slices": ["nothing"]}, "no column 'nothing'"),
        ({"slices": ["gender", "gender"]}, "two slices"),
        ({"sensitive": ["gender", "gender"]}, "named twice"),
        ({"confidence": 95}, "0.95"),
        ({"weights": "gender"}, "cannot weigh"),
        ({"scores": [0.1, 0.2]}, "do not belong"),
        ({"kpi": [PROFIT, PROFIT]}, "taken"),
        ({"kpi": kpi("auc", true_positive=1, false_positive=0)}, "taken"),
    ],
)
def test_what_cannot_be_judged_is_refused_and_nothing_is_recorded(store, test, more, words):
    from stratal.tracking.runs import find_id

    class Rule:
        def scores(self, frame):
            return frame["tenure"].to_numpy() / 72

    arguments = {"target": "churn", "positive": "Yes", "store": store} | more
    with pytest.raises((Misuse, NotFound), match=words):
        evaluate(Rule(), test, **arguments)
    with pytest.raises(NotFound):
        find_id(store, "0000")
    with store.query() as tx:
        from stratal.tracking.statements import find_statements

        assert find_statements(tx, kind="evaluation") == []


@pytest.mark.parametrize("model", [42, object()])
def test_what_gives_no_scores_is_no_model(store, test, model):
    with pytest.raises(Misuse, match="gives no scores"):
        ask(model, test, store)


def test_a_model_must_score_every_row(store, test):
    class Short:
        def scores(self, frame):
            return np.zeros(3)

    class Odd:
        def scores(self, frame):
            return np.full(len(frame), np.nan)

    with pytest.raises(Misuse, match=r"scores of shape \(3,\) for 300 rows"):
        ask(Short(), test, store)
    with pytest.raises(Misuse, match="300 of 300 scores are NaN"):
        ask(Odd(), test, store)


def test_refs_parse_as_this_room_writes_them():
    assert str(parse_ref("model:churn@production")) == "model:churn@Production"
