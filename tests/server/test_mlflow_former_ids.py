"""Ids that runs had in MLflow, over its wire and among our own users: what they lead to, and what nobody gets by them.

Excludes what the real client finds after a move (test_moved_from_mlflow).
"""

import pytest
from mlflow_wire import Wire

from stratal.core.errors import NotFound
from stratal.core.ids import new_id
from stratal.interop.applying import apply_source
from stratal.interop.foreign import Began, ForeignId, Params, Stated, Statement, Tags
from stratal.interop.port import OnceSource
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run as start_run

OLD = "5f1c6c7a0b0d4a0fb4a5a0c3f6d0e001"
MODEL = f"m-{OLD}"


def moved(store, id: str = OLD, *, kind: str = "sql", experiment: str = "churn", parent: str = "") -> str:
    """Import a run of MLflow, and give our id of it."""
    above = ForeignId(tool="mlflow", store=kind, run=parent, started_ns=10**18) if parent else None
    run = ForeignId(tool="mlflow", store=kind, run=id, started_ns=10**18)
    tags = {"imported.from": "mlflow", "imported.run": id} | ({"mlflow.parentRunId": parent} if parent else {})
    said: list[Statement] = [Began(experiment=experiment, name=id[:4], parent=above, at_ns=10**18)]
    said += [Params(values={"lr": 0.1}, at_ns=10**18), Tags(values=tags, at_ns=10**18)]
    done = apply_source(store, OnceSource(said, run=run, part="state", name=id), lambda *_: None)
    assert done.run is not None
    return done.run.id


def info(wire: Wire, id: str) -> dict:
    return wire.read("runs/get", run_id=id)["run"]["info"]


def searched(wire: Wire, text: str = "") -> list[str]:
    experiment = wire.read("experiments/get-by-name", experiment_name="churn")["experiment"]["experiment_id"]
    found = wire.ok("runs/search", experiment_ids=[experiment], filter=text).get("runs", [])
    return [each["info"]["run_id"] for each in found]


def test_a_run_is_named_as_it_was_asked_for_and_else_as_mlflow_named_it(store, wire):
    ours = moved(store)
    assert info(wire, OLD)["run_id"] == info(wire, OLD)["run_uuid"] == OLD
    assert info(wire, ours)["run_id"] == ours
    assert info(wire, OLD)["artifact_uri"].endswith(f"/{OLD}/artifacts")
    assert searched(wire) == [OLD]
    for text in (f"run_id = '{OLD}'", f"run_id = '{ours}'", f"run_id IN ('{OLD}')", "run_id ILIKE '5F1C%'"):
        assert searched(wire, text) == [OLD], text
    assert searched(wire, f"run_id != '{OLD}'") == searched(wire, f"run_id NOT IN ('{OLD}')") == []


def test_what_is_written_by_either_id_is_one_run(store, wire):
    ours = moved(store)
    wire.ok("runs/log-batch", run_id=OLD, metrics=[{"key": "loss", "value": 1.0, "timestamp": 5, "step": 1}])
    wire.ok("runs/log-metric", run_id=ours, key="loss", value=1.0, timestamp=5, step=1)  # which is there
    wire.ok("runs/set-tag", run_id=OLD, key="a", value="b")
    wire.ok("runs/update", run_id=OLD, status="FINISHED")
    read = get_run(ours, store=store)
    assert (read.series("loss").steps.tolist(), read.tags["a"], read.status) == ([1], "b", "finished")
    bulk = wire.read("metrics/get-history-bulk", run_id=[OLD], metric_key="loss")["metrics"]
    sampled = wire.read("metrics/get-history-bulk-interval", run_ids=[OLD], metric_key="loss")["metrics"]
    assert [each["run_id"] for each in (*bulk, *sampled)] == [OLD, OLD]


def test_a_command_by_the_old_id_sees_what_another_process_has_just_logged(store, wire):
    ours = moved(store)
    other = open_store(store.url)
    with start_run("churn", resume=ours, params={"depth": 3}, store=other):
        assert wire.refused("runs/log-parameter", run_id=OLD, key="depth", value="4") == (400, "INVALID_PARAMETER_VALUE")
    other.close()


def test_children_are_found_by_the_id_that_their_parent_had(store, wire):
    ours = moved(store)
    child = "5f1c6c7a0b0d4a0fb4a5a0c3f6d0e002"
    moved(store, child, parent=OLD)
    new = wire.run(wire.read("experiments/get-by-name", experiment_name="churn")["experiment"]["experiment_id"])
    wire.ok("runs/set-tag", run_id=new, key="mlflow.parentRunId", value=OLD)
    assert get_run(new, store=store).record.parent == ours
    for parent in (OLD, ours):
        assert set(searched(wire, f"tags.mlflow.parentRunId = '{parent}'")) == {child, new}, parent


