"""What rights mean over MLflow's wire: lists, authors, and no way round. Excludes who may use which route (test_rights)."""

import pytest
from mlflow_wire import Wire

from stratal.tracking.reading import get_run

PEOPLE = ("ada", "bob", "vera", "eve")


@pytest.fixture
def people(guarded):
    """Everybody with a client; and of ada an experiment `churn` with a run, and models of it, one of them registered as `mine`."""
    clients = {name: Wire(guarded.url) for name in PEOPLE}
    for name, client in clients.items():
        client.http.headers["authorization"] = f"Bearer {guarded.token_of(name)}"
    experiment = clients["ada"].experiment("churn")
    run = clients["ada"].run(experiment)
    version(clients["ada"], "mine", experiment, run)
    clients["ada"].ok("logged-models", experiment_id=experiment, name="m", source_run_id=run)
    yield clients, experiment
    for client in clients.values():
        client.http.close()


def version(client: Wire, model: str, experiment: str, run: str) -> None:
    """Register a file of a run."""
    client.http.put(f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/m/a.txt", content=b"1")
    client.ok("registered-models/create", name=model)
    client.ok("model-versions/create", name=model, source=f"runs:/{run}/m", run_id=run)


def test_lists_hold_what_one_may_view(people):
    clients, experiment = people
    clients["ada"].run(clients["ada"].experiment("secret"))
    for name, seen in (("ada", ["churn", "Default", "secret"]), ("bob", ["churn"]), ("vera", ["churn"]), ("eve", [])):
        found = clients[name].ok("experiments/search", max_results=10).get("experiments", [])
        assert sorted((one["name"] for one in found), key=str.lower) == seen
        runs = clients[name].ok("runs/search", experiment_ids=["0", experiment, "2"]).get("runs", [])
        assert len(runs) == {"ada": 2, "eve": 0}.get(name, 1)
        logged = clients[name].ok("logged-models/search", experiment_ids=[experiment]).get("models", [])
        assert len(logged) == {"eve": 0}.get(name, 1)
        registered = clients[name].read("registered-models/search").get("registered_models", [])
        versions = clients[name].read("model-versions/search").get("model_versions", [])
        assert len(registered) == len(versions) == {"ada": 1}.get(name, 0)


def test_the_author_is_who_asked_whatever_the_client_says(people, guarded):
    clients, experiment = people
    said = [{"key": "mlflow.user", "value": "ada"}, {"key": "mlflow.note.content", "value": "mine"}]
    made = clients["bob"].ok("runs/create", experiment_id=experiment, user_id="ada", tags=said)["run"]
    assert made["info"]["user_id"] == "bob"
    id = made["info"]["run_id"]
    clients["bob"].ok("runs/set-tag", run_id=id, key="mlflow.user", value="ada")
    run = get_run(id, store=guarded.store)
    assert (run.user, [note.author for note in run.notes]) == ("bob", ["bob"])


def test_a_run_of_another_experiment_is_reached_by_no_detour(people):
    clients, _ = people
    secret = clients["ada"].run(experiment := clients["ada"].experiment("secret"))
    bob = clients["bob"]
    assert bob.get("runs/get", run_id=secret).status_code == 403
    assert bob.refused("runs/log-batch", run_id=secret, metrics=[{"key": "m", "value": 1, "timestamp": 1}])[0] == 403
    assert bob.http.put(f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{secret}/artifacts/a", content=b"1").status_code == 403
    assert bob.http.get("/get-artifact", params={"run_id": secret, "path": "a"}).status_code == 403
    assert bob.get("metrics/get-history-bulk", run_id=[secret], metric_key="m").status_code == 403
    assert bob.refused("runs/create", experiment_id=experiment)[0] == 403


def test_a_version_of_files_that_one_may_not_view_is_refused(people, guarded):
    clients, _ = people
    secret = clients["ada"].run(experiment := clients["ada"].experiment("secret"))
    version(clients["ada"], "hidden", experiment, secret)
    guarded.accounts.grant(person="bob", role="contributor", on="model:mine")
    for source, place in ((f"runs:/{secret}/m", "experiment:secret"), ("models:/hidden/1", "model:hidden")):
        assert clients["bob"].refused("model-versions/create", name="mine", source=source)[0] == 403
        guarded.accounts.grant(person="bob", role="viewer", on=place)
        clients["bob"].ok("model-versions/create", name="mine", source=source)


def test_rights_follow_the_registrys_name_through_a_rename(people, guarded):
    clients, _ = people
    guarded.accounts.grant(person="bob", role="approver", on="model:mine")
    guarded.accounts.grant(person="eve", role="viewer", on="model:other")
    assert clients["bob"].refused("registered-models/rename", name="mine", new_name="other")[0] == 403, "others may look for that name"
    assert clients["bob"].refused("registered-models/rename", name="mine", new_name="hidden")[0] == 403, "whether it is there or not"
    guarded.accounts.grant(person="bob", role="contributor", on="model:other")
    clients["bob"].ok("registered-models/rename", name="mine", new_name="other")
    assert clients["bob"].read("registered-models/get", name="other")["registered_model"]["name"] == "other"
    assert clients["eve"].get("registered-models/get", name="other").status_code == 403


def test_who_may_not_view_what_they_write_is_told_that_writing_takes_contributor(people):
    clients, experiment = people
    answer = clients["eve"].post("runs/create", experiment_id=experiment)
    assert "contributor to write: stratal grant add eve ROLE experiment:NAME" in answer.json()["message"]
