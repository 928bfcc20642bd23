"""What a user's script does with models of MLflow: only the tracking URI differs between a server and the plug-in.

Run by test_mlflow_client_models.py in a process with the real MLflow. Prints a JSON line per step.
"""

import json
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LogisticRegression

PAGE = Path(__file__).parents[2] / "docs" / "mlflow.md"
X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
NEEDS = ["scikit-learn"]
STEPS: list[Callable[[], None]] = []
kept: dict[str, object] = {}


class Doubles(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [each * 2 for each in model_input]


def step(function: Callable[[], None]) -> None:
    STEPS.append(function)


def code(call: Callable[[], object]) -> str:
    try:
        call()
    except MlflowException as error:
        kept["message"] = str(error)
        return error.error_code
    raise AssertionError("nothing was raised")


def predicts(uri: str) -> None:
    assert list(mlflow.pyfunc.load_model(uri).predict(X)) == [0, 0, 1, 1], uri


@step
def a_plain_script_logs_reads_and_searches() -> None:
    with mlflow.start_run(run_name="plain", tags={"team": "a"}) as run:
        mlflow.log_params({"lr": 0.1, "layers": 2})
        for at in range(5):
            mlflow.log_metric("loss", 1.0 / (at + 1), step=at)
        mlflow.log_text("hello", "notes/a.txt")
        mlflow.log_dict({"a": 1}, "notes/b.json")
        try:
            mlflow.log_artifact("nowhere.txt")
        except FileNotFoundError as error:
            kept["nowhere"] = str(error)
    assert "nowhere.txt" in str(kept["nowhere"])
    id = run.info.run_id
    found = client.get_run(id)
    assert (found.info.status, found.info.run_name, found.data.params) == ("FINISHED", "plain", {"lr": "0.1", "layers": "2"})
    assert [point.value for point in client.get_metric_history(id, "loss")] == [1.0 / (at + 1) for at in range(5)]
    assert sorted(each.path for each in client.list_artifacts(id, "notes")) == ["notes/a.txt", "notes/b.json"]
    assert mlflow.artifacts.load_text(f"{found.info.artifact_uri}/notes/a.txt") == "hello"
    assert mlflow.artifacts.load_dict(f"runs:/{id}/notes/b.json") == {"a": 1}
    assert sorted(each.path for each in client.list_artifacts(id, "./notes")) == ["./notes/a.txt", "./notes/b.json"]
    assert Path(mlflow.artifacts.download_artifacts(run_id=id, artifact_path="./notes")).joinpath("a.txt").read_text() == "hello"
    table = mlflow.search_runs(filter_string="metrics.loss < 0.3 AND params.layers = '2' AND tags.team = 'a'")
    assert list(table["run_id"]) == [id]
    assert "models" in [each.name for each in mlflow.search_experiments()]
    with mlflow.start_run(run_id=id):
        mlflow.set_tag("resumed", "yes")
    assert code(lambda: client.log_param(id, "lr", "0.2")) == "INVALID_PARAMETER_VALUE"
    mlflow.delete_run(id)
    assert len(mlflow.search_runs(filter_string="tags.team = 'a'")) == 0
    client.restore_run(id)
    assert len(mlflow.search_runs(filter_string="tags.team = 'a'")) == 1


@step
def a_run_logs_a_model_and_registers_it() -> None:
    with mlflow.start_run() as run:
        kept["run"] = run.info.run_id
        logged = mlflow.sklearn.log_model(
            LogisticRegression().fit(X, Y), name="model", registered_model_name="churn", pip_requirements=NEEDS, params={"depth": 3}
        )
    kept["id"] = logged.model_id
    assert str(logged.registered_model_version) == "1"
    found = mlflow.get_logged_model(logged.model_id)
    assert (str(found.status), found.source_run_id, found.params) == ("READY", kept["run"], {"depth": "3"})
    assert [each.model_id for each in client.get_run(kept["run"]).outputs.model_outputs] == [logged.model_id]
    assert found.tags["mlflow.modelVersions"], "registering tells the logged model"
    assert client.list_artifacts(kept["run"]) == [], "the model's files are its own"
    assert "model/MLmodel" in [each.path for each in client.list_artifacts(kept["run"], "model")]


@step
def models_are_loaded_by_every_name() -> None:
    client.set_registered_model_alias("churn", "champion", "1")
    client.transition_model_version_stage("churn", "1", "Staging")
    names = ("models:/churn/1", "models:/churn@champion", "models:/churn/Staging", "models:/churn/latest")
    for uri in (*names, f"runs:/{kept['run']}/model", f"models:/{kept['id']}"):
        predicts(uri)
    assert list(mlflow.sklearn.load_model("models:/churn/1").predict(X)) == [0, 0, 1, 1]


@step
def a_model_is_registered_by_its_run_and_by_its_id() -> None:
    version = mlflow.register_model(f"runs:/{kept['run']}/model", "churn", tags={"a": "b"})
    assert str(version.version) == "2"
    assert client.get_model_version("churn", "2").tags == {"a": "b"}
    assert str(mlflow.register_model(f"models:/{kept['id']}", "churn").version) == "3"
    assert client.get_model_version("churn", "3").source == f"models:/{kept['id']}"
    predicts("models:/churn/3")


@step
def a_folder_of_a_run_that_is_no_logged_model_is_registered() -> None:
    with mlflow.start_run() as begun:
        mlflow.log_text("flavors: {}", "export/MLmodel")
    for uri in (f"runs:/{begun.info.run_id}/export", f"{begun.info.artifact_uri}/export"):
        version = mlflow.register_model(uri, "folder")
        kept_as = client.get_model_version("folder", version.version)
        assert (kept_as.run_id, kept_as.description, kept_as.model_id) == (begun.info.run_id, "", None)
    client.delete_registered_model("folder")


@step
def aliases_and_stages_move() -> None:
    client.set_registered_model_alias("churn", "champion", "2")
    assert str(client.get_model_version_by_alias("churn", "champion").version) == "2"
    client.delete_registered_model_alias("churn", "champion")
    assert code(lambda: client.get_model_version_by_alias("churn", "champion")) == "INVALID_PARAMETER_VALUE"
    client.transition_model_version_stage("churn", "1", "Production")
    client.transition_model_version_stage("churn", "2", "Production", archive_existing_versions=True)
    assert client.get_model_version("churn", "1").current_stage == "Archived"
    assert [str(each.version) for each in client.get_latest_versions("churn", ["Production"])] == ["2"]


@step
def models_and_versions_are_searched() -> None:
    assert [each.name for each in client.search_registered_models()] == ["churn", "gated"]
    assert [each.name for each in client.search_registered_models("name ILIKE 'CH%'")] == ["churn"]
    assert len(client.search_model_versions("name = 'churn'")) == 3
    first = client.search_model_versions("name = 'churn'", max_results=2, order_by=["version_number ASC"])
    second = client.search_model_versions("name = 'churn'", max_results=2, order_by=["version_number ASC"], page_token=first.token)
    assert [str(each.version) for each in [*first, *second]] == ["1", "2", "3"]
    source = client.get_model_version("churn", "1").source
    assert "1" in [str(each.version) for each in client.search_model_versions(f"source_path = '{source}'")]
    place = client.get_run(kept["run"]).info.artifact_uri
    assert list(mlflow.search_runs(filter_string=f"attributes.artifact_uri = '{place}'")["run_id"]) == [kept["run"]]
    assert [each.model_id for each in mlflow.search_logged_models(output_format="list")] == [kept["id"]]


@step
def a_logged_model_is_tagged_measured_and_found() -> None:
    mlflow.set_logged_model_tags(kept["id"], {"k": "v", "z": "1"})
    client.delete_logged_model_tag(kept["id"], "z")
    mlflow.log_model_params({"late": "1"}, model_id=kept["id"])
    with mlflow.start_run(run_id=kept["run"]):
        mlflow.log_metric("acc", 0.75, model_id=kept["id"])
    found = mlflow.get_logged_model(kept["id"])
    assert (found.tags["k"], "z" in found.tags, found.params["late"]) == ("v", False, "1")
    assert [(each.key, each.value, each.run_id) for each in found.metrics] == [("acc", 0.75, kept["run"])]
    experiment = [found.experiment_id]
    assert len(client.search_logged_models(experiment, filter_string="metrics.acc > 0.5 AND tags.k = 'v'")) == 1
    assert len(client.search_logged_models(experiment, filter_string="metrics.acc > 0.8")) == 0
    assert "MLmodel" in [each.path for each in client.list_logged_model_artifacts(kept["id"])]


@step
def a_python_model_is_kept_and_loaded() -> None:
    with mlflow.start_run():
        mlflow.log_metric("before", 0.5)
        made = mlflow.pyfunc.log_model(name="py", python_model=Doubles(), registered_model_name="double", pip_requirements=NEEDS)
    assert [(each.key, each.value) for each in mlflow.get_logged_model(made.model_id).metrics] == [("before", 0.5)]
    assert mlflow.pyfunc.load_model("models:/double/1").predict([1, 2]) == [2, 4]


@step
def models_are_made_without_a_run_and_deleted() -> None:
    runs = len(mlflow.search_runs())
    made = mlflow.create_external_model(name="external", params={"a": "b"})
    assert str(made.status) == "READY"
    assert len(mlflow.search_runs()) == runs
    client.delete_logged_model(made.model_id)
    for nowhere in (made.model_id, "m-" + "0" * 32, "1234"):
        assert code(lambda nowhere=nowhere: mlflow.get_logged_model(nowhere)) == "RESOURCE_DOES_NOT_EXIST"


@step
def versions_are_copied_and_models_renamed_described_tagged_and_deleted() -> None:
    assert str(client.copy_model_version("models:/churn/1", "copied").version) == "1"
    predicts("models:/copied/1")
    client.rename_registered_model("copied", "renamed")
    predicts("models:/renamed/1")
    client.update_registered_model("renamed", "of the model")
    client.update_model_version("renamed", "1", "of the version")
    client.set_registered_model_tag("renamed", "a", "b")
    client.set_model_version_tag("renamed", "1", "x", "y")
    found = client.get_registered_model("renamed")
    assert (found.description, found.tags) == ("of the model", {"a": "b"})
    assert (found.latest_versions[0].description, found.latest_versions[0].tags) == ("of the version", {"x": "y"})
    client.delete_registered_model_tag("renamed", "a")
    client.delete_model_version_tag("renamed", "1", "x")
    client.delete_model_version("renamed", "1")
    client.delete_registered_model("renamed")
    assert code(lambda: client.get_registered_model("renamed")) == "RESOURCE_DOES_NOT_EXIST"
    client.create_registered_model("renamed")
    assert code(lambda: client.create_registered_model("renamed")) == "RESOURCE_ALREADY_EXISTS"
    assert str(client.copy_model_version("models:/churn/1", "renamed").version) == "1"


@step
def autolog_keeps_a_model_with_its_metrics() -> None:
    mlflow.sklearn.autolog(log_input_examples=False, log_model_signatures=False)
    with mlflow.start_run() as run:
        LogisticRegression().fit(X, Y)
    mlflow.sklearn.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    assert found.data.params["C"] == "1.0"
    assert found.inputs.dataset_inputs
    (output,) = found.outputs.model_outputs
    assert "training_accuracy_score" in [each.key for each in mlflow.get_logged_model(output.model_id).metrics]
    predicts(f"runs:/{run.info.run_id}/model")


@step
def an_evaluation_measures_a_model_and_the_data_it_saw() -> None:
    frame = pd.DataFrame({"a": X[:, 0], "y": Y})
    with mlflow.start_run():
        made = mlflow.sklearn.log_model(LogisticRegression().fit(frame[["a"]], Y), name="measured", pip_requirements=NEEDS)
    data = mlflow.data.from_pandas(frame, targets="y", name="four rows")
    with mlflow.start_run() as run:
        result = mlflow.models.evaluate(
            made.model_uri, data, model_type="classifier", evaluators="default", evaluator_config={"log_model_explainability": False}
        )
    found = client.get_run(run.info.run_id)
    assert result.metrics["accuracy_score"] == 1.0 and found.data.metrics == result.metrics
    assert [each.dataset.name for each in found.inputs.dataset_inputs] == ["four rows"]
    assert [each.model_id for each in found.inputs.model_inputs] == [made.model_id]
    assert {f"{name}.png" for name in result.artifacts} <= {each.path for each in client.list_artifacts(run.info.run_id)}
    measured = mlflow.get_logged_model(made.model_id).metrics
    assert {each.key: each.value for each in measured} == result.metrics
    assert {(each.run_id, each.dataset_name, each.dataset_digest) for each in measured} == {(run.info.run_id, "four rows", data.digest)}
    assert [each.name for each in mlflow.search_logged_models(filter_string="metrics.roc_auc = 1", output_format="list")] == ["measured"]
    assert list(mlflow.search_runs(filter_string="dataset.name = 'four rows'")["run_id"]) == [run.info.run_id]


@step
def a_model_of_torch_is_logged_and_loaded() -> None:
    net = torch.nn.Linear(1, 2)
    rows = torch.tensor(X, dtype=torch.float32)
    with mlflow.start_run() as run:
        mlflow.pytorch.log_model(
            net, name="net", registered_model_name="net", pip_requirements=["torch"], serialization_format="pickle",
            input_example=rows.numpy(),
        )  # fmt: skip
        mlflow.pytorch.log_state_dict(net.state_dict(), artifact_path="state")
    for uri in ("models:/net/1", f"runs:/{run.info.run_id}/net"):
        assert torch.equal(mlflow.pytorch.load_model(uri)(rows), net(rows))
        assert np.array_equal(mlflow.pyfunc.load_model(uri).predict(rows.numpy()), net(rows).detach().numpy())
    state = mlflow.pytorch.load_state_dict(f"runs:/{run.info.run_id}/state")
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())


@step
def a_gate_that_refuses_is_read() -> None:
    assert code(lambda: client.transition_model_version_stage("gated", "1", "Staging")) == "INVALID_STATE"
    for words in ("model:gated@1: Development → Staging is refused", "auc >= 0.8", "no evaluation of this version"):
        assert words in str(kept["message"]), kept["message"]


@step
def what_is_not_kept_is_refused_by_its_code() -> None:
    assert code(lambda: client.search_traces(locations=["0"])) == "NOT_IMPLEMENTED"


@step
def the_script_of_the_page_works() -> None:
    script = re.findall(r"```py\n(import mlflow\n.*?)```", PAGE.read_text(), re.DOTALL)[0]
    exec(re.sub(r'set_tracking_uri\("[^"]*"\)', f"set_tracking_uri({sys.argv[1]!r})", script), {})
    mlflow.set_experiment("models")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    mlflow.set_tracking_uri(sys.argv[1])
    mlflow.set_experiment("models")
    client = MlflowClient()
    for each in STEPS:
        error = ""
        try:
            each()
        except Exception:  # noqa: BLE001  # the test that is named after the step tells of it
            error = traceback.format_exc(limit=-5)
        print(json.dumps({"step": each.__name__, "error": error}), flush=True)