def test_our_users_find_a_run_by_the_id_that_it_had(store, seen):
    ours = moved(store)
    far = seen(store)
    assert get_run(OLD, store=far).id == get_run(f"run:{OLD}", store=far).id == ours
    with start_run("churn", resume=OLD, store=far) as run:
        assert run.id == ours
    with pytest.raises(NotFound):
        get_run(OLD.replace("5", "6"), store=far)


def test_a_tag_gives_no_run_the_id_of_another(store, wire):
    moved(store)
    with start_run("churn", tags={"imported.run": OLD}, store=store) as run:
        pass
    assert info(wire, run.id)["run_id"] == run.id
    assert set(searched(wire)) == {OLD, run.id}


def test_nobody_takes_an_id_over_the_first_that_came_keeps_it(store, wire):
    with start_run("churn", store=store) as run:
        pass
    store.settle()
    copy = moved(store, run.id)  # such as a run that was exported and comes back
    sql, files = moved(store), moved(store, kind="files")
    assert info(wire, run.id)["run_name"] == run.id[-8:] and get_run(run.id, store=store).id == run.id
    assert set(searched(wire)) == {run.id, copy, OLD, files}
    assert get_run(OLD, store=store).id == sql
    assert {each.id for each in find_runs(store=store)} == {run.id, copy, sql, files}


def test_an_old_id_shows_nothing_that_its_run_does_not(guarded, store):
    moved(store, experiment="secret")
    bob, ada = Wire(guarded.url), Wire(guarded.url)
    for name, client in (("bob", bob), ("ada", ada)):
        client.http.headers["authorization"] = f"Bearer {guarded.token_of(name)}"
    assert info(ada, OLD)["run_id"] == OLD
    unknown = bob.get("runs/get", run_id=new_id())
    for answer in (bob.get("runs/get", run_id=OLD), bob.get("artifacts/list", run_id=OLD)):
        assert (answer.status_code, answer.json()["error_code"]) == (unknown.status_code, unknown.json()["error_code"])
    assert bob.refused("runs/set-tag", run_id=OLD, key="a", value="b")[0] == 403
    assert bob.get("metrics/get-history-bulk", run_id=[OLD], metric_key="loss").status_code == 403
    for client in (bob, ada):
        client.http.close()


def test_what_is_no_id_is_not_there(wire):
    for id in ("0" * 32, "x" * 500, "ü", "' OR 1"):
        assert wire.get("runs/get", run_id=id).status_code == 404, id


def logged(store, run: str, *, at_ns: int) -> None:
    """Let an import state a logged model, as one that was born at some time."""
    body: dict[str, object] = {"name": "m", "source_run": run, "status": "LOGGED_MODEL_READY", "params": {}, "tags": {}}
    said: list[Statement] = [Stated(kind="mlflow.logged_model", subject=MODEL, body=body, at_ns=at_ns)]
    foreign = ForeignId(tool="mlflow", store="sql", run=run, started_ns=10**18)
    apply_source(store, OnceSource(said, run=foreign, part=f"logged model {at_ns}", name=run), lambda *_: None)


def test_nobody_takes_a_logged_model_over_by_an_earlier_time(store, wire):
    other = OLD.replace("5", "6")
    for run, at_ns in ((OLD, 10**18), (other, 10**17)):
        moved(store, run)
        logged(store, run, at_ns=at_ns)
    assert wire.read(f"logged-models/{MODEL}")["model"]["info"]["source_run_id"] == OLD


def test_what_is_said_of_a_logged_model_here_outlasts_the_next_import(store, wire):
    moved(store)
    logged(store, OLD, at_ns=10**18)
    wire.http.patch(f"/api/2.0/mlflow/logged-models/{MODEL}/tags", json={"tags": [{"key": "a", "value": "b"}]})
    wire.http.request("DELETE", f"/api/2.0/mlflow/logged-models/{MODEL}", json={})
    logged(store, OLD, at_ns=10**18 + 1)
    assert wire.get(f"logged-models/{MODEL}").status_code == 404
    info = wire.read(f"logged-models/{MODEL}", allow_deleted=True)["model"]["info"]
    assert info["tags"] == [{"key": "a", "value": "b"}]
