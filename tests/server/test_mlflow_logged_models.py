"""Logged models on MLflow's wire. Excludes registered models, and what the real client does."""

import pytest

from stratal.core.ids import to_bytes
from stratal.interop.mlflow.service.store import logged as rows
from stratal.interop.mlflow.service.store.runs import MODEL_METRICS
from stratal.registry import ModelStore
from stratal.tracking.deleting import delete, purge
from stratal.tracking.facts import STATE, StateFact
from stratal.tracking.finding import find_runs
from stratal.tracking.runs import run

PATH = "/api/2.0/mlflow/logged-models"


@pytest.fixture
def begun(wire, store):
    """A run, and the id of its experiment."""
    with run("e", store=store) as begun:
        pass
    return begun, wire.read("experiments/get-by-name", experiment_name="e")["experiment"]["experiment_id"]


def create(wire, begun, name: str = "model", **fields) -> dict:
    fields = {"source_run_id": begun[0].id, **fields}
    return wire.ok("logged-models", experiment_id=begun[1], name=name, **fields)["model"]


def get(wire, id: str, **fields):
    return wire.http.get(f"{PATH}/{id}", params=fields)


def save(store, made: dict, begun, path: str, data: bytes) -> None:
    with store.query() as tx:
        folder = rows.find_logged(tx, made["info"]["model_id"]).folder
    with run(resume=begun[0].id, store=store) as again:
        again.save_bytes(f"{folder}/{path}", data)


def measure(store, run_id: str, id: str, *points: tuple) -> None:
    """State (key, value, timestamp, step, dataset's name, its digest) of a logged model, as a batch with its id does."""
    told = StateFact(kind=MODEL_METRICS, subject=id, body={"points": points}, author="t")
    store.writer.fact(to_bytes(run_id), 0, STATE, told)


def test_a_logged_model_is_made_finished_and_read(wire, begun):
    made = create(wire, begun, model_type="agent", params=[{"key": "p", "value": "1"}], tags=[{"key": "t", "value": "x"}])
    info = made["info"]
    assert (info["name"], info["status"], info["model_type"]) == ("model", "LOGGED_MODEL_PENDING", "agent")
    assert info["model_id"].startswith("m-")
    assert len(info["model_id"]) == 34
    assert info["artifact_uri"] == f"mlflow-artifacts:/{begun[1]}/models/{info['model_id']}/artifacts"
    assert made["data"]["params"] == [{"key": "p", "value": "1"}]
    done = wire.http.patch(f"{PATH}/{info['model_id']}", json={"status": "LOGGED_MODEL_READY"}).json()["model"]
    assert done["info"]["status"] == "LOGGED_MODEL_READY"
    assert get(wire, info["model_id"]).json()["model"] == done
    assert wire.http.patch(f"{PATH}/{info['model_id']}", json={"status": "DONE"}).status_code == 400


def test_tags_are_set_and_taken_away_and_params_never_change(wire, begun):
    id = create(wire, begun, tags=[{"key": "a", "value": "1"}])["info"]["model_id"]
    tagged = wire.http.patch(f"{PATH}/{id}/tags", json={"tags": [{"key": "a", "value": "2"}, {"key": "b", "value": "3"}]}).json()
    assert tagged["model"]["info"]["tags"] == [{"key": "a", "value": "2"}, {"key": "b", "value": "3"}]
    assert wire.http.delete(f"{PATH}/{id}/tags/a").json() == {}, "clients send no body here"
    assert wire.http.delete(f"{PATH}/{id}/tags/a").status_code == 404
    assert get(wire, id).json()["model"]["info"]["tags"] == [{"key": "b", "value": "3"}]
    for _ in range(2):
        assert wire.http.post(f"{PATH}/{id}/params", json={"params": [{"key": "p", "value": "1"}]}).json() == {}
    assert wire.http.post(f"{PATH}/{id}/params", json={"params": [{"key": "p", "value": "2"}]}).status_code == 400
    many = [{"key": f"p{n}", "value": "1"} for n in range(101)]
    assert wire.http.post(f"{PATH}/{id}/params", json={"params": many}).status_code == 400


def test_a_deleted_one_is_only_shown_to_who_asks_for_it(wire, begun):
    id = create(wire, begun)["info"]["model_id"]
    assert wire.http.request("DELETE", f"{PATH}/{id}", json={}).json() == {}
    assert get(wire, id).status_code == 404
    assert get(wire, id, allow_deleted="true").json()["model"]["info"]["model_id"] == id
    assert wire.ok("logged-models/search", experiment_ids=[begun[1]]) == {}
    for odd in ("m-0", "x", "m-" + "0" * 32):
        assert get(wire, odd).status_code == 404


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", "x" * 251, " "])
def test_names_that_would_be_paths_or_refs_are_refused(wire, begun, name):
    assert wire.refused("logged-models", experiment_id=begun[1], name=name) == (400, "INVALID_PARAMETER_VALUE")


