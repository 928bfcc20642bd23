"""Runs over MLflow's wire: made, written to, read, deleted; how they look to our own users, and ours to clients. Excludes search."""

import math

import pytest

from stratal.tracking.finding import find_runs
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run as start_run


def data(wire, id: str) -> dict:
    return wire.read("runs/get", run_id=id)["run"]["data"]


def pairs(listed: list[dict]) -> dict[str, str]:
    return {one["key"]: one["value"] for one in listed}


def test_a_run_is_made_with_all_that_its_client_says(wire):
    experiment = wire.experiment()
    tags = {
        "mlflow.user": "ada", "mlflow.source.name": "train.py", "mlflow.source.type": "LOCAL", "mlflow.source.git.commit": "abc",
        "mlflow.parentRunId": "7", "my": "tag",
    }  # fmt: skip
    made = wire.ok(
        "runs/create", experiment_id=experiment, start_time=456, run_name="my name", tags=[{"key": k, "value": v} for k, v in tags.items()]
    )["run"]
    info = made["info"]
    assert made == wire.read("runs/get", run_id=info["run_id"])["run"] == wire.read("runs/get", run_uuid=info["run_id"])["run"]
    assert info == {
        "run_id": info["run_id"], "run_uuid": info["run_id"], "run_name": "my name", "experiment_id": experiment, "user_id": "ada",
        "status": "RUNNING", "start_time": 456, "artifact_uri": f"mlflow-artifacts:/{experiment}/{info['run_id']}/artifacts",
        "lifecycle_stage": "active",
    }  # fmt: skip
    assert pairs(made["data"]["tags"]) == {**tags, "mlflow.runName": "my name"}


def test_a_run_of_a_client_looks_to_our_users_as_one_of_theirs(wire, store):
    said = {
        "mlflow.user": "ada",
        "mlflow.source.name": "train.py",
        "mlflow.source.git.commit": "abc",
        "mlflow.note.content": "good",
        "team": "x",
    }
    id = wire.run(wire.experiment("churn"), run_name="first", tags=[{"key": k, "value": v} for k, v in said.items()])
    params = {"lr": "0.1", "depth": "3", "flag": "True", "none": "None", "model": "gbm"}
    wire.ok("runs/log-batch", run_id=id, params=[{"key": k, "value": v} for k, v in params.items()])
    wire.ok("runs/log-metric", run_id=id, key="auc", value=0.5, timestamp=1000, step=3)
    wire.ok("runs/log-inputs", run_id=id, datasets=[{"tags": [{"key": "mlflow.data.context", "value": "train"}], "dataset": DATASET}])
    wire.ok("runs/update", run_id=id, status="FINISHED", end_time=2000)
    run = get_run(id, store=store)
    assert (run.experiment, run.name, run.user, run.kind, run.status) == ("churn", "first", "ada", "train", "finished")
    assert run.params == {"lr": 0.1, "depth": 3, "flag": True, "none": "None", "model": "gbm"}
    assert run.tags == {"team": "x"}
    assert run.metrics == {"auc": 0.5}
    assert run.series("auc").steps.tolist() == [3]
    assert [note.text for note in run.notes] == ["good"]
    assert run.capture["git"] == {"commit": "abc"}
    assert run.capture["entry"]["target"] == "train.py"
    assert [(edge.verb, edge.target, edge.role) for edge in run.edges] == [("used", "mlflow-dataset:d@1a", "train")]
    assert [one.id for one in find_runs("params.lr > 0.05 and metrics.auc = 0.5", experiment="churn", store=store)] == [id]
    assert pairs(data(wire, id)["params"]) == params


DATASET = {"name": "d", "digest": "1a", "source_type": "local", "source": '{"uri": "x"}', "schema": "{}", "profile": "{}"}


def test_a_run_of_our_users_is_seen_by_clients(wire, store):
    with start_run("ours", name="mine", params={"lr": 0.1, "deep": {"a": True}}, tags={"t": "v"}, store=store) as parent:
        parent.log({"loss": 0.25, "odd": math.nan}, step=7)
        parent.note("look")
        parent.edge("used", "dataset:churn@3", "train")
        with start_run("ours", store=store) as child:
            pass
    shown = wire.read("runs/get", run_id=parent.id)["run"]
    assert shown["info"]["status"] == "FINISHED"
    assert (shown["info"]["run_name"], shown["info"]["user_id"]) == ("mine", "tester")
    assert pairs(shown["data"]["params"]) == {"lr": "0.1", "deep/a": "True"}
    assert {m["key"]: (m["value"], m["step"]) for m in shown["data"]["metrics"]} == {"loss": (0.25, 7), "odd": ("NaN", 7)}
    assert pairs(shown["data"]["tags"]).items() >= {"t": "v", "mlflow.runName": "mine", "mlflow.note.content": "look"}.items()
    [used] = shown["inputs"]["dataset_inputs"]
    assert (used["dataset"]["name"], used["tags"]) == ("churn@3", [{"key": "mlflow.data.context", "value": "train"}])
    experiment = wire.read("experiments/get-by-name", experiment_name="ours")["experiment"]["experiment_id"]
    assert shown["info"]["experiment_id"] == experiment
    tags = pairs(data(wire, child.id)["tags"])
    assert tags["mlflow.parentRunId"] == parent.id
    wire.ok("runs/log-metric", run_id=parent.id, key="loss", value=0.125, timestamp=1, step=8)
    assert get_run(parent.id, store=store).series("loss").values.tolist() == [0.25, 0.125], "and may be written to"


