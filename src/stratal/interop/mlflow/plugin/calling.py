"""Calls: which function of the service answers which of MLflow's messages, and what its errors become."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import msgspec
from mlflow.exceptions import RestException

from stratal.core.errors import StratalError
from stratal.core.people import Role
from stratal.interop.mlflow.plugin.places import Home
from stratal.interop.mlflow.service import experiments, history, inputs, records, runs, searching, writing
from stratal.interop.mlflow.service.calls import A, Everything, OfRun, R, Request, Verb, anything, perform
from stratal.interop.mlflow.service.errors import ABSENT, MlflowError, code_of, invalid
from stratal.interop.mlflow.service.logged import linking
from stratal.interop.mlflow.service.logged import models as logged
from stratal.interop.mlflow.service.logged import searching as logged_search
from stratal.interop.mlflow.service.registry import models, transitions, versions
from stratal.interop.mlflow.service.registry import searching as model_search


class Api(NamedTuple):
    """A message of MLflow: the request that it is read as, and the function that answers."""

    request: type[Request]
    function: Verb[Any, Any]


APIS: dict[str, Api] = {
    "CreateExperiment": Api(experiments.CreateExperiment, experiments.create),
    "GetExperiment": Api(experiments.OfExperiment, experiments.get),
    "GetExperimentByName": Api(experiments.ByName, experiments.get_by_name),
    "UpdateExperiment": Api(experiments.UpdateExperiment, experiments.update),
    "DeleteExperiment": Api(experiments.OfExperiment, experiments.delete),
    "RestoreExperiment": Api(experiments.OfExperiment, experiments.restore),
    "SetExperimentTag": Api(experiments.ExperimentTag, experiments.set_tag),
    "DeleteExperimentTag": Api(experiments.ExperimentTag, experiments.delete_tag),
    "SearchExperiments": Api(searching.SearchExperiments, searching.search_experiments),
    "CreateRun": Api(records.CreateRun, runs.create),
    "GetRun": Api(OfRun, runs.get),
    "UpdateRun": Api(records.UpdateRun, runs.update),
    "DeleteRun": Api(OfRun, runs.delete),
    "RestoreRun": Api(OfRun, runs.restore),
    "LogMetric": Api(records.PointSaid, writing.log_metric),
    "LogParam": Api(records.LogPair, writing.log_param),
    "LogBatch": Api(records.LogBatch, writing.log_batch),
    "SetTag": Api(records.LogPair, writing.set_tag),
    "DeleteTag": Api(records.LogPair, writing.delete_tag),
    "LogInputs": Api(records.LogInputs, inputs.log_inputs),
    "LogModel": Api(records.LogModel, writing.log_model),
    "SearchRuns": Api(searching.SearchRuns, searching.search_runs),
    "GetMetricHistory": Api(history.GetHistory, history.get_history),
    "GetMetricHistoryBulkInterval": Api(history.GetSampled, history.get_sampled),
    "LogOutputs": Api(linking.LogOutputs, linking.log_outputs),
    "CreateLoggedModel": Api(logged.CreateLogged, logged.create),
    "GetLoggedModel": Api(logged.GetLogged, logged.get),
    "FinalizeLoggedModel": Api(logged.FinishLogged, logged.finish),
    "DeleteLoggedModel": Api(logged.OfLogged, logged.delete),
    "SetLoggedModelTags": Api(logged.LoggedTags, logged.set_tags),
    "DeleteLoggedModelTag": Api(logged.LoggedTag, logged.delete_tag),
    "LogLoggedModelParamsRequest": Api(logged.LoggedParams, logged.log_params),
    "SearchLoggedModels": Api(logged_search.SearchLogged, logged_search.search),
    "CreateRegisteredModel": Api(models.CreateModel, models.create),
    "GetRegisteredModel": Api(models.OfModel, models.get),
    "RenameRegisteredModel": Api(models.RenameModel, models.rename),
    "UpdateRegisteredModel": Api(models.UpdateModel, models.update),
    "DeleteRegisteredModel": Api(models.OfModel, models.delete),
    "SearchRegisteredModels": Api(model_search.SearchModels, model_search.search_models),
    "SetRegisteredModelTag": Api(models.ModelTag, models.set_tag),
    "DeleteRegisteredModelTag": Api(models.ModelTag, models.delete_tag),
    "SetRegisteredModelAlias": Api(models.SetAlias, models.set_alias),
    "DeleteRegisteredModelAlias": Api(models.OfAlias, models.delete_alias),
    "GetModelVersionByAlias": Api(models.OfAlias, models.get_by_alias),
    "GetLatestVersions": Api(versions.LatestVersions, versions.latest),
    "CreateModelVersion": Api(versions.CreateVersion, versions.create),
    "GetModelVersion": Api(versions.OfVersion, versions.get),
    "UpdateModelVersion": Api(versions.UpdateVersion, versions.update),
    "TransitionModelVersionStage": Api(transitions.Transition, transitions.transition),
    "DeleteModelVersion": Api(versions.OfVersion, versions.delete),
    "SearchModelVersions": Api(model_search.SearchVersions, model_search.search_versions),
    "GetModelVersionDownloadUri": Api(versions.OfVersion, versions.download_uri),
    "SetModelVersionTag": Api(versions.VersionTag, versions.set_tag),
    "DeleteModelVersionTag": Api(versions.VersionTag, versions.delete_tag),
}
# What a path of MLflow's holds of its request.
_IN_PATH = re.compile(r".*/logged-models/(?P<model_id>[^/]+)(?:/tags/(?P<tag_key>.+)|/.*)?")


def answer(home: Home, api: str, json_body: str | None, endpoint: str | None) -> Mapping[str, object]:
    """Answer a message, as JSON. Raises RestException, as a server would have it raised."""
    if (found := APIS.get(api)) is None:
        raise in_mlflow(MlflowError(ABSENT, f"A store of Stratal does not answer {api}: it keeps experiments, runs, models and artifacts."))
    said = cast("dict[str, object]", home.inward(msgspec.json.decode(json_body or "{}")))
    if endpoint and (match := _IN_PATH.fullmatch(endpoint)):
        said |= {key: value for key, value in match.groupdict().items() if value}
    try:
        request = msgspec.convert(said, found.request, strict=False)
    except msgspec.ValidationError as error:
        raise in_mlflow(invalid(f"{api}: {error}")) from None
    given = ask(home, found.function, request)
    return cast("dict[str, object]", home.outward(msgspec.json.decode(msgspec.json.encode(given))))


def ask(home: Home, verb: Verb[R, A], request: R) -> A:
    """Call a function of the service; who opens a folder may do everything in it. Raises RestException."""
    try:
        return perform(home.service, verb, request, rights=Everything(), needs=Role.VIEWER, on=anything)
    except StratalError as error:
        raise in_mlflow(error) from error


def in_mlflow(error: StratalError) -> RestException:
    """Give an error of ours as scripts for MLflow catch it."""
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return RestException({"error_code": code_of(error), "message": message})
