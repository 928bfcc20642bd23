"""The real client of MLflow 3.17.2, unmodified, against a server over a store of ours. What it covers follows MLflow's own
`tests/tracking/test_rest_tracking.py`; the wire's corners are in the files beside this one.
"""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from stratal.server.mlflow.surface import Mlflow
from stratal.tracking.finding import find_runs
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run as start_run

if "CI" in os.environ:
    import mlflow
else:
    mlflow = pytest.importorskip("mlflow", reason="pip install mlflow-skinny==3.17.2")
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException


@pytest.fixture
def client(store, stage, monkeypatch):
    """The client, told of the server by its one setting."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    stage[0].handler = Mlflow(store)
    mlflow.set_tracking_uri(stage[1])
    mlflow.set_experiment("Default")
    yield MlflowClient(stage[1])
    while mlflow.active_run():
        mlflow.end_run()
    stage[0].handler.close()


def test_create_get_search_experiment(client):
    id = client.create_experiment("My Experiment", artifact_location="my_location", tags={"key1": "val1", "key2": "val2"})
    found = client.get_experiment(id)
    assert (found.name, found.artifact_location, found.tags) == ("My Experiment", "my_location", {"key1": "val1", "key2": "val2"})
    assert {e.name for e in client.search_experiments()} == {"My Experiment", "Default"}
    client.delete_experiment(id)
    assert {e.name for e in client.search_experiments()} == {"Default"}
    assert {e.name for e in client.search_experiments(view_type=ViewType.DELETED_ONLY)} == {"My Experiment"}
    first = client.search_experiments(max_results=1, view_type=ViewType.ALL)
    second = client.search_experiments(max_results=1, view_type=ViewType.ALL, page_token=first.token)
    assert ({first[0].name, second[0].name}, second.token) == ({"My Experiment", "Default"}, None)


def test_delete_restore_rename_experiment(client):
    id = client.create_experiment("Deleterious")
    client.delete_experiment(id)
    assert client.get_experiment(id).lifecycle_stage == "deleted"
    client.restore_experiment(id)
    assert client.get_experiment(id).lifecycle_stage == "active"
    client.rename_experiment(id, "GoodName")
    assert client.get_experiment(id).name == "GoodName"
    client.set_experiment_tag(id, "dataset", "imagenet1K")
    assert client.get_experiment(id).tags["dataset"] == "imagenet1K"
    assert client.get_experiment_by_name("nothing") is None


def test_create_run_all_args_and_defaults(client):
    tags = {"mlflow.user": "username", "mlflow.source.type": "LOCAL", "mlflow.source.name": "Hello", "mlflow.parentRunId": "7", "my": "tag"}
    experiment = client.create_experiment("Run A Lot")
    created = client.create_run(experiment, start_time=456, run_name="my name", tags=tags)
    fetched = client.get_run(created.info.run_id)
    for run in (created, fetched):
        assert (run.info.user_id, run.info.start_time, run.info.run_name) == ("username", 456, "my name")
        assert tags.items() <= run.data.tags.items()
    assert [run.info for run in client.search_runs([experiment])] == [fetched.info]
    assert client.create_run(experiment).info.user_id == "unknown"


def test_log_metrics_params_tags(client):
    id = client.create_run("0").info.run_id
    client.log_metric(id, key="metric", value=123.456, timestamp=789, step=2)
    client.log_metric(id, key="nan_metric", value=float("nan"))
    client.log_metric(id, key="inf_metric", value=float("inf"))
    client.log_metric(id, key="-inf_metric", value=-float("inf"))
    client.log_metric(id, key="stepless-metric", value=987.654, timestamp=321)
    client.log_param(id, "param", "value")
    client.log_param(id, "empty", "")
    client.set_tag(id, "taggity", "do-dah")
    run = client.get_run(id)
    assert run.data.metrics["metric"] == 123.456
    assert math.isnan(run.data.metrics["nan_metric"])
    assert (run.data.metrics["inf_metric"], run.data.metrics["-inf_metric"]) == (math.inf, -math.inf)
    assert run.data.params == {"param": "value", "empty": ""}
    assert run.data.tags["taggity"] == "do-dah"
    [point] = client.get_metric_history(id, "metric")
    assert (point.key, point.value, point.timestamp, point.step) == ("metric", 123.456, 789, 2)
    assert client.get_metric_history(id, "a_test_accuracy") == []
    client.delete_tag(id, "taggity")
    assert "taggity" not in client.get_run(id).data.tags
    with pytest.raises(MlflowException, match="No tag with name"):
        client.delete_tag(id, "taggity")
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(id, "param", "other")


def test_log_batch_and_paged_history(client):
    id = client.create_run("0").info.run_id
    metrics = [Metric("loss", 1 / (step + 1), 1000 + step, step) for step in range(2500)]
    client.log_batch(id, metrics=metrics, params=[Param(f"p{n}", str(n)) for n in range(150)], tags=[RunTag("a", "b")])
    assert [(p.step, p.value) for p in client.get_metric_history(id, "loss")] == [(step, 1 / (step + 1)) for step in range(2500)]
    assert len(client.get_run(id).data.params) == 150


def test_set_terminated_and_update_run(client):
    id = client.create_run("0").info.run_id
    client.set_terminated(id)
    assert client.get_run(id).info.status == "FINISHED"
    client.set_terminated(id, "FAILED", end_time=77)
    assert (client.get_run(id).info.status, client.get_run(id).info.end_time) == ("FAILED", 77)
    client.update_run(id, status="KILLED", name="new name")
    run = client.get_run(id)
    assert (run.info.status, run.info.run_name, run.data.tags["mlflow.runName"]) == ("KILLED", "new name", "new name")
    client.delete_run(id)
    assert client.get_run(id).info.lifecycle_stage == "deleted"
    with pytest.raises(MlflowException, match="active"):
        client.log_metric(id, "m", 1)
    client.restore_run(id)
    assert client.get_run(id).info.lifecycle_stage == "active"


def test_search_pagination_filters_and_orders(client):
    experiment = client.create_experiment("search")
    ids = [client.create_run(experiment, start_time=n + 1).info.run_id for n in range(10)]
    for n, id in enumerate(ids):
        client.log_metric(id, "auc", n / 10)
        client.log_param(id, "even", str(n % 2 == 0))
    first = client.search_runs([experiment], max_results=3)
    second = client.search_runs([experiment], max_results=8, page_token=first.token)
    assert [run.info.run_id for run in (*first, *second)] == ids[::-1]
    assert second.token is None
    found = client.search_runs([experiment], "metrics.auc >= 0.5 AND params.even = 'True'", order_by=["metrics.auc ASC"])
    assert [run.info.run_id for run in found] == [ids[6], ids[8]]
    with pytest.raises(MlflowException, match="Expected a number"):
        client.search_runs([experiment], "metrics.auc > 'x'")


def test_log_inputs(client):
    id = client.create_run("0").info.run_id
    dataset = Dataset(name="name1", digest="digest1", source_type="source_type1", source="source1")
    client.log_inputs(id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    [used] = client.get_run(id).inputs.dataset_inputs
    assert (used.dataset.name, used.tags[0].value) == ("name1", "training")
    assert len(client.search_runs(["0"], "dataset.name = 'name1' AND dataset.context = 'training'")) == 1


def test_artifacts(client, tmp_path: Path):
    id = client.create_run("0").info.run_id
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "my.file").write_text("Hello, World!")
    (tmp_path / "dir" / "sub" / "a b%.txt").write_text("odd")
    client.log_artifact(id, str(tmp_path / "my.file"))
    client.log_artifacts(id, str(tmp_path / "dir"), "folder")
    assert [(file.path, file.is_dir, file.file_size) for file in client.list_artifacts(id)] == [
        ("folder", True, None),
        ("my.file", False, 13),
    ]
    assert [file.path for file in client.list_artifacts(id, "folder/sub")] == ["folder/sub/a b%.txt"]
    got = Path(client.download_artifacts(id, "", str(tmp_path)))
    assert (got / "my.file").read_text() == "Hello, World!"
    with pytest.raises(MlflowException):
        client.download_artifacts(id, "nothing", str(tmp_path))


def test_fluent_runs_nest_resume_and_end_as_they_should(client, store):
    mlflow.set_experiment("fluent")
    with mlflow.start_run(run_name="outer", description="what it is", tags={"team": "x"}) as outer:
        mlflow.log_params({"lr": 0.1, "layers": 3})
        mlflow.log_metrics({"loss": 0.5}, step=1)
        with mlflow.start_run(nested=True) as inner:
            mlflow.log_metric("z", 1)
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as failed:
        _ = 1 / 0
    with mlflow.start_run(run_id=outer.info.run_id):
        mlflow.log_metric("loss", 0.25, step=2)
    run = get_run(outer.info.run_id, store=store)
    assert (run.name, run.status, run.params, run.metrics) == ("outer", "finished", {"lr": 0.1, "layers": 3}, {"loss": 0.25})
    assert ([note.text for note in run.notes], run.tags) == (["what it is"], {"team": "x"})
    assert run.capture["entry"]["kind"] == "local"
    assert get_run(inner.info.run_id, store=store).parent == run.id
    assert get_run(failed.info.run_id, store=store).status == "failed"
    found = mlflow.search_runs(experiment_names=["fluent"], filter_string="params.lr = '0.1'")
    assert found["run_id"].tolist() == [run.id]


def test_texts_tables_figures_and_images_are_logged_and_loaded(client, store):
    import matplotlib.pyplot as plt

    with mlflow.start_run() as run:
        mlflow.log_text("hello", "notes/a.txt")
        mlflow.log_dict({"a": 1}, "d.json")
        for n in range(2):
            mlflow.log_table({"question": [f"q{n}"], "answer": [n]}, "table.json")
        figure, axes = plt.subplots()
        axes.plot([1, 2])
        mlflow.log_figure(figure, "figure.png")
        plt.close(figure)
        mlflow.log_image(np.zeros((4, 4, 3), np.uint8), "image.png")
    id = run.info.run_id
    assert mlflow.artifacts.load_text(f"runs:/{id}/notes/a.txt") == "hello"
    assert mlflow.artifacts.load_dict(f"runs:/{id}/d.json") == {"a": 1}
    assert mlflow.load_table("table.json", run_ids=[id], extra_columns=["run_id"])["question"].tolist() == ["q0", "q1"]
    ours = get_run(id, store=store)
    assert {artifact.path for artifact in ours.artifacts} == {"notes/a.txt", "d.json", "table.json", "figure.png", "image.png"}
    assert json.loads(ours.read_artifact("d.json")) == {"a": 1}


def test_runs_of_our_own_users_are_read_by_the_client(client, store):
    with start_run("ours", params={"lr": 0.1}, store=store) as run:
        run.log({"auc": 0.75}, step=3)
        run.save_bytes("a/b.txt", b"b")
    found = mlflow.search_runs(experiment_names=["ours"], order_by=["metrics.auc DESC"])
    assert found.loc[0, ["run_id", "params.lr", "metrics.auc", "status"]].tolist() == [run.id, "0.1", 0.75, "FINISHED"]
    assert mlflow.artifacts.load_text(f"runs:/{run.id}/a/b.txt") == "b"


@pytest.mark.slow
def test_a_model_is_logged_registered_named_and_loaded_in_every_way(client, store):
    from sklearn.linear_model import LogisticRegression

    x = np.arange(20.0).reshape(-1, 1)
    model = LogisticRegression().fit(x, (x[:, 0] > 9).astype(int))
    with mlflow.start_run() as run:
        logged = mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"], registered_model_name="churn")
    client.set_registered_model_alias("churn", "best", 1)
    client.transition_model_version_stage("churn", 1, "Staging")
    want = model.predict(x).tolist()
    for uri in (logged.model_uri, "models:/churn/1", "models:/churn@best", "models:/churn/Staging", f"runs:/{run.info.run_id}/model"):
        assert mlflow.sklearn.load_model(uri).predict(x).tolist() == want
    assert mlflow.pyfunc.load_model("models:/churn/1").predict(x).tolist() == want
    assert [one.name for one in client.search_registered_models()] == ["churn"]


@pytest.mark.slow
def test_sklearn_autolog_says_what_a_fit_was(client, store):
    from sklearn.linear_model import LogisticRegression

    x = np.arange(20.0).reshape(-1, 1)
    mlflow.set_experiment("auto")
    mlflow.sklearn.autolog(log_input_examples=False, silent=True)
    try:
        with mlflow.start_run() as run:
            LogisticRegression(C=0.5).fit(x, (x[:, 0] > 9).astype(int))
    finally:
        mlflow.sklearn.autolog(disable=True)
    ours = get_run(run.info.run_id, store=store)
    assert (ours.params["C"], ours.status) == (0.5, "finished")
    assert ours.metrics["training_accuracy_score"] == 1.0
    [logged] = mlflow.search_logged_models(experiment_ids=[run.info.experiment_id], output_format="list")
    assert (logged.source_run_id, logged.status) == (run.info.run_id, "READY")
    assert [metric.key for metric in logged.metrics]
    assert mlflow.sklearn.load_model(f"models:/{logged.model_id}").C == 0.5
    assert len(find_runs("metrics.training_accuracy_score = 1.0", experiment="auto", store=store)) == 1
