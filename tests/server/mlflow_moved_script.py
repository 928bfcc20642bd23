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
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from sklearn.linear_model import LogisticRegression

SOURCE = {
    "mlflow.source.name": "a.ipynb", "mlflow.source.type": "NOTEBOOK", "mlflow.source.git.commit": "c0ffee",
    "mlflow.source.git.branch": "main", "mlflow.source.git.repoURL": "https://git.example/a",
}  # fmt: skip
SEEN = Path("seen.json")
X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
STEPS: list[Callable[[], None]] = []


def step(function: Callable[[], None]) -> None:
    STEPS.append(function)


def make() -> None:
    tags = {"team": "a", "mlflow.note.content": "about prices"}
    numbers = {name: mlflow.create_experiment(name, tags=tags if name == "prices" else None) for name in ("prices", "bin", "churn")}
    binned = {name: client.create_run(numbers["bin"], run_name=name) for name in ("first", "second")}
    client.log_metric(binned["first"].info.run_id, "loss", 1.0)
    client.delete_run(binned["first"].info.run_id)
    client.delete_experiment(numbers["bin"])
    dead = client.create_run(numbers["churn"], run_name="dead", tags=SOURCE)
    client.delete_run(dead.info.run_id)
    mlflow.set_experiment("churn")
    with mlflow.start_run(run_name="parent", tags={"team": "a"}, description="the first") as parent:
        mlflow.log_params({"lr": 0.1, "layers": 2})
        for at in range(5):
            mlflow.log_metric("loss", 1.0 / (at + 1), step=at)
        mlflow.log_text("hello", "notes/a.txt")
        mlflow.log_text("flavors: {}", "export/MLmodel")
        with mlflow.start_run(run_name="child", nested=True) as child:
            mlflow.log_param("depth", 3)
        model = LogisticRegression().fit(X, Y)
        logged = mlflow.sklearn.log_model(
            model, name="model", registered_model_name="churn", pip_requirements=["scikit-learn"], params={"c": 1}, tags={"kind": "linear"}
        )
        data = mlflow.data.from_numpy(X, targets=Y, name="train")
        mlflow.log_input(data, context="training", tags={"t": "1"})
        mlflow.log_metric("auc", 0.75, model_id=logged.model_id, dataset=data, step=1)
    with mlflow.start_run(run_name="evaluation") as evaluation:
        mlflow.log_metric("auc", 0.5, model_id=logged.model_id)
        client.log_inputs(evaluation.info.run_id, models=[LoggedModelInput(logged.model_id)])
    client.update_registered_model("churn", "what it is")
    client.set_registered_model_tag("churn", "team", "a")
    client.update_model_version("churn", "1", "the first")
    client.set_model_version_tag("churn", "1", "checked", "yes")
    client.set_registered_model_alias("churn", "champion", "1")
    client.transition_model_version_stage("churn", "1", "Production")
    for _ in range(3):
        mlflow.register_model(f"runs:/{parent.info.run_id}/export", "many")
    client.delete_model_version("many", "2")
    client.create_registered_model("planned", tags={"team": "b"}, description="no version yet")
    version = mlflow.register_model(f"runs:/{parent.info.run_id}/export", "Größe 1", tags={"odd": "yes"})
    client.set_registered_model_alias("Größe 1", "best", version.version)
    loose = mlflow.initialize_logged_model(name="loose", tags={"team": "a"})
    Path("loose.txt").write_text("loose")
    client.log_model_artifact(loose.model_id, "loose.txt")
    mlflow.finalize_logged_model(loose.model_id, "READY")
    gone = mlflow.initialize_logged_model(name="gone")
    client.delete_logged_model(gone.model_id)
    assert loose.source_run_id is None
    runs = {"parent": parent, "child": child, "evaluation": evaluation, "dead": dead, **binned}
    models = {"model": logged.model_id, "loose": loose.model_id, "gone": gone.model_id}
    told = {name: told_of(id) for name, id in models.items() if name != "gone"}
    told["experiments"] = [experiment_of(number) for number in numbers.values()]
    told["versions"] = [version_of("churn"), version_of("Größe 1")]
    SEEN.write_text(json.dumps({name: run.info.run_id for name, run in runs.items()} | models | {"told": told}))