def test_its_run_and_experiment_must_be_there_and_belong_together(wire, begun, store):
    with run("other", store=store) as other:
        pass
    assert wire.refused("logged-models", experiment_id="99", name="m") == (404, "RESOURCE_DOES_NOT_EXIST")
    for nowhere in ("0" * 32, "123"):
        assert wire.refused("logged-models", experiment_id=begun[1], name="m", source_run_id=nowhere) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert wire.refused("logged-models", experiment_id=begun[1], name="m", source_run_id=other.id) == (400, "INVALID_PARAMETER_VALUE")
    assert wire.refused("logged-models", name="m") == (400, "INVALID_PARAMETER_VALUE")


def test_without_a_run_it_is_kept_by_one_of_its_own(wire, begun, store):
    made = create(wire, begun, source_run_id="")
    assert "source_run_id" not in made["info"]
    assert [(one.name, one.kind, one.status) for one in find_runs("kind = 'job'", store=store)] == [("model", "job", "finished")]
    found = wire.ok("runs/search", experiment_ids=[begun[1]], run_view_type="ALL")["runs"]
    assert [each["info"]["run_id"] for each in found] == [begun[0].id], "clients find what they have made"


def test_jobs_of_our_users_are_found(wire, store):
    ids = []
    for job_type in ("", "train"):
        with run("jobs", kind="job", job_type=job_type, store=store) as job:
            ids.append(job.id)
    experiment = wire.read("experiments/get-by-name", experiment_name="jobs")["experiment"]["experiment_id"]
    found = wire.ok("runs/search", experiment_ids=[experiment])["runs"]
    assert sorted(each["info"]["run_id"] for each in found) == sorted(ids)


@pytest.mark.parametrize("is_batch", [True, False])
def test_points_that_are_said_again_with_a_model_are_its_metrics(wire, begun, store, is_batch):
    id = create(wire, begun)["info"]["model_id"]
    point = {"key": "acc", "value": 0.5, "timestamp": 1000, "step": 0}
    wire.ok("runs/log-metric", run_id=begun[0].id, **point)
    for _ in range(2):
        if is_batch:
            wire.ok("runs/log-batch", run_id=begun[0].id, metrics=[{**point, "model_id": id}])
        else:
            wire.ok("runs/log-metric", run_id=begun[0].id, **point, model_id=id)
    metrics = get(wire, id).json()["model"]["data"]["metrics"]
    assert [(each["key"], each["value"], each["run_id"]) for each in metrics] == [("acc", 0.5, begun[0].id)]
    assert len(wire.read("metrics/get-history", run_id=begun[0].id, metric_key="acc")["metrics"]) == 1


def test_its_files_are_listed_and_registered(wire, begun, store):
    made = create(wire, begun)
    save(store, made, begun, "MLmodel", b"flavors: {}")
    save(store, made, begun, "data/a.bin", b"12")
    id = made["info"]["model_id"]
    root = f"{PATH}/{id}/artifacts/directories"
    assert wire.http.get(root).json()["files"] == [
        {"path": "MLmodel", "is_dir": False, "file_size": 11},
        {"path": "data", "is_dir": True},
    ]
    inside = wire.http.get(root, params={"artifact_directory_path": "data"}).json()
    assert inside["files"] == [{"path": "data/a.bin", "is_dir": False, "file_size": 2}]
    assert wire.http.get(root, params={"artifact_directory_path": "../x"}).status_code == 400
    files = f"{PATH}/{id}/artifacts/files"
    assert wire.http.get(files, params={"artifact_file_path": "data/a.bin"}).content == b"12"
    assert [wire.http.get(files, params={"artifact_file_path": path}).status_code for path in ("data", "x", "../x", "")] == [
        400,
        404,
        400,
        400,
    ]
    wire.ok("registered-models/create", name="churn")
    version = wire.ok("model-versions/create", name="churn", source=f"models:/{id}", model_id=id)["model_version"]
    assert (version["model_id"], version["run_id"], version["version"]) == (id, begun[0].id, "1")
    assert wire.refused("model-versions/create", name="churn", source=f"models:/{id}", model_id="m-" + "0" * 32)[0] == 400
    place = f"{made['info']['artifact_uri']}/data"
    assert wire.ok("model-versions/create", name="churn", source=place, model_id=id)["model_version"]["version"] == "2"
    delete(begun[0].ref, store=store)
    assert ModelStore(store).version(name="churn", number=1).run == begun[0].id


def test_its_files_are_not_listed_among_those_of_its_run(wire, begun, store):
    made = create(wire, begun)
    save(store, made, begun, "MLmodel", b"flavors: {}")
    with run(resume=begun[0].id, store=store) as again:
        again.save_bytes("models/own-m-0/a.txt", b"1")
        again.save_bytes(f"models/imported-m-{'0' * 32}/b.txt", b"2")
    for path, expected in (("", ["models"]), ("models", [f"models/imported-m-{'0' * 32}", "models/own-m-0"])):
        listed = wire.read("artifacts/list", run_id=begun[0].id, path=path)["files"]
        assert [each["path"] for each in listed] == expected


