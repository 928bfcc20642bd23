"""Searches and histories over MLflow's wire: what its language means, orders, pages, views. Excludes models."""

import itertools
import math

import pytest

from stratal.tracking.runs import run as start_run


@pytest.fixture
def found(wire):
    """Five runs in one experiment, and a search that gives their names."""
    experiment = wire.experiment("e")
    said = [
        ("a", 1000, {"lr": "0.1", "model": "gbm"}, {"team": "Red", "k": "v"}, {"auc": 0.5, "m": 1}),
        ("b", 2000, {"lr": "0.01", "model": "GBM"}, {"team": "red"}, {"auc": 0.9, "m": "NaN"}),
        ("c", 3000, {"lr": "0.01", "flag": "True"}, {"b/c d": "it's"}, {"auc": -1.5}),
        ("d", 4000, {}, {}, {"m": 2}),
        ("gone", 5000, {}, {}, {}),
    ]
    ids = {}
    for name, start, params, tags, metrics in said:
        ids[name] = id = wire.run(experiment, run_name=name, start_time=start, user_id=f"user {name}")
        wire.ok(
            "runs/log-batch", run_id=id, params=[{"key": k, "value": v} for k, v in params.items()],
            tags=[{"key": k, "value": v} for k, v in tags.items()],
            metrics=[{"key": k, "value": v, "timestamp": 1, "step": 0} for k, v in metrics.items()],
        )  # fmt: skip
    wire.ok("runs/log-metric", run_id=ids["a"], key="auc", value=0.7, timestamp=2, step=1)
    wire.ok("runs/update", run_id=ids["b"], status="FINISHED", end_time=2500)
    dataset = {"name": "Churn", "digest": "1a", "source_type": "local", "source": "x"}
    wire.ok("runs/log-inputs", run_id=ids["c"], datasets=[{"tags": [{"key": "mlflow.data.context", "value": "train"}], "dataset": dataset}])
    wire.ok("runs/delete", run_id=ids["gone"])

    def search(filter: str = "", **more: object) -> str:
        answer = wire.ok("runs/search", **{"experiment_ids": [experiment], "filter": filter, **more})
        return "".join(run["info"]["run_name"] for run in answer.get("runs", ()))

    search.ids, search.experiment, search.wire = ids, experiment, wire
    return search


@pytest.mark.parametrize(
    ("filter", "names"),
    [
        ("", "dcba"), ("metrics.auc > 0.6", "ba"), ("metric.auc <= 0.7", "ca"), ("metrics.auc = 0.7 and params.lr = '0.1'", "a"),
        ("metrics.auc < -1", "c"), ("metrics.m != 1", "db"), ("metrics.m > 0", "da"), ("metrics.nothing != 1", ""),
        ("params.lr = '0.01'", "cb"), ("parameters.lr != '0.1'", "cb"), ("param.model LIKE 'gb%'", "a"), ("params.model ILIKE 'gb_'", "ba"),
        ("params.flag = 'True'", "c"), ("params.model IS NULL", "dc"), ("params.model is not null", "ba"),
        ("tags.team = 'red'", "b"), ('tags.team = "Red"', "a"), ("tag.team ILIKE 'RED'", "ba"), ("tags.team IS NULL", "dc"),
        ("tags.`b/c d` = \"it's\"", "c"), ('tags."b/c d" LIKE "it%"', "c"), ("tags.team != 'red'", "a"),
        ("tags.mlflow.runName = 'a'", "a"), ("tags.`mlflow.user` = 'user b'", "b"),
        ("attributes.status = 'RUNNING'", "dca"), ("status = 'FINISHED'", "b"), ("attr.status LIKE 'FIN%'", "b"),
        ("run.status != 'RUNNING'", "b"),
        ("attributes.run_name = 'a'", "a"), ("attributes.`run name` LIKE 'b'", "b"), ("run_name ILIKE 'A'", "a"),
        ("attributes.user_id = 'user c'", "c"), ("user_id LIKE '%c'", "c"),
        ("start_time >= 2000 AND attributes.start_time < 4000", "cb"), ("created = 1000", "a"), ("attributes.Created != 1000", "dcb"),
        ("end_time > 0", "b"), ("end_time = 2500", "b"), ("artifact_uri LIKE 'mlflow-artifacts:/1/%'", "dcba"),
        ("dataset.name = 'Churn'", "c"), ("datasets.name = 'churn'", ""), ("dataset.name ILIKE 'churn'", "c"),
        ("dataset.digest IN ('1a', '2')", "c"),
        ("datasets.context = 'train' AND dataset.name LIKE 'Ch%'", "c"), ("dataset.context = 'test'", ""),
        ("metrics.auc > 0 AND metrics.m > 0 and tags.k = 'v'", "a"), ("  ", "dcba"),
    ],
)  # fmt: skip
def test_a_filter_finds(found, filter, names):
    assert found(filter) == names


