"""Rights on MLflow's wire: a row for each of its routes, and a request to each that is right but for who sends it."""

from typing import Any

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
    "2.0/mlflow-artifacts/mpu/create/{path*}": {"POST": "anybody"},  # they answer that this is not done here
    "2.0/mlflow-artifacts/mpu/complete/{path*}": {"POST": "anybody"},
    "2.0/mlflow-artifacts/mpu/abort/{path*}": {"POST": "anybody"},
    "2.0/mlflow-artifacts/presigned/{path*}": {"GET": "anybody"},
    "/get-artifact": {"GET": V},
    "/model-versions/get-artifact": {"GET": V},
    "3.0/mlflow/server-info": {"GET": "anybody"},
    "2.0/mlflow/registered-models/create": {"POST": "chief"},
    "2.0/mlflow/registered-models/get": {"GET": V},
    "2.0/mlflow/registered-models/rename": {"POST": A},  # only what clients call it: rights stay with its own name
    "2.0/mlflow/registered-models/update": {"PATCH": C},
    "2.0/mlflow/registered-models/delete": {"DELETE": A},
    "2.0/mlflow/registered-models/search": {"GET": "anybody"},
    "2.0/mlflow/registered-models/set-tag": {"POST": C},
    "2.0/mlflow/registered-models/delete-tag": {"DELETE": C},
    "2.0/mlflow/registered-models/alias": {"POST": A, "DELETE": A, "GET": V},
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
}
ROWS = {f"{verb} {path}": who for path, verbs in _ROWS.items() for verb, who in verbs.items()}


def routes() -> dict[str, Any]:
    """The surface's own table."""
    from stratal.server.mlflow.table import ROUTES

    return {f"{route.verb} {route.path}": route for route in ROUTES}


class Scene:
    """An experiment, a run, a registered and a logged model, all called `team`, made by the admin of everything."""

    def __init__(self, chief: httpx.Client) -> None:
        self._chief = chief

        def made(verb: str, path: str, **said: object) -> Any:
            answer = chief.request(verb, f"/api/2.0/mlflow/{path}", json=said)
            assert answer.status_code == 200, answer.text
            return answer.json()

        self.experiment = made("POST", "experiments/create", name="team")["experiment_id"]
        self.run = made("POST", "runs/create", experiment_id=self.experiment)["run"]["info"]["run_id"]
        made("POST", "registered-models/create", name="team")
        logged = made("POST", "logged-models", experiment_id=self.experiment, name="m", source_run_id=self.run)
        self.logged = logged["model"]["info"]["model_id"]
        self._said: dict[str, object] = {
            "experiment_id": self.experiment, "experiment_ids": [self.experiment], "experiment_name": "team", "run_id": self.run,
            "run_uuid": self.run, "run_ids": [self.run], "metric_key": "a", "key": "k", "value": "1", "timestamp": "1", "step": "0",
            "name": "team", "version": "1", "alias": "best", "stage": "Staging", "source": f"runs:/{self.run}/m", "tag_key": "k",
            "source_run_id": self.run, "max_results": "10", "archive_existing_versions": False,
        }  # fmt: skip
        self._of: dict[str, dict[str, object]] = {
            "2.0/mlflow/experiments/create": {"name": "fresh"},
            "2.0/mlflow/experiments/update": {"new_name": "team"},
            "2.0/mlflow/registered-models/create": {"name": "fresh"},
            "2.0/mlflow/registered-models/rename": {"new_name": "renamed"},
            "2.0/mlflow/logged-models": {"name": "m2"},
            "2.0/mlflow-artifacts/artifacts": {"path": f"{self.experiment}/{self.run}/artifacts"},
            "/get-artifact": {"path": "a.txt"},
            "/model-versions/get-artifact": {"path": "a.txt"},
        }

    def ask(self, route: str, http: httpx.Client) -> httpx.Response:
        """Send a request that is right but for who sends it; what it asks for need not be there."""
        verb, _, path = route.partition(" ")
        fields = routes()[route].request.__struct_fields__
        said = {name: value for name, value in self._said.items() if name in fields} | self._of.get(path, {})
        place = path if path.startswith("/") else f"/api/{path}"
        place = place.replace("{model_id}", self.logged).replace("{tag_key*}", "k")
        if "{path*}" in place:
            place = place.replace("{path*}", f"{self.experiment}/{self.run}/artifacts/a.txt")
            return http.request(verb, place, content=b"data" if verb == "PUT" else None)
        if verb == "GET":
            return http.get(place, params=said)  # type: ignore[arg-type]  # texts and lists of them
        answer = http.request(verb, place, json=said)
        if path.endswith("registered-models/rename") and answer.status_code == 200:  # the next one finds it under its name
            self._chief.post(place, json={"name": said["new_name"], "new_name": "team"})
        return answer