def test_what_a_run_brought_forth_is_linked_once(wire, begun):
    id = create(wire, begun)["info"]["model_id"]
    for step in (3, 4):
        wire.ok("runs/outputs", run_id=begun[0].id, models=[{"model_id": id, "step": step}])
    assert wire.refused("runs/outputs", run_id=begun[0].id, models=[{"model_id": "m-0"}])[0] == 404
    outputs = wire.read("runs/get", run_id=begun[0].id)["run"]["outputs"]
    assert outputs == {"model_outputs": [{"model_id": id, "step": 3}]}


def test_points_with_a_models_id_are_its_metrics_by_their_last_step(wire, begun, store):
    id = create(wire, begun)["info"]["model_id"]
    measure(store, begun[0].id, id, ("acc", 0.5, 10, 1, "", ""), ("acc", 0.9, 20, 2, "d", "1"))
    measure(store, begun[0].id, id, ("acc", 0.4, 5, 0, "", ""), ("loss", "NaN", 5, 0, "", ""))
    found = get(wire, id).json()["model"]["data"]["metrics"]
    assert {(each["key"], each["value"], each["step"], each.get("dataset_name")) for each in found} == {
        ("acc", 0.5, 1, None),
        ("acc", 0.9, 2, "d"),
        ("loss", "NaN", 0, None),
    }
    assert {each["run_id"] for each in found} == {begun[0].id}


def search(wire, begun, **fields) -> list[str]:
    found = wire.ok("logged-models/search", experiment_ids=[begun[1], "77", "x"], **fields)
    return [each["info"]["name"] for each in found.get("models", ())]


def test_logged_models_are_found_by_what_is_said_of_them(wire, begun, store):
    ids = {
        name: create(wire, begun, name, model_type=name * 2, params=[{"key": "p", "value": name}], tags=[{"key": "t", "value": name}])
        for name in ("a", "b", "c")
    }
    id = {name: made["info"]["model_id"] for name, made in ids.items()}
    for name, value in (("a", 0.1), ("b", 0.9), ("c", "NaN")):
        measure(store, begun[0].id, id[name], ("acc", value, 1, 0, "d" if name == "b" else "", "1" if name == "b" else ""))
    assert set(search(wire, begun)) == {"a", "b", "c"}
    assert search(wire, begun, filter="name = 'a'") == ["a"]
    assert search(wire, begun, filter=f"model_id = '{id['b']}' AND source_run_id = '{begun[0].id}'") == ["b"]
    assert search(wire, begun, filter="params.p != 'a' AND tags.t = 'b'") == ["b"]
    assert search(wire, begun, filter="model_type LIKE 'c%' and status = 'LOGGED_MODEL_PENDING'") == ["c"]
    assert search(wire, begun, filter="metrics.acc > 0.5") == ["b"]
    assert search(wire, begun, filter="metrics.acc < 0.5") == ["a"]
    assert search(wire, begun, filter="metrics.acc > 0.5", datasets=[{"dataset_name": "other"}]) == []
    assert search(wire, begun, filter="metrics.acc > 0.5", datasets=[{"dataset_name": "d", "dataset_digest": "1"}]) == ["b"]
    assert search(wire, begun, datasets=[{"dataset_name": "d", "dataset_digest": "1"}]) == ["b"]
    assert search(wire, begun, datasets=[{"dataset_name": "d", "dataset_digest": "2"}, {"dataset_name": "other"}]) == []
    assert search(wire, begun, order_by=[{"field_name": "metrics.acc", "ascending": False}]) == ["b", "a", "c"]
    assert search(wire, begun, order_by=[{"field_name": "metrics.acc", "ascending": True}]) == ["a", "b", "c"]
    assert search(wire, begun, order_by=[{"field_name": "name"}]) == ["a", "b", "c"]
    assert wire.ok("logged-models/search") == {}
    first = wire.ok("logged-models/search", experiment_ids=[begun[1]], max_results=2, order_by=[{"field_name": "name"}])
    second = wire.ok(
        "logged-models/search",
        experiment_ids=[begun[1]],
        max_results=2,
        order_by=[{"field_name": "name"}],
        page_token=first["next_page_token"],
    )
    assert ([each["info"]["name"] for each in second["models"]], "next_page_token" in second) == (["c"], False)
    for wrong in ({"filter": "name"}, {"order_by": [{"field_name": "color"}]}, {"order_by": [{}]}, {"max_results": 0}):
        assert wire.refused("logged-models/search", experiment_ids=[begun[1]], **wrong) == (400, "INVALID_PARAMETER_VALUE")


def test_a_purged_run_takes_its_logged_models_along(wire, begun, store):
    id = create(wire, begun)["info"]["model_id"]
    delete(begun[0].ref, store=store)
    assert get(wire, id).status_code == 200, "deleted runs can be restored"
    purge(begun[0].ref, store=store)
    assert get(wire, id).status_code == 404