@pytest.mark.parametrize(
    "filter",
    [
        "metrics.auc > '0.5'", "params.lr > 0.1", "params.lr = 0.1", "params.lr > '0.1'", "tags.team < 'x'", "status > 'x'",
        "start_time = 'x'",
        "metrics.auc LIKE 'x'", "nothing.x = 1", "nothing = 'x'", "attributes.nothing = 'x'", "metrics.auc > 1 OR metrics.auc < 0",
        "NOT metrics.auc > 1", "(metrics.auc > 1)", "metrics.auc >", "> 1", "params.lr = 'x", "metrics.auc > 1;", "status IN ('RUNNING')",
        "tags.team IN ('x')", "metrics.auc IS NULL", "status IS NULL", "run_id IN ()", "dataset.source = 'x'", "dataset.name > 'x'", "=",
        "'",
        "metrics.auc = 1 AND", "params.lr = 'a' 'b'", "run_id = 5", "metrics.auc > 1 " * 3, "x" * 5000,
        " AND ".join(["metrics.a > 1"] * 51), "params.lr = 'x' and drop table run", f"tags.team LIKE '%{'a' * 500}'",
        " AND ".join([f"tags.team LIKE '%{'a' * 499}'"] * 11),
        f"dataset.digest IN ({', '.join(['1'] * 501)})",
    ],
)  # fmt: skip
def test_a_filter_that_means_nothing_is_400(found, filter):
    assert found.wire.refused("runs/search", experiment_ids=[found.experiment], filter=filter) == (400, "INVALID_PARAMETER_VALUE")


def test_runs_are_found_by_their_ids(found):
    ids = found.ids
    assert found(f"run_id = '{ids['a']}'") == "a"
    assert found(f"attributes.run_id IN ('{ids['a']}', '{ids['b']}', 'x')") == "ba"
    assert found(f"run_id NOT IN ('{ids['a']}', '{ids['b']}')") == "dc"
    assert found(f"run_id LIKE '{ids['a'][:-1]}_'") == "a"


@pytest.mark.parametrize(
    ("order", "names"),
    [
        (["metrics.auc"], "cabd"), (["metrics.auc DESC"], "bacd"), (["metrics.m ASC"], "adbc"), (["metrics.m DESC"], "dabc"),
        (["params.model"], "badc"), (["params.model DESC"], "abdc"), (["tags.team desc", "metrics.auc"], "bacd"),
        (["attributes.start_time ASC"], "abcd"), (["start_time DESC"], "dcba"), (["attribute.end_time"], "bdca"), (["run_name"], "abcd"),
        (["status", "run_name DESC"], "bdca"), (["attributes.user_id DESC"], "dcba"), (["metrics.`auc`", "run_id"], "cabd"), ([], "dcba"),
    ],
)  # fmt: skip
def test_an_order_puts_numbers_before_nan_and_what_is_missing_last(found, order, names):
    assert found(order_by=order) == names
    paged, token = "", ""
    while token is not None:
        answer = found.wire.ok("runs/search", experiment_ids=[found.experiment], order_by=order, max_results=1, page_token=token)
        paged += "".join(run["info"]["run_name"] for run in answer["runs"])
        token = answer.get("next_page_token")
    assert paged == names


