"""Rights on MLflow's wire: a row for each of its routes, and a request to each that is right but for who sends it."""

from typing import Any, NamedTuple

import httpx

V, C, A, ADMIN = "viewer", "contributor", "approver", "admin"

# By path behind /api/, or as it is: who may, by verb. "anybody": lists, in which everybody sees what they may view.
_ROWS: dict[str, dict[str, str]] = {
    "2.0/mlflow/experiments/create": {"POST": "chief"},
    "2.0/mlflow/experiments/get": {"GET": V},
    "2.0/mlflow/experiments/get-by-name": {"GET": V},
    "2.0/mlflow/experiments/update": {"POST": ADMIN},
    "2.0/mlflow/experiments/delete": {"POST": ADMIN},
    "2.0/mlflow/experiments/restore": {"POST": ADMIN},
    "2.0/mlflow/experiments/set-experiment-tag": {"POST": C},
    "2.0/mlflow/experiments/delete-experiment-tag": {"POST": C},
    "2.0/mlflow/experiments/search": {"GET": "anybody", "POST": "anybody"},
    "2.0/mlflow/experiments/search-datasets": {"POST": "anybody"},
    "2.0/mlflow/runs/create": {"POST": C},
    "2.0/mlflow/runs/get": {"GET": V},
    "2.0/mlflow/runs/update": {"POST": C},
    "2.0/mlflow/runs/delete": {"POST": C},
    "2.0/mlflow/runs/restore": {"POST": C},
    "2.0/mlflow/runs/log-metric": {"POST": C},
    "2.0/mlflow/runs/log-parameter": {"POST": C},
    "2.0/mlflow/runs/log-batch": {"POST": C},
    "2.0/mlflow/runs/set-tag": {"POST": C},
    "2.0/mlflow/runs/delete-tag": {"POST": C},
    "2.0/mlflow/runs/log-inputs": {"POST": C},
    "2.0/mlflow/runs/log-model": {"POST": C},
    "2.0/mlflow/runs/outputs": {"POST": C},
    "2.0/mlflow/runs/search": {"POST": "anybody"},
    "2.0/mlflow/metrics/get-history": {"GET": V},
    "2.0/mlflow/metrics/get-history-bulk": {"GET": V},
    "2.0/mlflow/metrics/get-history-bulk-interval": {"GET": V},
    "2.0/mlflow/artifacts/list": {"GET": V},
    "2.0/mlflow-artifacts/artifacts": {"GET": V},
    "2.0/mlflow-artifacts/artifacts/{path*}": {"GET": V, "PUT": C, "DELETE": C},
    "2.0/mlflow-artifacts/mpu/create/{path*}": {"POST": C},
    "2.0/mlflow-artifacts/mpu/complete/{path*}": {"POST": C},
    "2.0/mlflow-artifacts/mpu/abort/{path*}": {"POST": C},
    "2.0/mlflow-artifacts/mpu/parts/{upload_id}/{part}": {"PUT": "anybody"},  # an upload is its beginner's, and there is none of others
    "2.0/mlflow-artifacts/presigned/{path*}": {"GET": V},
    "2.0/mlflow/upload-artifact": {"POST": C},
    "/get-artifact": {"GET": V},
    "/model-versions/get-artifact": {"GET": V},
    "3.0/mlflow/server-info": {"GET": "anybody"},
    "2.0/mlflow/registered-models/create": {"POST": "chief"},
    "2.0/mlflow/registered-models/get": {"GET": V},
    "2.0/mlflow/registered-models/rename": {"POST": A},  # beside contributor on the model that the new name would be
    "2.0/mlflow/registered-models/update": {"PATCH": C},
    "2.0/mlflow/registered-models/delete": {"DELETE": A},
    "2.0/mlflow/registered-models/search": {"GET": "anybody"},
    "2.0/mlflow/registered-models/set-tag": {"POST": C},
    "2.0/mlflow/registered-models/delete-tag": {"DELETE": C},
    "2.0/mlflow/registered-models/alias": {"POST": C, "DELETE": C, "GET": V},
    "2.0/mlflow/registered-models/get-latest-versions": {"GET": V, "POST": V},
    "2.0/mlflow/model-versions/create": {"POST": C},
    "2.0/mlflow/model-versions/get": {"GET": V},
    "2.0/mlflow/model-versions/update": {"PATCH": C},
    "2.0/mlflow/model-versions/transition-stage": {"POST": C},
    "2.0/mlflow/model-versions/delete": {"DELETE": A},
    "2.0/mlflow/model-versions/search": {"GET": "anybody"},
    "2.0/mlflow/model-versions/get-download-uri": {"GET": V},
    "2.0/mlflow/model-versions/set-tag": {"POST": C},
    "2.0/mlflow/model-versions/delete-tag": {"DELETE": C},
    "2.0/mlflow/logged-models": {"POST": C},
    "2.0/mlflow/logged-models/search": {"POST": "anybody"},
    "2.0/mlflow/logged-models/{model_id}": {"GET": V, "PATCH": C, "DELETE": C},
    "2.0/mlflow/logged-models/{model_id}/tags": {"PATCH": C},
    "2.0/mlflow/logged-models/{model_id}/tags/{tag_key*}": {"DELETE": C},
    "2.0/mlflow/logged-models/{model_id}/params": {"POST": C},
    "2.0/mlflow/logged-models/{model_id}/artifacts/directories": {"GET": V},
    "2.0/mlflow/logged-models/{model_id}/artifacts/files": {"GET": V},
}
ROWS = {f"{verb} {path}": who for path, verbs in _ROWS.items() for verb, who in verbs.items()}