def told_of(id: str) -> list[object]:
    """What the client sees of a logged model; places are the server's."""
    model = client.get_logged_model(id)
    points = sorted(
        (each.key, each.value, each.step, each.run_id, str(each.dataset_name), str(each.dataset_digest)) for each in model.metrics or ()
    )
    about = [model.name, str(model.status), model.source_run_id or "", model.model_type or "", model.creation_timestamp]
    return json.loads(json.dumps([*about, model.params, model.tags, points]))


def version_of(name: str) -> list[object]:
    """What the client sees of a registered model and its version."""
    model, version = client.get_registered_model(name), client.get_model_version(name, "1")
    aliases = {alias: str(number) for alias, number in model.aliases.items()}  # a number where no server is between
    tags = {key: value for key, value in version.tags.items() if key != "imported.by"}  # by which it is seen that somebody stated it
    made = [version.creation_timestamp, version.user_id or ""]
    about = [model.description or "", model.tags, aliases, version.description or "", tags, list(version.aliases), made]
    return json.loads(json.dumps([*about, version.current_stage, version.run_id, version.source, version.model_id or ""]))


def experiment_of(number: str) -> list[object]:
    """What the client sees of an experiment."""
    found = client.get_experiment(number)
    return [found.experiment_id, found.name, found.tags, found.lifecycle_stage, found.creation_time, found.last_update_time]


@step
def experiments_have_their_numbers_and_tags() -> None:
    told = seen["told"]["experiments"]
    assert [experiment_of(each[0]) for each in told] == told, ([experiment_of(each[0]) for each in told], told)
    prices, bin, churn = (each[0] for each in told)
    assert mlflow.set_experiment(experiment_id=prices).name == "prices"
    assert [each.name for each in client.search_experiments(filter_string="tags.team = 'a'")] == ["prices"]
    assert {each.info.run_id for each in client.search_runs([churn])} >= {seen["parent"], seen["child"]}
    with mlflow.start_run(experiment_id=churn) as run:
        pass
    assert client.get_run(run.info.run_id).info.experiment_id == churn
    client.delete_run(run.info.run_id)
    assert client.get_run(seen["parent"]).info.artifact_uri.split("/")[-3] == churn
    assert client.create_experiment("another") not in (prices, bin, churn)
    mlflow.set_experiment("churn")


@step
def what_was_deleted_is_in_the_bin_and_comes_back() -> None:
    churn, bin = (seen["told"]["experiments"][at][0] for at in (2, 1))
    assert client.get_run(seen["dead"]).info.lifecycle_stage == "deleted"
    assert seen["dead"] not in {each.info.run_id for each in client.search_runs([churn])}
    assert [each.info.run_id for each in client.search_runs([churn], "attributes.run_name = 'dead'", ViewType.DELETED_ONLY)] == [
        seen["dead"]
    ]
    client.restore_run(seen["dead"])
    assert seen["dead"] in {each.info.run_id for each in client.search_runs([churn])}
    assert "mlflow.deleted" not in client.get_run(seen["dead"]).data.tags
    assert [each.name for each in client.search_experiments(ViewType.DELETED_ONLY)] == ["bin"]
    assert not client.search_runs([bin])
    client.restore_experiment(bin)
    assert {each.info.run_id for each in client.search_runs([bin])} == {seen["first"], seen["second"]}
    assert client.get_run(seen["first"]).data.metrics == {"loss": 1.0}


@step
def registered_models_are_what_they_were() -> None:
    for name, told in zip(("churn", "Größe 1"), seen["told"]["versions"], strict=True):
        assert version_of(name) == told, (version_of(name), told)
    assert [each.name for each in client.search_registered_models("tags.team = 'a'")] == ["churn"]
    assert [each.version for each in client.search_model_versions(f"run_id = '{seen['parent']}' AND tags.checked = 'yes'")] == ["1"]
    assert Model.load(mlflow.artifacts.download_artifacts("models:/Größe 1@best")).flavors == {}
    made = client.get_model_version("churn", "1").creation_timestamp
    filters = (f"creation_timestamp = {made} AND name = 'churn'", f"creation_timestamp < {made} AND name = 'churn'")
    assert [len(client.search_model_versions(filter)) for filter in filters] == [1, 0]
    assert client.get_model_version("churn", "1").tags["imported.by"]


