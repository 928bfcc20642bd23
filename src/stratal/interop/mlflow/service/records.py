"""Runs as clients see them: what requests hold of them, and what answers say."""

from stratal.core.records import Record
from stratal.interop.mlflow.service.calls import Answer, OfRun, Request

Number = float | str  # NaN and infinities are texts


class TagPair(Answer, frozen=True, kw_only=True):
    """A param or tag, in requests and answers: a name and a text."""

    key: str | None = None
    value: str | None = None


class PointSaid(OfRun, frozen=True, kw_only=True):
    """A point, by itself or in a batch, which says of which run."""

    key: str | None = None
    value: float | None = None
    timestamp: int | None = None
    step: int | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class Dataset(Answer, frozen=True, kw_only=True):
    """A dataset, as its client described it."""

    name: str | None = None
    digest: str | None = None
    source_type: str | None = None
    source: str | None = None
    schema: str | None = None
    profile: str | None = None


class DatasetInput(Answer, frozen=True, kw_only=True):
    """A dataset that a run used; the tag `mlflow.data.context` says for what."""

    tags: list[TagPair] = []
    dataset: Dataset


class Metric(Answer, frozen=True, kw_only=True):
    """A point in an answer."""

    key: str
    value: Number
    timestamp: int
    step: int
    run_id: str | None = None


class RunInfo(Answer, frozen=True, kw_only=True):
    """What a run is."""

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None = None
    artifact_uri: str
    lifecycle_stage: str


class RunData(Answer, frozen=True, kw_only=True):
    """What a run holds."""

    metrics: list[Metric] = []
    params: list[TagPair] = []
    tags: list[TagPair] = []


class ModelInput(Answer, frozen=True, kw_only=True):
    """A logged model that a run used."""

    model_id: str


class ModelOutput(Answer, frozen=True, kw_only=True):
    """A logged model that a run brought forth."""

    model_id: str
    step: int


class RunInputs(Answer, frozen=True, kw_only=True):
    """What a run used."""

    dataset_inputs: list[DatasetInput] = []
    model_inputs: list[ModelInput] = []


class RunOutputs(Answer, frozen=True, kw_only=True):
    """What a run brought forth."""

    model_outputs: list[ModelOutput] = []


class Run(Answer, frozen=True, kw_only=True):
    """A run."""

    info: RunInfo
    data: RunData
    inputs: RunInputs = RunInputs()
    outputs: RunOutputs | None = None


class OneRun(Answer, frozen=True, kw_only=True):
    run: Run


class UpdatedRun(Answer, frozen=True, kw_only=True):
    run_info: RunInfo


class CreateRun(Request, frozen=True, kw_only=True):
    experiment_id: str | None = None
    user_id: str | None = None
    run_name: str | None = None
    start_time: int | None = None
    tags: list[TagPair] | None = None


class UpdateRun(OfRun, frozen=True, kw_only=True):
    status: str | int | None = None
    end_time: int | None = None
    run_name: str | None = None


class LogPair(OfRun, frozen=True, kw_only=True):
    """A param or tag of a run."""

    key: str | None = None
    value: str | None = None


class LogBatch(OfRun, frozen=True, kw_only=True):
    metrics: list[PointSaid] | None = None
    params: list[TagPair] | None = None
    tags: list[TagPair] | None = None


class DatasetSaid(Record, frozen=True, kw_only=True):
    tags: list[TagPair] | None = None
    dataset: Dataset | None = None


class ModelSaid(Record, frozen=True, kw_only=True):
    model_id: str | None = None


class LogInputs(OfRun, frozen=True, kw_only=True):
    datasets: list[DatasetSaid] | None = None
    models: list[ModelSaid] | None = None


class LogModel(OfRun, frozen=True, kw_only=True):
    model_json: str | None = None