def test_odd_numbers_are_texts_both_ways_and_times_and_steps_may_be(wire):
    id = wire.run()
    for key, value in (("nan", "NaN"), ("up", "Infinity"), ("down", "-Infinity"), ("plain", 1.5)):
        wire.ok("runs/log-metric", run_id=id, key=key, value=value, timestamp="5", step="-9")
    wire.ok("runs/log-batch", run_id=id, metrics=[{"key": "b", "value": "NaN", "timestamp": 5, "step": 2**62}])
    found = {m["key"]: (m["value"], m["timestamp"], m["step"]) for m in data(wire, id)["metrics"]}
    assert found["nan"] == ("NaN", 5, -9)
    assert found["up"] == ("Infinity", 5, -9)
    assert found["down"] == ("-Infinity", 5, -9)
    assert found["plain"] == (1.5, 5, -9)
    assert found["b"] == ("NaN", 5, 2**62)


def test_a_repeat_of_a_call_whose_answer_was_lost_counts_once(wire, store):
    id = wire.run()
    metrics = [{"key": "m", "value": step / 2, "timestamp": 1000 + step, "step": step} for step in range(500)]
    batch = {"metrics": metrics, "params": [{"key": "p", "value": "1"}], "tags": [{"key": "t", "value": "v"}]}
    for _ in range(3):
        wire.ok("runs/log-batch", run_id=id, **batch)
        wire.ok("runs/log-metric", run_id=id, key="one", value=1.0, timestamp=7)
    wire.ok("runs/log-batch", run_id=id, metrics=metrics[100:200])
    run = get_run(id, store=store)
    assert run.series("m").steps.tolist() == list(range(500))
    assert run.series("one").values.tolist() == [1.0]


@pytest.mark.parametrize("most", [2, 100])
def test_a_repeat_is_told_after_the_server_was_started_again(wire, stage, store, monkeypatch, most):
    """most: points of a series that is remembered whole."""
    from stratal.server.mlflow.surface import Mlflow

    monkeypatch.setattr("stratal.interop.mlflow.service.writing.MOST_POINTS", most)
    id = wire.run()
    for place in ((0, 5), (3, 5), (1, 9)):
        wire.ok("runs/log-metric", run_id=id, key="m", value=1.0, step=place[0], timestamp=place[1])
    stage[0].handler.close()
    stage[0].handler = Mlflow(store)
    for place in ((0, 5), (3, 5), (1, 9), (3, 6)):
        wire.ok("runs/log-metric", run_id=id, key="m", value=1.0, step=place[0], timestamp=place[1])
    assert get_run(id, store=store).series("m").steps.tolist() == [0, 1, 3, 3]


def test_equal_places_with_other_values_are_all_kept(wire, store):
    id = wire.run()
    wire.ok("runs/log-batch", run_id=id, metrics=[{"key": "m", "value": v, "timestamp": 1, "step": 0} for v in (1, 2, 1, "NaN", "NaN")])
    wire.ok("runs/log-metric", run_id=id, key="m", value=2, timestamp=1)
    wire.ok("runs/log-metric", run_id=id, key="m", value=3, timestamp=1)
    assert sorted(map(str, get_run(id, store=store).series("m").values.tolist())) == ["1.0", "2.0", "3.0", "nan"]


