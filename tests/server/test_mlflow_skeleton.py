"""MLflow's protocol as such: its JSON, its errors, what is left out; and experiments. Excludes runs and the real client."""

import json

import pytest
from mlflow_wire import Wire

from stratal.interop.mlflow.service.errors import BUSY, DOWN, MlflowError
from stratal.interop.mlflow.service.records import LogBatch
from stratal.server.mlflow import codec
from stratal.server.mlflow.failures import STATUS
from stratal.server.mlflow.surface import PREFIXES
from stratal.server.mlflow.table import ROUTES, find
from stratal.tracking.finding import find_runs
from stratal.tracking.runs import run

RETRIED = {408, 429, 500, 502, 503, 504}


def test_only_what_is_worth_repeating_is_answered_by_what_clients_repeat():
    assert {code for code, status in STATUS.items() if status in RETRIED} == {BUSY, DOWN, "INTERNAL_ERROR"}


def test_every_route_is_found_under_its_own_path():
    for route in ROUTES:
        path = route.path.replace("{", "").replace("}", "").replace("*", "")
        assert find(route.verb, path).route is route
        assert any((path if path[0] == "/" else f"/api/{path}").startswith(prefix) for prefix in PREFIXES)


def test_routes_are_there_under_the_path_of_the_pages_too(wire):
    for prefix in ("/api", "/ajax-api"):
        answer = wire.http.get(f"{prefix}/2.0/mlflow/experiments/get?experiment_id=0")
        assert answer.json()["experiment"]["name"] == "Default"


@pytest.mark.parametrize(
    "path",
    [
        "/api/2.0/mlflow/traces/t/info", "/api/3.0/mlflow/traces", "/api/4.0/mlflow/traces", "/ajax-api/2.0/mlflow/gateway-proxy",
        "/api/2.0/mlflow/webhooks", "/graphql", "/v1/traces", "/ajax-api/2.0/mlflow/runs/create-promptlab-run",
        "/ajax-api/3.0/mlflow/review-queues/list",
    ],
)  # fmt: skip
def test_what_is_left_out_says_so(wire, path):
    answer = wire.http.post(path)
    assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    assert "does not have" in answer.json()["message"]


def test_unknown_paths_and_wrong_verbs_are_404_and_405(wire):
    assert wire.get("experiments/nothing").status_code == 404
    assert wire.http.put("/api/2.0/mlflow/experiments/create", json={}).status_code == 405


def test_a_body_of_another_type_is_refused(wire):
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
        answer = wire.http.post("/api/2.0/mlflow/experiments/create", content=b'{"name": "x"}', headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")
    assert wire.get("experiments/get-by-name", experiment_name="x").status_code == 404


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": 123}, "Invalid value 123 for parameter 'name' supplied"),
        ({}, "Missing value for required parameter 'name'."),
        ({"name": None}, "Missing value for required parameter 'name'."),
        ({"name": "x", "tags": "5"}, "Invalid value \"5\" for parameter 'tags' supplied"),
        ({"name": "x", "tags": [{"key": 4}]}, "Invalid value 4 for parameter 'tags[0].key' supplied"),
        ({"name": "x", "artifact_location": 9.0}, "Invalid value 9.0 for parameter 'artifact_location' supplied"),
        ({"name": "a\0b"}, "NUL"),
        ({"name": "x" * 501}, "maximum length"),
        ({"name": "x", "artifact_location": "mlflow-artifacts:/a/../b"}, "artifact_location"),
    ],
)
def test_what_does_not_fit_is_said_by_name(wire, fields, says):
    answer = wire.post("experiments/create", **fields)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert says in answer.json()["message"]