def routes() -> dict[str, Any]:
    """The surface's own table."""
    from stratal.server.mlflow.table import ROUTES

    return {f"{route.verb} {route.path}": route for route in ROUTES}


class Things(NamedTuple):
    """An experiment's number, a run, a logged model, and the name of the experiment and of a registered model."""

    name: str
    experiment: str
    run: str
    logged: str


# None of these is there.
NOWHERE = Things("nowhere", "999", "0" * 31 + "1", "m-" + "0" * 31 + "1")


def made(http: httpx.Client, name: str) -> Things:
    """Make things of this name, with a file in the run and a version of the model."""

    def make(verb: str, path: str, **said: object) -> Any:
        answer = http.request(verb, f"/api/2.0/mlflow/{path}", json=said)
        assert answer.status_code == 200, answer.text
        return answer.json()

    experiment = make("POST", "experiments/create", name=name)["experiment_id"]
    run = make("POST", "runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    assert http.put(f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/m/a.txt", content=b"1").status_code == 200
    make("POST", "registered-models/create", name=name)
    make("POST", "model-versions/create", name=name, source=f"runs:/{run}/m")
    make("POST", "registered-models/alias", name=name, alias="best", version="1")
    logged = make("POST", "logged-models", experiment_id=experiment, name="m", source_run_id=run)["model"]["info"]["model_id"]
    return Things(name, experiment, run, logged)


class Scene:
    """Things called `team`, made by the admin of everything."""

    def __init__(self, chief: httpx.Client) -> None:
        self._chief = chief
        self.team = made(chief, "team")

    def ask(self, route: str, http: httpx.Client, of: Things | None = None, **changed: object) -> httpx.Response:
        """Send a request about things that is right but for who sends it; what it asks for need not be there."""
        of = of or self.team
        verb, _, path = route.partition(" ")
        fields = routes()[route].request.__struct_fields__
        said = {name: value for name, value in _said(of).items() if name in fields} | _said_at(of).get(path, {}) | changed
        place = path if path.startswith("/") else f"/api/{path}"
        place = place.replace("{model_id}", of.logged).replace("{tag_key*}", "k")
        if "{path*}" in place:
            place = place.replace("{path*}", f"{of.experiment}/{of.run}/artifacts/a.txt")
            return http.request(verb, place, content=b"data" if verb == "PUT" else None)
        if path.endswith("/upload-artifact"):
            return http.post(place, params={"run_uuid": of.run, "path": "a.txt"}, content=b"data")
        if verb == "GET":
            return http.get(place, params=said)  # type: ignore[arg-type]  # texts and lists of them
        answer = http.request(verb, place, json=said)
        if path.endswith("registered-models/rename") and answer.status_code == 200:  # the next one finds it under its name
            self._chief.post(place, json={"name": said["new_name"], "new_name": of.name})
        return answer


def _said(of: Things) -> dict[str, object]:
    return {
        "experiment_id": of.experiment, "experiment_ids": [of.experiment], "experiment_name": of.name, "run_id": of.run,
        "run_uuid": of.run, "run_ids": [of.run], "metric_key": "a", "key": "k", "value": "1", "timestamp": "1", "step": "0",
        "name": of.name, "version": "1", "alias": "best", "stage": "Staging", "source": f"runs:/{of.run}/m", "tag_key": "k",
        "source_run_id": of.run, "max_results": "10", "archive_existing_versions": False,
    }  # fmt: skip


def _said_at(of: Things) -> dict[str, dict[str, object]]:
    return {
        "2.0/mlflow/experiments/create": {"name": "fresh"},
        "2.0/mlflow/experiments/update": {"new_name": of.name},
        "2.0/mlflow/registered-models/create": {"name": "fresh"},
        "2.0/mlflow/registered-models/rename": {"new_name": of.name.capitalize()},
        "2.0/mlflow/logged-models": {"name": "m2"},
        "2.0/mlflow-artifacts/artifacts": {"path": f"{of.experiment}/{of.run}/artifacts"},
        "/get-artifact": {"path": "a.txt"},
        "2.0/mlflow/logged-models/{model_id}/artifacts/files": {"artifact_file_path": "a.txt"},
        "/model-versions/get-artifact": {"path": "a.txt"},
    }
