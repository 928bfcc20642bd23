"""Registered models of MLflow: which files a version has, where it stands, and the run that keeps what is known of it."""

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path

from stratal.core.errors import Damaged, NotFound
from stratal.core.ids import RunId
from stratal.core.records import from_json
from stratal.interop.bounds import artifact_path
from stratal.interop.foreign import Began, Ended, ForeignId, Remark, Skipped, Statement, Tags
from stratal.interop.mlflow.meaning import record_of
from stratal.interop.mlflow.operations import Texts, describe
from stratal.interop.mlflow.places import Places, files_of, state_of
from stratal.interop.mlflow.records import MlflowStore, ModelRow, RunRow, VersionRow, to_ns
from stratal.interop.mlflow.service.store.logged import JOB_OF_MODELS
from stratal.interop.port import ForeignModel, ForeignVersion, StateSource
from stratal.store.store import Store
from stratal.tracking.reading import get_run

FLAVOR = "mlflow"
_STAGES = {"Staging": "Staging", "Production": "Production", "Archived": "Archived"}  # None, and since MLflow 3 nothing: Development
_DELETED = "Deleted_Internal"
_PROMPT = "mlflow.prompt.is_prompt"
RECORD, _VERSION = "model.json", "versions/{}.json"  # of a model and its versions, among the files of its run
_LOGGED_MODEL = re.compile(r"m-[0-9a-f]{32}")


class ModelState(StateSource):
    """What is known of a registered model and its versions, as the files of a run of its own."""

    part = "registered model"

    def __init__(self, kind: str, row: ModelRow, versions: list[ForeignVersion], left_out: list[Skipped], experiment: str) -> None:
        started_ns = to_ns(row.created_ms, 0)
        # Names of models are no ids: two stores may have one of the same name, but hardly born in the same millisecond.
        self.run = ForeignId(tool="mlflow", store=f"{kind} models {row.created_ms}", run=row.name, started_ns=started_ns)
        self.name = f"registered model {row.name}"
        self._row, self._versions, self._left_out = row, versions, left_out
        self._experiment = experiment or "registered models"

    def state(self) -> str:
        """Give the digest of all that is known, and of the versions' files."""
        files = "".join(state_of(version.files) for version in self._versions)
        # With the first word, what an earlier version of ours imported is told again: it did not tell who made versions, and when.
        return blake2b(("stated " + repr(self._row) + files).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    def say(self) -> Iterator[Statement | Remark]:
        """Say what is known."""
        row, at_ns = self._row, self.run.started_ns
        yield Began(experiment=self._experiment, name=row.name, kind="job", job_type=JOB_OF_MODELS, at_ns=at_ns)
        yield Tags(values={**row.tags, "imported.from": "mlflow", "imported.model": row.name}, at_ns=at_ns)
        about = {"name": row.name, "description": row.description, "tags": row.tags, "aliases": row.aliases}
        yield record_of(RECORD, about, at_ns)
        for version in row.versions:
            yield record_of(_VERSION.format(version.number), version._asdict(), at_ns)
        yield from self._left_out
        yield Ended(status="finished", at_ns=at_ns)


class _Record(Texts, frozen=True, kw_only=True):
    """Of the record of a model, or of a version, what is read again."""

    aliases: dict[str, int] = {}


def _records_said(store: Store, run: RunId, paths: Collection[str]) -> dict[str, _Record]:
    """Give records by their paths, of a run that an import left; but for those that were deleted here, or written over."""
    found = {}
    with contextlib.suppress(NotFound):
        left = get_run(run, store=store)
        for path in {artifact.path for artifact in left.artifacts}.intersection(paths):
            with contextlib.suppress(NotFound, Damaged):
                found[path] = from_json(left.read_artifact(path), _Record)
    return found


def aliases_said(store: Store, run: RunId) -> dict[str, int]:
    """Give the aliases that a model's record names, in a run that an import left."""
    said = _records_said(store, run, [RECORD]).get(RECORD)
    return said.aliases if said else {}


def describe_model(store: Store, name: str, numbers: Mapping[int, int], home: RunId | None, row: ModelRow) -> list[str]:
    """Tell what is said of a model and its versions, beside what the import said that left `home`; give what stays as it is here."""
    paths = {RECORD: 0} | {_VERSION.format(number): number for number in numbers}
    before = {} if home is None else _records_said(store, home, paths)
    return describe(store, name, numbers, row, {paths[path]: said for path, said in before.items()})


def find_models(store: MlflowStore, rows: Mapping[str, RunRow], places: Places, experiment: str) -> list[ForeignModel]:
    """Give the registered models. Prompts, which MLflow keeps among them, are left out."""
    found, prompts = [], 0
    for row in store.models():
        if row.tags.get(_PROMPT, "").lower() == "true":
            prompts += 1
            continue
        left_out: list[Skipped] = []
        versions = []
        for version in row.versions:
            if version.stage == _DELETED:
                left_out.append(Skipped(what="model versions", reason="deleted there", by_rule=True))
            else:
                versions.append(_version(store, row, version, rows, places))
        home = ModelState(store.kind, row, versions, left_out, experiment)
        last = max((version.number for version in row.versions), default=0)
        found.append(
            ForeignModel(row.name, FLAVOR, versions, row.aliases, home, left_out, last, partial(describe_model, row=row), aliases_said)
        )
    if prompts:
        store.remarks.append(Remark(f"{prompts} prompts were left out: they have no place here"))
    return found


def _version(store: MlflowStore, model: ModelRow, row: VersionRow, rows: Mapping[str, RunRow], places: Places) -> ForeignVersion:
    place = _place(row, rows)
    marker = next((part for part in reversed(place.split("/")) if part in rows or _LOGGED_MODEL.fullmatch(part)), "")
    folder = places.find(place, marker)
    run = rows.get(row.run) or rows.get(marker)
    return ForeignVersion(
        number=row.number,
        run=run.foreign(store.kind) if run else None,
        path=_path_in_run(place, marker, row),
        files=[(artifact_path("files", name).removeprefix("files/"), file) for name, file in _files(folder, store.remarks)],
        identity={"mlflow model version": f"{model.name}/{row.number}", "mlflow time of birth": str(row.created_ms)},
        stage=_STAGES.get(row.stage, "Development"),
    )


def _files(folder: Path | None, remarks: list[Remark]) -> list[tuple[str, Path]]:
    return [] if folder is None else files_of(folder, remarks)


def _place(row: VersionRow, rows: Mapping[str, RunRow]) -> str:
    """Give where the files were; `runs:/ID/PATH` is below that run's artifacts."""
    place = row.place or row.source
    if not place.startswith("runs:/"):
        return place
    id, _, rest = place.removeprefix("runs:/").strip("/").partition("/")
    return f"{rows[id].artifact_uri}/{rest}" if id in rows else place


def _path_in_run(place: str, marker: str, row: VersionRow) -> str:
    if marker.startswith("m-"):
        return f"models/{marker}"
    _, _, path = place.partition(f"{marker}/artifacts/")
    return path if marker and path else f"versions/{row.number}"
