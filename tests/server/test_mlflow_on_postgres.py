"""MLflow's protocol over a store on PostgreSQL: each kind of statement once. Excludes what calls mean."""

import pytest
from mlflow_wire import Wire

from stratal.server.mlflow.surface import Mlflow
from stratal.server.serving import listening
from stratal.tracking.opening import open_store

FILTERS = [
    "metrics.m = 1", "params.p = '1'", "tags.t LIKE 'v'", "tags.mlflow.source.name = 'q'", "dataset.name = 'd'", "status = 'RUNNING'",
    "start_time > 0", "artifact_uri LIKE '%artifacts'", "tags.mlflow.runName LIKE '%'", "tags.`mlflow.note.content` = 'n'",
]  # fmt: skip
ORDERS = ["metrics.m", "params.p DESC", "status", "start_time", "end_time", "artifact_uri", "tags.t"]


@pytest.mark.slow
def test_runs_searches_files_and_experiments_work_there_too(lent):
    store = open_store(lent())
    with listening(Mlflow(store)) as url:
        wire = Wire(url)
        experiment = wire.experiment("x")
        run = wire.run(experiment, tags=[{"key": "mlflow.source.name", "value": "q"}, {"key": "mlflow.note.content", "value": "n"}])
        point, pair, tag = {"key": "m", "value": 1, "timestamp": 1}, {"key": "p", "value": "1"}, {"key": "t", "value": "v"}
        wire.ok("runs/log-batch", run_id=run, metrics=[point], params=[pair], tags=[tag])
        wire.ok("runs/log-inputs", run_id=run, datasets=[{"dataset": {"name": "d", "digest": "1"}}])
        for asked in [*({"filter": text} for text in FILTERS), *({"order_by": [key]} for key in ORDERS)]:
            assert len(wire.ok("runs/search", experiment_ids=[experiment], **asked)["runs"]) == 1, asked
        assert len(wire.ok("experiments/search-datasets", experiment_ids=[experiment])["dataset_summaries"]) == 1
        wire.ok("experiments/set-experiment-tag", experiment_id=experiment, key="a", value="b")
        wire.ok("experiments/update", experiment_id=experiment, new_name="y")
        proxy = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts"
        assert wire.http.put(f"{proxy}/a/b", content=b"1").status_code == 200
        assert [file["path"] for file in wire.read("artifacts/list", run_id=run)["files"]] == ["a"]
        assert wire.http.delete(f"{proxy}/a").status_code == 200
        assert len(wire.read("metrics/get-history", run_id=run, metric_key="m")["metrics"]) == 1
        wire.ok("runs/delete-tag", run_id=run, key="t")
        wire.ok("experiments/delete", experiment_id=experiment)
        wire.ok("experiments/restore", experiment_id=experiment)
        wire.http.close()
    store.close()


@pytest.mark.slow
def test_models_and_versions_are_found_there_too(lent):
    store = open_store(lent())
    with listening(Mlflow(store)) as url:
        wire = Wire(url)
        run = wire.run()
        wire.http.put(f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/m/a", content=b"1")
        for name in ("b", "a", "C"):
            wire.ok("registered-models/create", name=name, tags=[{"key": "t", "value": name}])
            wire.ok("model-versions/create", name=name, source=f"runs:/{run}/m", run_id=run, tags=[{"key": "t", "value": name}])
        wire.ok("registered-models/rename", name="b", new_name="d")
        wire.ok("registered-models/alias", name="a", alias="best", version="1")
        found = wire.read("registered-models/search", filter="tags.t != 'x' AND tag.`mlflow.prompt.is_prompt` != 'true'", max_results=2)
        assert [model["name"] for model in found["registered_models"]] == ["C", "a"]
        assert found["registered_models"][1]["aliases"] == [{"alias": "best", "version": "1"}]
        assert [len(model["latest_versions"]) for model in found["registered_models"]] == [1, 1]
        rest = wire.read("registered-models/search", max_results=2, page_token=found["next_page_token"])
        assert [model["name"] for model in rest["registered_models"]] == ["d"]
        for filter in (
            "name LIKE '_'", "name ILIKE 'c'", "name IN ('a', 'C')", "tags.t = 'b'", "tags.t IS NULL", f"run_id = '{run}'",
            f"source_path LIKE 'runs:/{run}/%'", "version_number >= 1", "creation_timestamp > 0", "last_updated_timestamp > 1.5",
        ):  # fmt: skip
            versions = wire.read("model-versions/search", filter=filter).get("model_versions", [])
            wanted = {"name ILIKE 'c'": ["C"], "name IN ('a', 'C')": ["C", "a"], "tags.t = 'b'": ["d"], "tags.t IS NULL": []}
            assert sorted(version["name"] for version in versions) == wanted.get(filter, ["C", "a", "d"]), filter
        for order in ("name", "version_number DESC", "creation_timestamp", "last_updated_timestamp DESC"):
            assert len(wire.read("model-versions/search", order_by=order)["model_versions"]) == 3
        wire.http.close()
    store.close()
