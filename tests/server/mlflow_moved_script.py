"""What a team has on an MLflow server, and what its clients must find again after the move.

Run by test_moved_from_mlflow.py in a process with the real MLflow: `make` writes a store of MLflow's own and what its client sees
of it; `ask URI` holds what the client sees elsewhere against that. Prints a JSON line per step.
"""

import json
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model

SEEN = Path("seen.json")
STEPS: list[Callable[[], None]] = []


def step(function: Callable[[], None]) -> None:
    STEPS.append(function)


def make() -> None:
    mlflow.set_experiment("churn")
    with mlflow.start_run(run_name="parent", tags={"team": "a"}, description="the first") as parent:
        mlflow.log_params({"lr": 0.1, "layers": 2})
        for at in range(5):
            mlflow.log_metric("loss", 1.0 / (at + 1), step=at)
        mlflow.log_text("hello", "notes/a.txt")
        mlflow.log_text("flavors: {}", "export/MLmodel")
        with mlflow.start_run(run_name="child", nested=True) as child:
            mlflow.log_param("depth", 3)
    SEEN.write_text(json.dumps({"parent": parent.info.run_id, "child": child.info.run_id}))


@step
def a_run_is_there_under_its_id() -> None:
    run = client.get_run(seen["parent"])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (seen["parent"], "parent", "FINISHED")
    assert run.data.params == {"lr": "0.1", "layers": "2"} and run.data.metrics == {"loss": 0.2}
    assert run.data.tags["team"] == "a" and run.data.tags["mlflow.note.content"] == "the first"
    assert mlflow.get_run(seen["child"]).data.tags["mlflow.parentRunId"] == seen["parent"]


@step
def searches_give_the_ids_that_runs_had() -> None:
    assert set(mlflow.search_runs(search_all_experiments=True)["run_id"]) >= {seen["parent"], seen["child"]}
    for filter in (
        f"attributes.run_id = '{seen['parent']}'",
        f"run_id IN ('{seen['parent']}')",
        f"run_id LIKE '{seen['parent'][:20]}%'",
        f"artifact_uri LIKE '%/artifacts' AND run_id = '{seen['parent']}'",
        "tags.team = 'a'",
    ):
        assert list(mlflow.search_runs(filter_string=filter)["run_id"]) == [seen["parent"]], filter
    assert seen["parent"] not in set(mlflow.search_runs(filter_string=f"run_id != '{seen['parent']}'")["run_id"])
    assert list(mlflow.search_runs(filter_string=f"tags.mlflow.parentRunId = '{seen['parent']}'")["run_id"]) == [seen["child"]]


@step
def histories_and_files_are_reached() -> None:
    assert [point.value for point in client.get_metric_history(seen["parent"], "loss")] == [1.0 / (at + 1) for at in range(5)]
    assert [each.path for each in client.list_artifacts(seen["parent"], "notes")] == ["notes/a.txt"]
    assert mlflow.artifacts.load_text(f"runs:/{seen['parent']}/notes/a.txt") == "hello"
    assert mlflow.artifacts.load_text(f"{client.get_run(seen['parent']).info.artifact_uri}/notes/a.txt") == "hello"
    assert Path(mlflow.artifacts.download_artifacts(run_id=seen["parent"], artifact_path="export")).is_dir()


@step
def a_run_goes_on_under_its_id() -> None:
    with mlflow.start_run(run_id=seen["parent"]) as run:
        assert run.info.run_id == seen["parent"]
        mlflow.log_metric("loss", 0.1, step=5)
        mlflow.log_param("late", "yes")
        mlflow.set_tag("resumed", "yes")
        mlflow.log_text("more", "notes/b.txt")
        with mlflow.start_run(run_name="grandchild", nested=True) as new:
            mlflow.log_metric("acc", 0.5)
    found = client.get_run(seen["parent"])
    assert (found.info.status, found.data.metrics["loss"], found.data.params["late"]) == ("FINISHED", 0.1, "yes")
    assert mlflow.artifacts.load_text(f"runs:/{seen['parent']}/notes/b.txt") == "more"
    children = mlflow.search_runs(filter_string=f"tags.mlflow.parentRunId = '{seen['parent']}'")
    assert set(children["run_id"]) == {seen["child"], new.info.run_id}
    client.delete_run(new.info.run_id)


@step
def a_run_is_deleted_and_restored_under_its_id() -> None:
    client.delete_run(seen["child"])
    assert client.get_run(seen["child"]).info.lifecycle_stage == "deleted"
    assert seen["child"] not in set(mlflow.search_runs()["run_id"])
    client.restore_run(seen["child"])
    assert seen["child"] in set(mlflow.search_runs()["run_id"])


@step
def a_folder_of_an_old_run_is_registered() -> None:
    version = mlflow.register_model(f"runs:/{seen['parent']}/export", "exported")
    assert client.get_model_version("exported", version.version).run_id == seen["parent"]
    assert Model.load(mlflow.artifacts.download_artifacts("models:/exported/1")).flavors == {}


@step
def an_id_that_never_was_is_not_there() -> None:
    try:
        client.get_run("0" * 32)
    except MlflowException as error:
        assert error.error_code == "RESOURCE_DOES_NOT_EXIST"
    else:
        raise AssertionError("it was found")


def main(what: str, uri: str) -> None:
    mlflow.set_tracking_uri(uri)
    if what == "make":
        make()
        return
    mlflow.set_experiment("churn")
    for function in STEPS:
        error = ""
        try:
            function()
        except Exception:  # noqa: BLE001  # the test that is named after the step tells of it
            error = traceback.format_exc()
            while mlflow.active_run():
                mlflow.end_run()
        print(json.dumps({"step": function.__name__, "error": error}), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    client = MlflowClient(sys.argv[2])
    if sys.argv[1] == "ask":
        seen = json.loads(SEEN.read_text())
    main(*sys.argv[1:])
