"""What both kinds of store hold: runs, datasets, logged models, registered models. And what reads them: the port of a store."""

from collections.abc import Collection, Iterator
from typing import NamedTuple, Protocol

from stratal.interop.foreign import LAST_NS, ForeignId, Remark
from stratal.interop.port import Source


class ExperimentRow(NamedTuple):
    """An experiment. id: as clients know it; times in ms since 1970."""

    id: str
    name: str
    tags: dict[str, str]
    created_ms: int
    changed_ms: int
    is_deleted: bool


class RunRow(NamedTuple):
    """A run, as its own record says. Times in ms since 1970; is_deleted: it was put into MLflow's bin."""

    id: str
    experiment: str
    name: str
    status: str
    start_ms: int
    end_ms: int | None
    is_deleted: bool
    artifact_uri: str
    user: str

    def foreign(self, kind: str) -> ForeignId:
        """Give what it is known by. Ids of MLflow's runs are unique in the world; folder and database are told apart."""
        return ForeignId(tool="mlflow", store=kind, run=self.id, started_ns=to_ns(self.start_ms, 0))


class DatasetRow(NamedTuple):
    """A dataset that a run used. context: what for; the other fields are texts, as MLflow has them."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str
    tags: dict[str, str]


class LoggedModel(NamedTuple):
    """A logged model (since MLflow 3): `place` is where its files were. run: that logged it, '' for none. status: MLflow's number."""

    id: str
    name: str
    place: str
    status: str
    model_type: str
    params: dict[str, str]
    tags: dict[str, str]
    run: str
    experiment: str
    created_ms: int
    is_deleted: bool


class ModelPoint(NamedTuple):
    """A point of a logged model, with the dataset that it was measured on, if there was one."""

    key: str
    value: float
    ms: int
    step: int
    dataset: str
    digest: str


class VersionRow(NamedTuple):
    """A version of a registered model. source: what it was made from; place: where its files were."""

    number: int
    stage: str
    source: str
    place: str
    run: str
    description: str
    user: str
    status: str
    created_ms: int
    tags: dict[str, str]


class ModelRow(NamedTuple):
    """A registered model."""

    name: str
    description: str
    created_ms: int
    tags: dict[str, str]
    aliases: dict[str, int]
    versions: list[VersionRow]


class MlflowStore(Protocol):
    """A store that is read. Laws: 1 it reads nothing outside of its folder. 2 what is damaged costs itself, and is remarked."""

    kind: str
    remarks: list[Remark]

    def experiments(self) -> Iterator[ExperimentRow]: ...

    def runs(self) -> Iterator[RunRow]: ...

    def params(self, run: RunRow) -> dict[str, str]: ...

    def tags(self, run: RunRow) -> dict[str, str]: ...

    def datasets(self, run: RunRow) -> list[DatasetRow]: ...

    def logged_models(self, run: RunRow) -> list[LoggedModel]: ...

    def loose_models(self, runs: Collection[str]) -> list[LoggedModel]:
        """Give the models that none of these runs logged."""
        ...

    def points_of_models(self, run: RunRow) -> Iterator[tuple[str, list[ModelPoint]]]:
        """Give what a run measured of logged models, each with its id."""
        ...

    def outputs(self, run: RunRow) -> dict[str, int]:
        """Give the logged models that a run brought forth, and at which step."""
        ...

    def model_inputs(self, run: RunRow) -> dict[str, int]:
        """Give the logged models that a run used, and 0."""
        ...

    def metrics(self, run: RunRow) -> list[Source]: ...

    def models(self) -> Iterator[ModelRow]: ...


def to_ns(ms: int, default_ns: int) -> int:
    """Give ms since 1970 as ns; the default for what is no time."""
    return ms * 1_000_000 if 0 <= ms < LAST_NS // 1_000_000 else default_ns
