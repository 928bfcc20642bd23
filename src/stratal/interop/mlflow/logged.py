"""Logged models and inputs of MLflow's runs, stated as its clients' calls would have been: so that they find them again.

Each kind of them is a source, known by what it says: what has changed there since an import is stated once more, and of statements
about one thing the last one counts.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import blake2b

from stratal.core.records import number_to_json
from stratal.interop.foreign import Began, Ended, ForeignId, Linked, Remark, Said, Stated, Statement
from stratal.interop.mlflow.meaning import files_of_model, record_of_model, storable
from stratal.interop.mlflow.places import Places, state_of
from stratal.interop.mlflow.records import DatasetRow, LoggedModel, MlflowStore, RunRow, to_ns
from stratal.interop.mlflow.service.inputs import CONTEXT
from stratal.interop.mlflow.service.logged.records import FAILED, PENDING, READY
from stratal.interop.mlflow.service.store.logged import MODEL
from stratal.interop.mlflow.service.store.runs import DATASET, MODEL_INPUT, MODEL_METRICS, MODEL_OUTPUT
from stratal.interop.port import Source, StateSource

_STATUS = {"1": PENDING, "2": READY, "3": FAILED}


def sources_of(store: MlflowStore, row: RunRow) -> list[Source]:
    """Give what a run logged, measured, used and brought forth."""
    found: list[Source] = []
    for what, say in (("logged models", _models), ("metrics of logged models", _points), ("links", _links), ("datasets", _datasets)):
        source = Stating(partial(say, store, row), run=row.foreign(store.kind), what=what)
        if source.size:
            found.append(source)
    return found


class Stating(Source):
    """Statements that are read twice, to be known and to be said, for together they may be large. Places are their numbers."""

    def __init__(self, say: Callable[[], Iterator[Statement]], *, run: ForeignId, what: str) -> None:
        hashing, self.size = blake2b(digest_size=8), 0
        for said in say():
            hashing.update(repr(said).encode("utf-8", "surrogateescape"))
            self.size += 1
        self.run, self.part, self.name = run, f"{what}/{hashing.hexdigest()}", f"{what} of {run.run}"
        self._say = say

    def read(self, after: int) -> Iterator[Said | Remark]:
        """Say them."""
        for place, said in enumerate(self._say(), 1):
            if place > after:
                yield Said(place, [said])

    def digest(self, _place: int) -> str:
        """Give nothing: the part says it all."""
        return ""


def _models(store: MlflowStore, row: RunRow) -> Iterator[Statement]:
    return (_model(model, _born_ns(row)) for model in store.logged_models(row))


def _points(store: MlflowStore, row: RunRow) -> Iterator[Statement]:
    for id, points in store.points_of_models(row):
        said = [[each.key, number_to_json(each.value), each.ms, each.step, each.dataset, each.digest] for each in points]
        yield Stated(kind=MODEL_METRICS, subject=id, body={"points": said}, at_ns=_born_ns(row))


def _links(store: MlflowStore, row: RunRow) -> Iterator[Statement]:
    at_ns = _born_ns(row)
    for kind, verb, links in ((MODEL_OUTPUT, "produced", store.outputs(row)), (MODEL_INPUT, "used", store.model_inputs(row))):
        for id, step in links.items():
            yield Stated(kind=kind, subject=id, body={"step": step}, at_ns=at_ns)
            yield Linked(verb=verb, target=f"mlflow-model:{id}", role="model", at_ns=at_ns)


def _datasets(store: MlflowStore, row: RunRow) -> Iterator[Statement]:
    return (_dataset(each, _born_ns(row)) for each in store.datasets(row))


def _born_ns(row: RunRow) -> int:
    return to_ns(row.start_ms, 0)


class ModelHome(StateSource):
    """A logged model that no run logged: a run of its own keeps its files."""

    part = "logged model"

    def __init__(self, store: MlflowStore, model: LoggedModel, places: Places, experiment: str) -> None:
        started_ns = to_ns(model.created_ms, 0)
        self.run = ForeignId(tool="mlflow", store=f"{store.kind} logged models", run=model.id, started_ns=started_ns)
        self.name = f"logged model {model.name} ({model.id})"
        self._model, self._places, self._experiment = model, places, experiment or model.experiment or "Default"

    def state(self) -> str:
        """Give the digest of all that is said."""
        files = state_of(files_of_model(self._model, self._places, []))
        return blake2b((repr(self._model) + files).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    def say(self) -> Iterator[Statement | Remark]:
        """Say how it is now."""
        model, at_ns = self._model, self.run.started_ns
        yield Began(experiment=self._experiment, name=model.name, kind="job", job_type="logged model", user=_user(model), at_ns=at_ns)
        remarks: list[Remark] = []
        yield from record_of_model(model, self._places, remarks, at_ns)
        yield from remarks
        yield _model(model, at_ns)
        yield Ended(status="finished", at_ns=at_ns)


def _model(model: LoggedModel, at_ns: int) -> Stated:
    body: dict[str, object] = {
        "name": model.name, "model_type": model.model_type, "source_run": model.run, "status": _STATUS.get(model.status, READY),
        "params": model.params, "tags": model.tags, "is_deleted": model.is_deleted,
    }  # fmt: skip
    return Stated(kind=MODEL, subject=model.id, body=_storable(body), author=_user(model), at_ns=to_ns(model.created_ms, at_ns))


def _user(model: LoggedModel) -> str:
    return model.tags.get("mlflow.user", "")


def _dataset(dataset: DatasetRow, at_ns: int) -> Stated:
    body: dict[str, object] = {name: value for name, value in dataset._asdict().items() if value and name != "tags"}
    body |= {"tags": dataset.tags, "context": dataset.tags.get(CONTEXT, "")}
    return Stated(kind=DATASET, subject=f"{dataset.name}@{dataset.digest}", body=_storable(body), at_ns=at_ns)


def _storable(body: Mapping[str, object]) -> dict[str, object]:
    return {name: storable(value) for name, value in body.items()}