def test_pages_end_without_a_token_also_when_they_are_full(found):
    answer = found.wire.ok("runs/search", experiment_ids=[found.experiment], max_results=4)
    assert len(answer["runs"]) == 4
    assert "next_page_token" not in answer


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_results": 0}, {"max_results": -1}, {"max_results": 50001}, {"page_token": "garbage"}, {"page_token": "é"},
        {"order_by": ["nothing"]},
        {"order_by": ["metrics.a UP"]}, {"order_by": [""]}, {"order_by": ["dataset.name"]}, {"run_view_type": "SOME"}, {"max_results": "x"},
        {"page_token": "eyJvcmRlciI6IngifQ"}, {"order_by": ["run_id"] * 21},
    ],
)  # fmt: skip
def test_a_search_that_asks_for_what_cannot_be_is_400(found, wrong):
    assert found.wire.refused("runs/search", **{"experiment_ids": [found.experiment], **wrong}) == (400, "INVALID_PARAMETER_VALUE")


def test_views_show_active_deleted_or_all_runs(found):
    assert found(run_view_type="DELETED_ONLY") == "gone"
    assert found(run_view_type="ALL") == "gonedcba"
    assert found("metrics.auc > 0", run_view_type="ALL") == "ba"


def test_unknown_experiments_have_no_runs(found):
    for ids in ([], ["99"], ["x"]):
        assert found.wire.ok("runs/search", experiment_ids=ids) == {}


def test_runs_of_our_users_are_found_with_those_of_clients(found, store):
    with start_run("e", name="ours", params={"lr": 0.01}, store=store) as parent:
        parent.log({"auc": 0.95})
        with start_run("e", name="child", store=store):
            pass
    assert found("params.lr = '0.01'", order_by=["metrics.auc DESC"]) == "oursbc"
    assert found(f"tags.mlflow.parentRunId = '{parent.id}'") == "child"
    assert found("tags.mlflow.parentRunId IS NOT NULL") == "child"


def test_experiments_are_found_by_name_tag_and_time(wire, store):
    with start_run("ours", store=store):
        pass
    first, second = wire.experiment("First"), wire.experiment("second")
    wire.ok("experiments/set-experiment-tag", experiment_id=first, key="k", value="v")

    def search(filter: str = "", **more: object) -> list[str]:
        answer = wire.ok("experiments/search", **{"max_results": 10, "filter": filter, **more})
        return [one["name"] for one in answer.get("experiments", ())]

    assert search() == ["second", "First", "ours", "Default"]
    assert search("name LIKE 'F%'") == ["First"]
    assert search("name ILIKE 'f%' AND tags.k = 'v'") == ["First"]
    assert search("tags.k IS NULL", order_by=["name ASC"]) == ["Default", "ours", "second"]
    assert search("creation_time > 0", order_by=["experiment_id"]) == sorted(
        search("creation_time > 0"), key=["First", "second", "ours"].index
    )
    assert search(f"experiment_id IN ('{first}', '{second}')") == ["second", "First"]
    wire.ok("experiments/delete", experiment_id=second)
    assert search(view_type="DELETED_ONLY") == ["second"]
    assert len(search(view_type="ALL")) == 4
    one = wire.ok("experiments/search", max_results=2)
    two = wire.read("experiments/search", max_results=2, page_token=one["next_page_token"])
    assert ([e["name"] for e in (*one["experiments"], *two["experiments"])], "next_page_token" in two) == (
        ["First", "ours", "Default"],
        False,
    )
    for wrong in ({}, {"max_results": 0}, {"max_results": 10, "filter": "x = 'y'"}, {"max_results": 10, "page_token": "x"}):
        assert wire.refused("experiments/search", **wrong)[0] == 400


