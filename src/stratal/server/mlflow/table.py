"""The table of routes: verb, path, request, function, and which role on which objects the caller needs.

Paths begin behind `/api/` or `/ajax-api/`, which are alike, or with a slash of their own. `{name}` in a path is a field of the
request; `{name*}` may hold slashes.
"""

import re
from collections.abc import Callable, Iterable
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from stratal.core.people import Role
from stratal.interop.mlflow.service import experiments, files, history, info, inputs, records, runs, searching, writing
from stratal.interop.mlflow.service.calls import Answer, Call, OfRun, On, R, Request, Verb, anything
from stratal.interop.mlflow.service.errors import ABSENT, MlflowError
from stratal.interop.mlflow.service.heads import at_run
from stratal.interop.mlflow.service.logged import linking
from stratal.interop.mlflow.service.logged import models as logged
from stratal.interop.mlflow.service.logged import searching as logged_search
from stratal.interop.mlflow.service.registry import models, transitions, versions
from stratal.interop.mlflow.service.registry import searching as model_search

V, C, A, ADMIN = Role.VIEWER, Role.CONTRIBUTOR, Role.APPROVER, Role.ADMIN


class Carries(Enum):
    """What goes over a route besides its request."""

    JSON = "a body and an answer in JSON"
    NOTHING = "no body; an answer in JSON"
    UPLOAD = "a file in"
    POSTED = "a file in, named in the query"
    DOWNLOAD = "a file out"
    CREATE = "JSON: a file in parts begins"
    PART = "a part of a file in"
    COMPLETE = "JSON: a file in parts is whole"
    ABORT = "JSON: a file in parts is given up"
    SIGNED = "JSON: where a file is read"


class Route(NamedTuple):
    """One route. What it holds agrees in its types: `route` sees to it."""

    verb: str
    path: str
    request: type[Request]
    function: Verb[Any, Answer]
    needs: Role
    on: Callable[[Call, Any], Iterable[str]]
    carries: Carries = Carries.JSON


def route(verb: str, path: str, request: type[R], function: Verb[R, Any], needs: Role, on: On[R], carries: Carries = Carries.JSON) -> Route:
    """Make a route of parts that fit each other."""
    return Route(verb, path, request, function, needs, on, carries)


