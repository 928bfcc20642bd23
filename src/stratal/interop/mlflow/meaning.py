"""What a run of MLflow means here: its statements, in the words of the frame."""

import ast
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec

from stratal.core.errors import Misuse
from stratal.interop.bounds import artifact_path, is_storable
from stratal.interop.foreign import Began, Deleted, Ended, ForeignId, Linked, Params, Remark, Remarked, Saved, Statement, Tags
from stratal.interop.mlflow.places import Places, files_of, state_of
from stratal.interop.mlflow.records import DatasetRow, LoggedModel, MlflowStore, RunRow, to_ns
from stratal.interop.port import OnceSource, StateSource
from stratal.tracking.facts import KINDS, check_artifact_path

NOTE = "mlflow.note.content"
STATUS = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "stopped"}
# Tags that say what has a place of its own here.
MAPPED = {
    NOTE, "mlflow.runName", "mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit",
    "mlflow.source.git.branch", "mlflow.source.git.repoURL", "stratal.kind", "stratal.group", "stratal.job_type",
    "stratal.error", "stratal.status",
}  # fmt: skip


class RunState(StateSource):
    """All of a run but its metrics and notes: how it began and ended, params, tags, datasets, models, files."""

    part = "state"

    def __init__(
        self, store: MlflowStore, row: RunRow, places: Places, *, parent: ForeignId | None, experiment: str, goes_with_experiment: bool
    ) -> None:
        """goes_with_experiment: if the run is deleted, its experiment is, too."""
        self.run, self.name = row.foreign(store.kind), f"{row.name or row.id} ({row.id})"
        self._store, self._row, self._places, self._parent = store, row, places, parent
        self._experiment = experiment or row.experiment or "Default"
        self._goes_with_experiment = goes_with_experiment

    def state(self) -> str:
        """Give the digest of all that is said."""
        store, row = self._store, self._row
        models = store.logged_models(row)
        said = repr((row, store.params(row), store.tags(row), store.datasets(row), models))
        files = state_of(_own_files(row, self._places, []))
        files += "".join(state_of(files_of_model(model, self._places, [])) for model in models)
        # With the word, a run of the bin that an earlier version of ours imported as any other is said again.
        files += f"deleted {self._goes_with_experiment}" if row.is_deleted else ""
        return blake2b((said + files).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    def say(self) -> Iterator[Statement | Remark]:
        """Say how the run is now."""
        store, row, at_ns = self._store, self._row, self.run.started_ns
        tags, models = store.tags(row), store.logged_models(row)
        yield self._began(tags)
        yield Params(values={name: value_of(text) for name, text in store.params(row).items()}, at_ns=at_ns)
        own = {name: text for name, text in tags.items() if name not in MAPPED}
        yield Tags(values=own | {"imported.from": "mlflow", "imported.run": row.id}, at_ns=at_ns)
        for dataset in store.datasets(row):
            yield from _dataset(dataset, at_ns)
        remarks: list[Remark] = []
        for path, file in _own_files(row, self._places, remarks):
            yield Saved(path=path, data=file, at_ns=at_ns)
        for model in models:
            yield from record_of_model(model, self._places, remarks, at_ns)
        yield from remarks
        if row.status in STATUS:
            ended_ns = at_ns if row.end_ms is None else to_ns(row.end_ms, at_ns)
            yield Ended(status=STATUS[row.status], error=tags.get("stratal.error", ""), at_ns=ended_ns)
        if row.is_deleted:
            yield Deleted(with_experiment=self._goes_with_experiment)

    def _began(self, tags: Mapping[str, str]) -> Began:
        kind = tags.get("stratal.kind", "")
        return Began(
            experiment=self._experiment,
            name=self._row.name or tags.get("mlflow.runName", ""),
            kind=kind if kind in KINDS else "train",
            group=tags.get("stratal.group", ""),
            job_type=tags.get("stratal.job_type", ""),
            parent=self._parent,
            user=tags.get("mlflow.user", "") or self._row.user,
            capture=captured_of(tags),
            at_ns=self.run.started_ns,
        )


def note_of(run: ForeignId, text: str) -> OnceSource:
    """Give the source of a run's description: each text that it ever had becomes one note."""
    said: list[Statement] = [Remarked(text=text, author="mlflow", at_ns=run.started_ns)]
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return OnceSource(said, run=run, part=f"note/{digest}", name=f"description of {run.run}")


def value_of(text: str) -> object:
    """Give what a param was: MLflow keeps str(value), so a text that is exactly what Python writes for a value is that value.

    Numbers, True, False and None only; NaN and infinities stay texts."""
    if len(text) > 40 or text in ("nan", "inf", "-inf"):
        return text
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    is_plain = value is None or isinstance(value, bool | int | float)
    return value if is_plain and str(value) == text else text


def record_of(path: str, record: Mapping[str, object], at_ns: int) -> Saved:
    """Give a record as a JSON file of the run."""
    text = msgspec.json.format(msgspec.json.encode(storable(record)), indent=2)
    return Saved(path=path, data=text + b"\n", at_ns=at_ns)


def model_folder(model: LoggedModel) -> str:
    """Give the folder of a logged model among its run's artifacts; one name may be logged often."""
    return artifact_path("models", f"{model.name or 'model'}-{model.id}")


def record_of_model(model: LoggedModel, places: Places, remarks: list[Remark], at_ns: int) -> Iterator[Saved]:
    """Give a logged model's record and files."""
    yield record_of(f"{model_folder(model)}/logged_model.json", model._asdict(), at_ns)
    for path, file in files_of_model(model, places, remarks):
        yield Saved(path=path, data=file, at_ns=at_ns)


def files_of_model(model: LoggedModel, places: Places, remarks: list[Remark]) -> list[tuple[str, Path]]:
    """List the files of a logged model, as artifacts of the run that keeps it."""
    folder = places.find(model.place, model.id)
    return [] if folder is None else [(artifact_path(model_folder(model), name), file) for name, file in files_of(folder, remarks)]


def _own_files(row: RunRow, places: Places, remarks: list[Remark]) -> list[tuple[str, Path]]:
    folder = places.find(row.artifact_uri, row.id)
    return [] if folder is None else [(_path(name), file) for name, file in files_of(folder, remarks)]


def _path(name: str) -> str:
    try:
        return check_artifact_path(name)
    except Misuse:
        return artifact_path("renamed", name)


def _dataset(dataset: DatasetRow, at_ns: int) -> Iterator[Statement]:
    context = dataset.tags.get("mlflow.data.context", "")
    yield Linked(verb="used", target=f"mlflow-dataset:{dataset.name}@{dataset.digest}", role=context or "data", at_ns=at_ns)
    yield record_of(artifact_path("datasets", f"{dataset.name}-{dataset.digest}", ".json"), dataset._asdict(), at_ns)


def storable(value: object) -> object:
    """Give what JSON can hold: bytes that are no UTF-8 become question marks."""
    if isinstance(value, str):
        return value if is_storable(value) else value.encode("utf-8", "replace").decode().replace("\0", "?")
    if isinstance(value, Mapping):
        return {str(storable(name)): storable(item) for name, item in value.items()}
    return value


def captured_of(tags: Mapping[str, str]) -> dict[str, object]:
    """Give what tags say of the code and its entry, as a capture holds it."""
    captured: dict[str, object] = {}
    if script := tags.get("mlflow.source.name"):
        captured["entry"] = {"kind": tags.get("mlflow.source.type", "").lower() or "script", "target": script}
    git = {
        "commit": tags.get("mlflow.source.git.commit"),
        "branch": tags.get("mlflow.source.git.branch"),
        "remote": tags.get("mlflow.source.git.repoURL"),
    }
    if any(git.values()):
        captured["git"] = {name: value for name, value in git.items() if value}
    return captured