def test_a_param_never_changes_and_a_batch_with_one_that_would_keeps_nothing(wire):
    id = wire.run()
    wire.ok("runs/log-parameter", run_id=id, key="p", value="1")
    wire.ok("runs/log-parameter", run_id=id, key="p", value="1")
    assert wire.refused("runs/log-parameter", run_id=id, key="p", value="1.0") == (400, "INVALID_PARAMETER_VALUE")
    batch = {
        "params": [{"key": "q", "value": "1"}, {"key": "p", "value": "2"}], "tags": [{"key": "t", "value": "v"}],
        "metrics": [{"key": "m", "value": 1, "timestamp": 1}],
    }  # fmt: skip
    assert wire.refused("runs/log-batch", run_id=id, **batch)[0] == 400
    held = data(wire, id)
    assert (pairs(held["params"]), held.get("metrics"), "t" in pairs(held["tags"])) == ({"p": "1"}, None, False)
    twice = [{"key": "x", "value": "1"}, {"key": "x", "value": "1"}]
    assert wire.refused("runs/log-batch", run_id=id, params=twice)[0] == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"metrics": [{"key": "m", "value": 1, "timestamp": 1}] * 1001},
        {"params": [{"key": f"p{n}", "value": "1"} for n in range(101)]},
        {"tags": [{"key": f"t{n}", "value": "1"} for n in range(101)]},
        {"metrics": [{"key": "m", "value": 1, "timestamp": 1}] * 999, "tags": [{"key": "t", "value": "1"}] * 2},
        {"metrics": [{"key": "m", "value": 1}]},
        {"metrics": [{"key": "m", "timestamp": 1}]},
        {"metrics": [{"value": 1, "timestamp": 1}]},
        {"metrics": [{"key": "m", "value": 1, "timestamp": -1}]},
        {"metrics": [{"key": "m", "value": 1, "timestamp": 2**62}]},
        {"metrics": [{"key": "m", "value": 1, "timestamp": 1, "step": 2**63}]},
        {"metrics": [{"key": "m", "value": 1, "timestamp": 1, "step": "x"}]},
        {"metrics": [{"key": "m", "value": "x", "timestamp": 1}]},
        *[
            {"metrics": [{"key": key, "value": 1, "timestamp": 1}]}
            for key in ("/a", "a//b", "./a", "a/../b", "a/", "..", "a\nb", "a=b", "x" * 251)
        ],
    ],
)
def test_what_cannot_be_logged_is_400_and_leaves_nothing(wire, wrong):
    id = wire.run(tags=[])
    assert wire.refused("runs/log-batch", run_id=id, **{"tags": [{"key": "also", "value": "v"}], **wrong}) == (
        400,
        "INVALID_PARAMETER_VALUE",
    )
    held = data(wire, id)
    assert "metrics" not in held
    assert "also" not in pairs(held["tags"])


def test_long_texts_are_cut(wire):
    id = wire.run()
    wire.ok("runs/log-parameter", run_id=id, key="p", value="x" * 6001)
    wire.ok("runs/set-tag", run_id=id, key="t", value="ü" * 8001)
    held = data(wire, id)
    assert (len(pairs(held["params"])["p"]), len(pairs(held["tags"])["t"])) == (6000, 8000)
    wire.ok("runs/log-parameter", run_id=id, key="p", value="x" * 6002)


def test_name_and_tag_of_the_name_are_one_thing(wire):
    both = [{"key": "mlflow.runName", "value": "a"}]
    assert wire.refused("runs/create", experiment_id="0", run_name="b", tags=both)[0] == 400
    id = wire.run(tags=both)
    assert wire.read("runs/get", run_id=id)["run"]["info"]["run_name"] == "a"
    wire.ok("runs/set-tag", run_id=id, key="mlflow.runName", value="b")
    assert wire.read("runs/get", run_id=id)["run"]["info"]["run_name"] == "b"
    wire.ok("runs/update", run_id=id, run_name="c")
    assert pairs(data(wire, id)["tags"])["mlflow.runName"] == "c"
    assert len(wire.read("runs/get", run_id=wire.run())["run"]["info"]["run_name"]) > 5, "a random one"


def test_tags_are_set_replaced_and_taken_away_those_with_a_place_of_their_own_too(wire, store):
    id = wire.run()
    for key in ("plain", "mlflow.note.content", "mlflow.source.name"):
        wire.ok("runs/set-tag", run_id=id, key=key, value="1")
        wire.ok("runs/set-tag", run_id=id, key=key, value="2")
        wire.ok("runs/set-tag", run_id=id, key=key, value="2")
        assert pairs(data(wire, id)["tags"])[key] == "2"
    assert [note.text for note in get_run(id, store=store).notes] == ["1", "2"]
    wire.ok("runs/delete-tag", run_id=id, key="plain")
    assert "plain" not in pairs(data(wire, id)["tags"])
    assert wire.refused("runs/delete-tag", run_id=id, key="plain") == (404, "RESOURCE_DOES_NOT_EXIST")
    wire.ok("runs/set-tag", run_id=id, key="empty", value="")
    assert pairs(data(wire, id)["tags"])["empty"] == ""