def test_a_history_comes_by_time_in_pages_and_each_point_once(wire, store):
    id = wire.run()
    said = [(3, 1.0, 30), (1, 2.0, 40), (2, "NaN", 10), (2, 5.0, 10), (1, 4.0, 40)]
    wire.ok("runs/log-batch", run_id=id, metrics=[{"key": "m", "value": v, "timestamp": t, "step": s} for s, v, t in said])
    store.writer.log(bytes.fromhex(id), 0, {"m": 1.0}, 3, 30_000_000)  # as by a server that did not know of it
    whole = wire.read("metrics/get-history", run_id=id, metric_key="m")["metrics"]
    assert [(p["timestamp"], p["step"], p["value"]) for p in whole] == [
        (10, 2, 5.0),
        (10, 2, "NaN"),
        (30, 3, 1.0),
        (40, 1, 2.0),
        (40, 1, 4.0),
    ]
    pages, token = [], ""
    while token is not None:
        answer = wire.read("metrics/get-history", run_id=id, metric_key="m", max_results=2, page_token=token)
        pages += answer["metrics"]
        token = answer.get("next_page_token")
    assert pages == whole
    assert wire.read("metrics/get-history", run_id=id, metric_key="nothing") == {}
    for wrong in (
        {"run_id": id},
        {"run_id": id, "metric_key": "m", "max_results": 0},
        {"run_id": id, "metric_key": "m", "page_token": "x"},
    ):
        assert wire.get("metrics/get-history", **wrong).status_code == 400


def test_histories_of_several_runs_come_together_whole_or_evenly_taken(wire):
    ids = sorted(wire.run() for _ in range(2))
    for id in ids:
        metrics = [{"key": "m", "value": math.sqrt(step), "timestamp": step, "step": step} for step in range(1000)]
        wire.ok("runs/log-batch", run_id=id, metrics=metrics)
    whole = wire.read("metrics/get-history-bulk", run_id=ids, metric_key="m")["metrics"]
    assert [(p["run_id"], p["step"]) for p in whole] == [(id, step) for id in ids for step in range(1000)]
    few = wire.read("metrics/get-history-bulk-interval", run_ids=ids, metric_key="m", max_results=11)["metrics"]
    steps = [p["step"] for p in few if p["run_id"] == ids[0]]
    assert (len(few), steps[0], steps[-1], max(b - a for a, b in itertools.pairwise(steps))) == (22, 0, 999, 100)
    last = wire.read("metrics/get-history-bulk-interval", run_ids=ids, metric_key="m", max_results=1)["metrics"]
    assert [(p["run_id"], p["step"]) for p in last] == [(id, 999) for id in ids]
    some = wire.read("metrics/get-history-bulk-interval", run_ids=ids[0], metric_key="m", start_step=5, end_step=7)["metrics"]
    assert [p["step"] for p in some] == [5, 6, 7]
    for wrong in (
        {"run_ids": ids, "metric_key": "m", "start_step": 1}, {"run_ids": ids, "metric_key": "m", "max_results": 2501},
        {"run_ids": ids, "metric_key": "m", "start_step": 3, "end_step": 1}, {"metric_key": "m"}, {"run_ids": ["x"] * 101 + ids},
        {"run_ids": ids},
    ):  # fmt: skip
        assert wire.get("metrics/get-history-bulk-interval", **wrong).status_code in (400, 404)
    assert wire.get("metrics/get-history-bulk", run_id=["nowhere"]).status_code == 400, "what is left out is said before what is not there"


def test_the_datasets_of_experiments_are_listed(found):
    assert found.wire.ok("experiments/search-datasets", experiment_ids=[found.experiment]) == {
        "dataset_summaries": [{"experiment_id": found.experiment, "name": "Churn", "digest": "1a", "context": "train"}]
    }
    assert found.wire.refused("experiments/search-datasets", experiment_ids=["1"] * 21)[0] == 400