EXPERIMENTS = (
    route("POST", "2.0/mlflow/experiments/create", experiments.CreateExperiment, experiments.create, C, experiments.at_new),
    route("GET", "2.0/mlflow/experiments/get", experiments.OfExperiment, experiments.get, V, experiments.at_id),
    route("GET", "2.0/mlflow/experiments/get-by-name", experiments.ByName, experiments.get_by_name, V, experiments.at_name),
    route("POST", "2.0/mlflow/experiments/update", experiments.UpdateExperiment, experiments.update, ADMIN, experiments.at_id),
    route("POST", "2.0/mlflow/experiments/delete", experiments.OfExperiment, experiments.delete, ADMIN, experiments.at_id),
    route("POST", "2.0/mlflow/experiments/restore", experiments.OfExperiment, experiments.restore, ADMIN, experiments.at_id),
    route("POST", "2.0/mlflow/experiments/set-experiment-tag", experiments.ExperimentTag, experiments.set_tag, C, experiments.at_id),
    route("POST", "2.0/mlflow/experiments/delete-experiment-tag", experiments.ExperimentTag, experiments.delete_tag, C, experiments.at_id),
)
RUNS = (
    route("POST", "2.0/mlflow/runs/create", records.CreateRun, runs.create, C, runs.at_experiment),
    route("GET", "2.0/mlflow/runs/get", OfRun, runs.get, V, at_run),
    route("POST", "2.0/mlflow/runs/update", records.UpdateRun, runs.update, C, at_run),
    route("POST", "2.0/mlflow/runs/delete", OfRun, runs.delete, C, at_run),
    route("POST", "2.0/mlflow/runs/restore", OfRun, runs.restore, C, at_run),
    route("POST", "2.0/mlflow/runs/log-metric", records.PointSaid, writing.log_metric, C, at_run),
    route("POST", "2.0/mlflow/runs/log-parameter", records.LogPair, writing.log_param, C, at_run),
    route("POST", "2.0/mlflow/runs/log-batch", records.LogBatch, writing.log_batch, C, at_run),
    route("POST", "2.0/mlflow/runs/set-tag", records.LogPair, writing.set_tag, C, at_run),
    route("POST", "2.0/mlflow/runs/delete-tag", records.LogPair, writing.delete_tag, C, at_run),
    route("POST", "2.0/mlflow/runs/log-inputs", records.LogInputs, inputs.log_inputs, C, at_run),
    route("POST", "2.0/mlflow/runs/log-model", records.LogModel, writing.log_model, C, at_run),
)
SEARCHES = (
    *(
        route(verb, "2.0/mlflow/experiments/search", searching.SearchExperiments, searching.search_experiments, V, anything)
        for verb in ("GET", "POST")
    ),
    route("POST", "2.0/mlflow/runs/search", searching.SearchRuns, searching.search_runs, V, anything),
    route("POST", "2.0/mlflow/experiments/search-datasets", searching.SearchDatasets, searching.search_datasets, V, anything),
    route("GET", "2.0/mlflow/metrics/get-history", history.GetHistory, history.get_history, V, at_run),
    route("GET", "2.0/mlflow/metrics/get-history-bulk", history.GetHistories, history.get_histories, V, history.at_runs),
    route("GET", "2.0/mlflow/metrics/get-history-bulk-interval", history.GetSampled, history.get_sampled, V, history.at_sampled),
)
_PROXY = "2.0/mlflow-artifacts"
FILES = (
    route("GET", "2.0/mlflow/artifacts/list", files.ListArtifacts, files.list_artifacts, V, at_run),
    route("GET", f"{_PROXY}/artifacts", files.AtPath, files.list_folder, V, files.at_path),
    route("GET", f"{_PROXY}/artifacts/{{path*}}", files.AtPath, files.open_file, V, files.at_path, Carries.DOWNLOAD),
    route("PUT", f"{_PROXY}/artifacts/{{path*}}", files.SaveFile, files.save, C, files.at_path, Carries.UPLOAD),
    route("DELETE", f"{_PROXY}/artifacts/{{path*}}", files.AtPath, files.delete, C, files.at_path, Carries.NOTHING),
    *(
        route("POST", f"{_PROXY}/mpu/{verb.name.lower()}/{{path*}}", files.SaveFile, files.may_save, C, files.at_path, verb)
        for verb in (Carries.CREATE, Carries.COMPLETE, Carries.ABORT)
    ),
    route("PUT", f"{_PROXY}/mpu/parts/{{upload_id}}/{{part}}", files.SaveFile, files.save, C, anything, Carries.PART),
    route("GET", f"{_PROXY}/presigned/{{path*}}", files.AtPath, files.open_file, V, files.at_path, Carries.SIGNED),
    route("POST", "2.0/mlflow/upload-artifact", files.SaveOfRun, files.save_of_run, C, at_run, Carries.POSTED),
    route("GET", "/get-artifact", files.ListArtifacts, files.open_artifact, V, at_run, Carries.DOWNLOAD),
    route("GET", "/model-versions/get-artifact", files.VersionFile, files.open_of_version, V, models.at_model, Carries.DOWNLOAD),
)
INFO = (route("GET", "3.0/mlflow/server-info", info.AboutServer, info.about, V, anything),)