def test_statuses_go_round_and_a_run_goes_on_after_its_end(wire, store):
    id = wire.run()
    for status, ours in (("FINISHED", "finished"), ("FAILED", "failed"), ("KILLED", "stopped"), ("RUNNING", "running")):
        info = wire.ok("runs/update", run_id=id, status=status, end_time=77)["run_info"]
        assert (info["status"], get_run(id, store=store).status) == (status, ours)
    wire.ok("runs/log-metric", run_id=id, key="m", value=1, timestamp=1)
    wire.ok("runs/update", run_id=id, status=3)
    assert wire.read("runs/get", run_id=id)["run"]["info"]["status"] == "FINISHED"
    assert wire.refused("runs/update", run_id=id, status="DONE") == (400, "INVALID_PARAMETER_VALUE")


def test_a_deleted_run_is_read_and_not_written_to(wire):
    id = wire.run()
    wire.ok("runs/delete", run_id=id)
    wire.ok("runs/delete", run_id=id)
    assert wire.read("runs/get", run_id=id)["run"]["info"]["lifecycle_stage"] == "deleted"
    for path, fields in (
        ("log-metric", {"key": "m", "value": 1, "timestamp": 1}), ("set-tag", {"key": "t", "value": "v"}),
        ("update", {"status": "FINISHED"}),
        ("log-parameter", {"key": "p", "value": "v"}), ("log-batch", {}), ("log-inputs", {}),
    ):  # fmt: skip
        assert wire.refused(f"runs/{path}", run_id=id, **fields) == (400, "INVALID_PARAMETER_VALUE")
    wire.ok("runs/restore", run_id=id)
    wire.ok("runs/restore", run_id=id)
    wire.ok("runs/log-metric", run_id=id, key="m", value=1, timestamp=1)


def test_no_run_is_made_in_a_deleted_or_unknown_experiment(wire):
    experiment = wire.experiment()
    wire.ok("experiments/delete", experiment_id=experiment)
    assert wire.refused("runs/create", experiment_id=experiment) == (400, "INVALID_PARAMETER_VALUE")
    assert wire.refused("runs/create", experiment_id="99") == (404, "RESOURCE_DOES_NOT_EXIST")
    assert wire.run() and wire.ok("runs/create")["run"]["info"]["experiment_id"] == "0"


@pytest.mark.parametrize("id", ["0" * 32, "x", "../..", "A" * 32])
def test_unknown_runs_are_404(wire, id):
    assert wire.get("runs/get", run_id=id).status_code == 404
    assert wire.refused("runs/log-metric", run_id=id, key="m", value=1, timestamp=1) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_datasets_and_models_are_named_once(wire):
    id = wire.run()
    said = [{"tags": [{"key": "k", "value": "v"}, {"key": "mlflow.data.context", "value": "train"}], "dataset": DATASET}]
    for _ in range(2):
        wire.ok("runs/log-inputs", run_id=id, datasets=said, models=[{"model_id": "m-1"}])
    found = wire.read("runs/get", run_id=id)["run"]["inputs"]
    assert found == {"dataset_inputs": said, "model_inputs": [{"model_id": "m-1"}]}
    for wrong in (
        {"name": "x"},
        {"name": "x" * 501, "digest": "1"},
        {"name": "x", "digest": "1" * 37},
        {"name": "x", "digest": "1", "source": "x" * 65536},
    ):
        assert wire.refused("runs/log-inputs", run_id=id, datasets=[{"dataset": wrong}])[0] == 400


def test_models_of_old_clients_join_in_a_tag(wire):
    id, model = wire.run(), '{"artifact_path": "m", "flavors": {}, "utc_time_created": "x", "run_id": "r"}'
    wire.ok("runs/log-model", run_id=id, model_json=model)
    wire.ok("runs/log-model", run_id=id, model_json=model)
    wire.ok("runs/log-model", run_id=id, model_json=model.replace('"m"', '"n"'))
    assert pairs(data(wire, id)["tags"])["mlflow.log-model.history"].count("artifact_path") == 2
    for wrong in ("", "[]", "{}", "{", "[" * 3000):
        assert wire.refused("runs/log-model", run_id=id, model_json=wrong)[0] == 400


def test_what_a_point_says_of_a_logged_model_is_stated_by_its_run(wire, store):
    id = wire.run()
    wire.ok("runs/log-metric", run_id=id, key="m", value="NaN", timestamp=5, step=1, model_id="m-1", dataset_name="d", dataset_digest="1a")
    [stated] = get_run(id, store=store).statements("mlflow.logged_metrics")
    assert (stated.subject, stated.body) == ("m-1", {"points": [["m", "NaN", 5, 1, "d", "1a"]]})
