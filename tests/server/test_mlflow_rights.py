"""Who may do what over MLflow's wire: every route of its table, asked by people of each role, and by nobody. Excludes what calls mean."""

import pytest
from mlflow_wire import Wire

from stratal.core.people import Role
from stratal.server.doorway import Doorway
from stratal.server.mlflow.surface import Mlflow
from stratal.server.mlflow.table import LOGGED, MODELS, ROUTES, Carries, anything
from stratal.tracking.reading import get_run

ROLES = {"ada": Role.ADMIN, "bob": Role.CONTRIBUTOR, "vera": Role.VIEWER, "eve": None}


@pytest.fixture
def people(guarded, stage):
    """Everybody with a client, and what ada has made: an experiment `churn` with a run, a file, a model and a logged one."""
    surface = Mlflow(guarded.store, guard=guarded.guard)
    stage[0].handler = Doorway(surface, guarded.guard)
    clients = {name: Wire(stage[1]) for name in (*ROLES, "nobody")}
    for name in ROLES:
        clients[name].http.headers["authorization"] = f"Bearer {guarded.token_of(name)}"
    ada = clients["ada"]
    experiment = ada.experiment("churn")
    run = ada.run(experiment)
    for path in ("a.txt", "m/a.txt"):
        ada.http.put(f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/{path}", content=b"1")
    logged = ada.ok("logged-models", experiment_id=experiment, name="m", source_run_id=run)["model"]["info"]["model_id"]
    ada.ok("registered-models/create", name="churn")
    ada.ok("model-versions/create", name="churn", source=f"runs:/{run}/m", run_id=run)
    fields = {
        "run_id": run, "run_ids": [run], "experiment_id": experiment, "experiment_ids": [experiment], "experiment_name": "churn",
        "name": "churn", "version": "1", "key": "k", "value": "1", "timestamp": 1, "metric_key": "m", "path": "a.txt", "max_results": 5,
        "stage": "Staging", "alias": "best", "source": f"runs:/{run}/m", "model_id": logged, "tag_key": "k",
        "file": f"{experiment}/{run}/artifacts/a.txt",
    }  # fmt: skip
    yield clients, fields
    for client in clients.values():
        client.http.close()
    surface.close()


def ask(client: Wire, route, fields: dict):
    path = route.path if route.path[0] == "/" else f"/api/{route.path}"
    for name in ("model_id", "tag_key"):
        path = path.replace(f"{{{name}}}", fields[name])
    path = path.replace("{path*}", fields["file"])
    said = dict(fields, path=fields["file"]) if route.path.endswith("/artifacts") else dict(fields)
    if route.path.startswith("2.0/mlflow/metrics/get-history-bulk"):
        said["run_id"] = fields["run_ids"]
    del said["file"]
    if route.verb == "GET" or route.carries is not Carries.JSON:
        return client.http.request(route.verb, path, params=said, content=b"1" if route.carries is Carries.UPLOAD else None)
    return client.http.request(route.verb, path, json=said)


@pytest.mark.parametrize("name", ["nobody", *reversed(ROLES)])
def test_each_route_lets_in_who_holds_its_role_and_nobody_else(people, name):
    clients, fields = people
    for route in ROUTES:
        answer = ask(clients[name], route, fields)
        asked = (route.verb, route.path, answer.status_code, answer.text)
        assert answer.status_code < 500 or answer.status_code == 501, asked
        if name == "nobody":
            assert answer.status_code == 401, asked
        elif route.on is anything:
            assert answer.status_code in (200, 400, 501), asked
            assert name != "eve" or "churn" not in answer.text, asked
        else:
            is_of_model = route in MODELS or route.path == "/model-versions/get-artifact"
            holds = Role.ADMIN if name == "ada" else None if is_of_model else ROLES[name]
            assert (answer.status_code != 403) == (holds is not None and holds >= route.needs), asked


def test_lists_hold_what_one_may_view(people):
    clients, fields = people
    clients["ada"].run(clients["ada"].experiment("secret"))
    for name, seen in (("ada", ["churn", "Default", "secret"]), ("bob", ["churn"]), ("vera", ["churn"]), ("eve", [])):
        found = clients[name].ok("experiments/search", max_results=10).get("experiments", [])
        assert sorted((one["name"] for one in found), key=str.lower) == seen
        runs = clients[name].ok("runs/search", experiment_ids=["0", fields["experiment_id"], "2"]).get("runs", [])
        assert len(runs) == {"ada": 2, "eve": 0}.get(name, 1)


def test_the_author_is_who_asked_whatever_the_client_says(people, guarded):
    clients, fields = people
    said = [{"key": "mlflow.user", "value": "ada"}, {"key": "mlflow.note.content", "value": "mine"}]
    made = clients["bob"].ok("runs/create", experiment_id=fields["experiment_id"], user_id="ada", tags=said)["run"]
    assert made["info"]["user_id"] == "bob"
    id = made["info"]["run_id"]
    clients["bob"].ok("runs/set-tag", run_id=id, key="mlflow.user", value="ada")
    run = get_run(id, store=guarded.store)
    assert (run.user, [note.author for note in run.notes]) == ("bob", ["bob"])


def test_a_run_of_another_experiment_is_reached_by_no_detour(people):
    clients, _ = people
    secret = clients["ada"].run(experiment := clients["ada"].experiment("secret"))
    bob = clients["bob"]
    for id in (secret,):
        assert bob.get("runs/get", run_id=id).status_code == 403
        assert bob.refused("runs/log-batch", run_id=id, metrics=[{"key": "m", "value": 1, "timestamp": 1}])[0] == 403
        assert bob.http.put(f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{id}/artifacts/a", content=b"1").status_code == 403
        assert bob.http.get("/get-artifact", params={"run_id": id, "path": "a"}).status_code == 403
        assert bob.get("metrics/get-history-bulk", run_id=[id], metric_key="m").status_code == 403
    assert bob.refused("runs/create", experiment_id=experiment)[0] == 403
    assert bob.refused("experiments/create", name="new")[0] == 403
    assert len(LOGGED) > 5, "they are among the routes above"