# Deleting hides what others build on: who may approve may do that.
MODELS = (
    route("POST", "2.0/mlflow/registered-models/create", models.CreateModel, models.create, C, models.at_new),
    route("GET", "2.0/mlflow/registered-models/get", models.OfModel, models.get, V, models.at_model),
    route("POST", "2.0/mlflow/registered-models/rename", models.RenameModel, models.rename, A, models.at_model),
    route("PATCH", "2.0/mlflow/registered-models/update", models.UpdateModel, models.update, C, models.at_model),
    route("DELETE", "2.0/mlflow/registered-models/delete", models.OfModel, models.delete, A, models.at_model),
    route("GET", "2.0/mlflow/registered-models/search", model_search.SearchModels, model_search.search_models, V, anything),
    route("POST", "2.0/mlflow/registered-models/set-tag", models.ModelTag, models.set_tag, C, models.at_model),
    route("DELETE", "2.0/mlflow/registered-models/delete-tag", models.ModelTag, models.delete_tag, C, models.at_model),
    route("POST", "2.0/mlflow/registered-models/alias", models.SetAlias, models.set_alias, C, models.at_model),
    route("DELETE", "2.0/mlflow/registered-models/alias", models.OfAlias, models.delete_alias, C, models.at_model),
    route("GET", "2.0/mlflow/registered-models/alias", models.OfAlias, models.get_by_alias, V, models.at_model),
    *(
        route(verb, "2.0/mlflow/registered-models/get-latest-versions", versions.LatestVersions, versions.latest, V, models.at_model)
        for verb in ("GET", "POST")
    ),
    route("POST", "2.0/mlflow/model-versions/create", versions.CreateVersion, versions.create, C, models.at_model),
    route("GET", "2.0/mlflow/model-versions/get", versions.OfVersion, versions.get, V, models.at_model),
    route("PATCH", "2.0/mlflow/model-versions/update", versions.UpdateVersion, versions.update, C, models.at_model),
    route("POST", "2.0/mlflow/model-versions/transition-stage", transitions.Transition, transitions.transition, C, models.at_model),
    route("DELETE", "2.0/mlflow/model-versions/delete", versions.OfVersion, versions.delete, A, models.at_model),
    route("GET", "2.0/mlflow/model-versions/search", model_search.SearchVersions, model_search.search_versions, V, anything),
    route("GET", "2.0/mlflow/model-versions/get-download-uri", versions.OfVersion, versions.download_uri, V, models.at_model),
    route("POST", "2.0/mlflow/model-versions/set-tag", versions.VersionTag, versions.set_tag, C, models.at_model),
    route("DELETE", "2.0/mlflow/model-versions/delete-tag", versions.VersionTag, versions.delete_tag, C, models.at_model),
)
_LOGGED = "2.0/mlflow/logged-models"
LOGGED = (
    route("POST", _LOGGED, logged.CreateLogged, logged.create, C, logged.at_experiment),
    route("POST", f"{_LOGGED}/search", logged_search.SearchLogged, logged_search.search, V, anything),
    route("GET", f"{_LOGGED}/{{model_id}}", logged.GetLogged, logged.get, V, logged.at_logged),
    route("PATCH", f"{_LOGGED}/{{model_id}}", logged.FinishLogged, logged.finish, C, logged.at_logged),
    route("DELETE", f"{_LOGGED}/{{model_id}}", logged.OfLogged, logged.delete, C, logged.at_logged),
    route("PATCH", f"{_LOGGED}/{{model_id}}/tags", logged.LoggedTags, logged.set_tags, C, logged.at_logged),
    route("DELETE", f"{_LOGGED}/{{model_id}}/tags/{{tag_key*}}", logged.LoggedTag, logged.delete_tag, C, logged.at_logged, Carries.NOTHING),
    route("POST", f"{_LOGGED}/{{model_id}}/params", logged.LoggedParams, logged.log_params, C, logged.at_logged),
    route("GET", f"{_LOGGED}/{{model_id}}/artifacts/directories", files.ListLogged, files.list_of_logged, V, logged.at_logged),
    route(
        "GET", f"{_LOGGED}/{{model_id}}/artifacts/files", files.FileOfLogged, files.open_of_logged, V, logged.at_logged, Carries.DOWNLOAD
    ),
    route("POST", "2.0/mlflow/runs/outputs", linking.LogOutputs, linking.log_outputs, C, at_run),
)

