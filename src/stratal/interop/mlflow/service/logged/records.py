"""Logged models as MLflow's clients read them. Times in ms since 1970; what is empty is left out of answers."""

from stratal.interop.mlflow.service.calls import Answer
from stratal.interop.mlflow.service.records import TagPair

PENDING, READY, FAILED = "LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"
STATUSES = (PENDING, READY, FAILED)


class LoggedMetric(Answer, frozen=True, kw_only=True):
    """The last value of a metric that was logged with the model's id, per run and dataset. value: NaN and infinities as texts."""

    key: str
    value: float | str
    timestamp: int
    step: int = -1
    model_id: str
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LoggedModelInfo(Answer, frozen=True, kw_only=True):
    """What a logged model is."""

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str = ""
    source_run_id: str = ""
    tags: list[TagPair] = []


class LoggedModelData(Answer, frozen=True, kw_only=True):
    """What was said of it."""

    params: list[TagPair] = []
    metrics: list[LoggedMetric] = []


class LoggedModel(Answer, frozen=True, kw_only=True):
    """A logged model."""

    info: LoggedModelInfo
    data: LoggedModelData