@pytest.mark.parametrize(("new_name", "says"), [("", "required parameter 'new_name'"), ("x" * 501, "new_name exceeds")])
def test_a_new_name_that_does_not_fit_is_said_by_that_name(wire, new_name, says):
    wire.ok("experiments/create", name="x")
    answer = wire.post("experiments/update", experiment_id="1", new_name=new_name)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert says in answer.json()["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"{", b'{"name": NaN}', b'"x"', b"\xff", b"[" * 5000])
def test_what_is_no_object_is_400(wire, body):
    answer = wire.http.post("/api/2.0/mlflow/experiments/create", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("item", ["{}", '{"key": "a"}'])
def test_a_body_of_a_million_objects_is_400_before_they_are_made(monkeypatch, item):
    monkeypatch.setattr(codec, "MOST_OBJECTS", 1000)
    monkeypatch.setattr(codec, "_decoder", lambda _type: pytest.fail("they were made"))
    with pytest.raises(MlflowError, match="more than 1,000 objects"):
        codec.read_body(f'{{"metrics": [{",".join([item] * 1000)}]}}'.encode(), "application/json", LogBatch)


def test_unknown_fields_are_passed_over(wire):
    assert wire.ok("experiments/create", name="x", nobody="knows", deep={"a": [1]}) == {"experiment_id": "1"}


def test_an_experiment_is_made_found_renamed_deleted_and_restored(wire):
    id = wire.ok("experiments/create", name="a/b @ü", tags=[{"key": "k", "value": "v"}])["experiment_id"]
    found = wire.read("experiments/get-by-name", experiment_name="a/b @ü")["experiment"]
    assert found == wire.read("experiments/get", experiment_id=id)["experiment"]
    assert (found["experiment_id"], found["lifecycle_stage"], found["tags"]) == (id, "active", [{"key": "k", "value": "v"}])
    assert found["artifact_location"] == f"mlflow-artifacts:/{id}"
    assert wire.ok("experiments/update", experiment_id=id, new_name="other") == {}
    assert wire.ok("experiments/delete", experiment_id=id) == {}
    assert wire.refused("experiments/delete", experiment_id=id) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert wire.read("experiments/get-by-name", experiment_name="other")["experiment"]["lifecycle_stage"] == "deleted"
    assert wire.refused("experiments/create", name="other") == (400, "RESOURCE_ALREADY_EXISTS"), "its name stays taken"
    assert wire.ok("experiments/restore", experiment_id=id) == {}
    assert wire.refused("experiments/restore", experiment_id=id) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_tags_of_experiments_are_set_replaced_and_taken_away(wire):
    wire.ok("experiments/set-experiment-tag", experiment_id="0", key="k", value="1")
    wire.ok("experiments/set-experiment-tag", experiment_id="0", key="k", value="2")
    assert wire.read("experiments/get", experiment_id="0")["experiment"]["tags"] == [{"key": "k", "value": "2"}]
    assert wire.ok("experiments/delete-experiment-tag", experiment_id="0", key="k") == {}
    assert wire.refused("experiments/delete-experiment-tag", experiment_id="0", key="k")[0] == 404
    assert wire.refused("experiments/set-experiment-tag", experiment_id="0", key="k", value="x" * 20001)[0] == 400


def test_experiments_of_our_own_users_get_a_number_when_they_are_asked_for(wire, store):
    with run("ours", store=store):
        pass
    found = wire.read("experiments/get-by-name", experiment_name="ours")["experiment"]
    assert found["experiment_id"] == "1"
    assert found["creation_time"] > 0
    wire.ok("experiments/update", experiment_id="1", new_name="renamed")
    assert [one.experiment for one in find_runs(experiment="renamed", store=store)] == ["renamed"]
    assert wire.get("experiments/get-by-name", experiment_name="ours").status_code == 404


def test_deleting_an_experiment_hides_its_runs_and_restoring_brings_those_back(wire, store):
    from stratal.tracking.deleting import delete

    with run("e", name="kept", store=store) as kept, run("e", name="deleted before", store=store) as gone:
        pass
    delete(gone.ref, store=store)
    id = wire.read("experiments/get-by-name", experiment_name="e")["experiment"]["experiment_id"]
    wire.ok("experiments/delete", experiment_id=id)
    assert len(find_runs(experiment="e", store=store)) == 0
    wire.ok("experiments/restore", experiment_id=id)
    assert [one.id for one in find_runs(experiment="e", store=store)] == [kept.id]


def test_ids_that_are_none_are_not_found(wire):
    for id in ("7", "-1", "x", "1" * 40, "٣"):
        assert wire.get("experiments/get", experiment_id=id).json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert json.loads(wire.get("experiments/get").text)["message"] == "Missing value for required parameter 'experiment_id'."


def test_a_server_beside_a_block_speaks_it_beside_its_other_surfaces(store):
    from stratal.server.serving import serving

    with serving(store) as url:
        other = Wire(url)
        assert other.read("experiments/get", experiment_id="0")["experiment"]["name"] == "Default"
        assert other.http.get("/version").text == "3.17.2"
        assert other.http.get("/health").json()["status"] == "ok"
        assert other.http.get("/api/2.0/mlflowers").status_code == 404
        other.http.close()