@step
def a_version_behind_a_deleted_one_keeps_its_number() -> None:
    assert [str(each.version) for each in client.search_model_versions("name = 'many'", order_by=["version_number ASC"])] == ["1", "3"]
    assert Model.load(mlflow.artifacts.download_artifacts("models:/many/3")).flavors == {}
    try:
        client.get_model_version("many", "2")
    except MlflowException as error:
        assert error.error_code == "RESOURCE_DOES_NOT_EXIST"
    else:
        raise AssertionError("a version that was deleted is there")
    assert str(mlflow.register_model(f"runs:/{seen['parent']}/export", "many").version) == "4"


@step
def a_model_without_versions_is_there() -> None:
    planned = client.get_registered_model("planned")
    assert (planned.description, planned.tags, list(planned.latest_versions)) == ("no version yet", {"team": "b"}, [])
    assert str(mlflow.register_model(f"runs:/{seen['parent']}/export", "planned").version) == "1"


@step
def a_run_is_there_under_its_id() -> None:
    run = client.get_run(seen["parent"])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (seen["parent"], "parent", "FINISHED")
    assert run.data.params == {"lr": "0.1", "layers": "2"} and run.data.metrics["loss"] == 0.2
    assert run.data.tags["team"] == "a" and run.data.tags["mlflow.note.content"] == "the first"
    assert mlflow.get_run(seen["child"]).data.tags["mlflow.parentRunId"] == seen["parent"]
    assert SOURCE.items() <= client.get_run(seen["dead"]).data.tags.items()


@step
def searches_give_the_ids_that_runs_had() -> None:
    found = set(mlflow.search_runs(search_all_experiments=True)["run_id"])
    assert {seen["parent"], seen["child"]} <= found <= set(map(str, seen.values()))  # none that only keeps what a registered model was
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
def a_logged_model_is_what_it_was() -> None:
    for name in ("model", "loose"):
        told = seen["told"][name]
        assert told_of(seen[name]) == told, (name, told_of(seen[name]), told)


@step
def logged_models_load_by_every_name() -> None:
    for uri in (f"models:/{seen['model']}", f"runs:/{seen['parent']}/model", "models:/churn/1"):
        assert list(mlflow.pyfunc.load_model(uri).predict(X)) == [0, 0, 1, 1], uri
    assert mlflow.models.get_model_info(f"models:/{seen['model']}").run_id == seen["parent"]
    assert (Path(mlflow.artifacts.download_artifacts(f"models:/{seen['loose']}")) / "loose.txt").read_text() == "loose"


@step
def logged_models_are_found() -> None:
    found = mlflow.search_logged_models(output_format="list")
    assert {each.model_id for each in found} == {seen["model"], seen["loose"]}
    for filter in (
        f"source_run_id = '{seen['parent']}'",
        "metrics.auc > 0.4 AND params.c = '1' AND tags.kind = 'linear'",
        "name = 'model'",
    ):
        assert [each.model_id for each in mlflow.search_logged_models(filter_string=filter, output_format="list")] == [seen["model"]], (
            filter
        )


@step
def runs_name_their_models_and_data() -> None:
    parent, evaluation = client.get_run(seen["parent"]), client.get_run(seen["evaluation"])
    assert [(each.model_id, each.step) for each in parent.outputs.model_outputs] == [(seen["model"], 0)]
    assert [each.model_id for each in evaluation.inputs.model_inputs] == [seen["model"]]
    [data] = parent.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.source_type) == ("train", "code") and data.dataset.schema and data.dataset.profile
    assert {tag.key: tag.value for tag in data.tags} == {"t": "1", "mlflow.data.context": "training"}
    assert list(mlflow.search_runs(filter_string="datasets.name = 'train'")["run_id"]) == [seen["parent"]]
    assert "models" not in [each.path for each in client.list_artifacts(seen["parent"])], "its files are the model's own"


@step
def logged_models_go_on() -> None:
    client.set_logged_model_tags(seen["model"], {"new": "yes"})
    client.delete_logged_model_tag(seen["model"], "kind")
    tags = client.get_logged_model(seen["model"]).tags
    assert tags["new"] == "yes" and "kind" not in tags
    assert str(mlflow.register_model(f"models:/{seen['model']}", "again").version) == "1"
    assert client.get_model_version("again", "1").run_id == seen["parent"]
    assert list(mlflow.pyfunc.load_model("models:/again/1").predict(X)) == [0, 0, 1, 1]


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