ROUTES: tuple[Route, ...] = (*MODELS, *LOGGED, *EXPERIMENTS, *INFO, *RUNS, *SEARCHES, *FILES)

# What MLflow's server has besides, and this one does not: say so, instead of looking like a typing mistake.
_ABSENT = {
    "traces": "traces", "assessments": "traces", "get-trace-artifact": "traces", "get-online-trace-details": "traces",
    "unified-traces": "traces", "prompts": "prompts", "prompt-optimization": "prompts", "gateway": "the gateway",
    "gateway-proxy": "the gateway", "scorers": "scorers", "scorer": "scorers", "datasets": "evaluation datasets",
    "webhooks": "MLflow's webhooks", "workspaces": "workspaces",
    "ui-telemetry": "telemetry of MLflow's own pages", "demo": "MLflow's demo", "issues": "issues", "jobs": "jobs",
    "labeling-sessions": "labeling sessions", "label-schemas": "labeling sessions", "review-queues": "review queues", "mcp": "MCP servers",
    "mcp-servers": "MCP servers", "genai": "GenAI evaluation",
}  # fmt: skip
# The same of whole paths.
_ABSENT_AT = {
    "/graphql": "the GraphQL of MLflow's own pages", "/v1/traces": "OpenTelemetry", "/v1/metrics": "OpenTelemetry",
    "2.0/mlflow/runs/create-promptlab-run": "the prompt lab of MLflow's own pages",
    "2.0/mlflow/artifacts/presigned-download-url": "URLs of a bucket for MLflow's clients",
    "2.0/mlflow/artifacts/presigned-upload-url": "URLs of a bucket for MLflow's clients",
}  # fmt: skip


class Found(NamedTuple):
    """The route of a request, and the fields that its path holds."""

    route: Route
    fields: dict[str, str]


class Unknown(Exception):
    """No route has this path; or none has it with this verb. verbs: which it can be asked with."""

    def __init__(self, path: str, verbs: tuple[str, ...] = ()) -> None:
        super().__init__(path)
        self.verbs = verbs


def find(verb: str, path: str) -> Found:
    """Give the route of a path behind `/api/`. Raises Unknown, or MlflowError for what this server leaves out."""
    plain, shaped = _by_path()
    if (here := plain.get(path)) is not None:
        if verb in here:
            return Found(here[verb], {})
        raise Unknown(path, tuple(here))
    for pattern, there in shaped:
        if (match := pattern.fullmatch(path)) is not None:
            if verb in there:
                return Found(there[verb], match.groupdict())
            raise Unknown(path, tuple(there))
    if (subject := _absent(path)) is not None:
        raise MlflowError(ABSENT, f"This server does not have {subject}: it serves MLflow's tracking, models, registry and artifacts.")
    raise Unknown(path)


@cache
def _by_path() -> tuple[dict[str, dict[str, Route]], list[tuple[re.Pattern[str], dict[str, Route]]]]:
    plain: dict[str, dict[str, Route]] = {}
    shaped: dict[str, dict[str, Route]] = {}
    for one in ROUTES:
        (shaped if "{" in one.path else plain).setdefault(one.path, {})[one.verb] = one
    return plain, [(_pattern(path), verbs) for path, verbs in shaped.items()]


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)(\*?)\}", path)
    text, names = parts[::3], zip(parts[1::3], parts[2::3], strict=True)
    fields = [f"(?P<{name}>{'.+' if deep else '[^/]+'})" for name, deep in names]
    return re.compile("".join(re.escape(part) + field for part, field in zip(text, [*fields, ""], strict=True)), re.DOTALL)


def _absent(path: str) -> str | None:
    parts = path.split("/")
    return _ABSENT_AT.get(path) or (_ABSENT.get(parts[2]) if len(parts) > 2 and parts[1] == "mlflow" else None)
