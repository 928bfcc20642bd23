"""A folder store: `<experiment>/meta.yaml`, `<experiment>/<run>/{meta.yaml,metrics/,params/,tags/,inputs/,artifacts/}`, and `models/`.

Names with '/' are sub-folders. A deleted run stays in place, a deleted experiment moves to `.trash/`. No link is followed.
"""

import re
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

from stratal.core.errors import Damaged
from stratal.interop.bounds import safe_file, walk
from stratal.interop.foreign import Remark
from stratal.interop.mlflow.lines import MetricFile
from stratal.interop.mlflow.meta import Meta, number_of, read_meta, text_of, texts_of
from stratal.interop.mlflow.records import DatasetRow, ExperimentRow, LoggedModel, ModelPoint, ModelRow, RunRow, VersionRow
from stratal.interop.port import Source

_STATUS = ("", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
_DATASET = ("name", "digest", "source_type", "source", "schema", "profile")
# ms, value, step and run of a point of a logged model, then a dataset's name and digest
_OF_MODEL = re.compile(
    r"(\d{1,18}) ([-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|inf)) (-?\d{1,18}) (\S+)(?: (\S+) (\S+))?", re.ASCII | re.IGNORECASE
)
MOST_TEXT_BYTES = 16 << 20  # of one param or tag; MLflow writes 8,000 characters at most


class FolderStore:
    """Reads a folder store."""

    kind = "files"

    def __init__(self, top: Path) -> None:
        self.top = top
        self.remarks: list[Remark] = []
        self._folders: dict[str, Path] = {}  # of runs
        self._logged: dict[str, list[LoggedModel]] = {}  # by run
        self._measured: dict[str, dict[str, list[ModelPoint]]] = {}  # by run and logged model

    def experiments(self) -> Iterator[ExperimentRow]:
        """Give all experiments."""
        for folder, about in self._experiments:
            yield ExperimentRow(
                id=text_of(about, "experiment_id") or folder.name,
                name=text_of(about, "name"),
                tags=self._texts(folder / "tags"),
                created_ms=number_of(about, "creation_time") or 0,
                changed_ms=number_of(about, "last_update_time") or 0,
                is_deleted=text_of(about, "lifecycle_stage") == "deleted" or folder.parent.name == ".trash",
            )

    def runs(self) -> Iterator[RunRow]:
        """Give all runs, experiment by experiment."""
        for experiment, about in self._experiments:
            self._read_logged_models(experiment, text_of(about, "name"))
            self._remark_no_place(experiment)
            for folder in _folders(experiment):
                if len(folder.name) == 32 and (folder / "meta.yaml").exists() and (run := self._run(folder, text_of(about, "name"))):
                    self._folders[run.id] = folder
                    yield run

    def params(self, run: RunRow) -> dict[str, str]:
        """Give a run's params."""
        return self._texts(self._folders[run.id] / "params")

    def tags(self, run: RunRow) -> dict[str, str]:
        """Give a run's tags."""
        return self._texts(self._folders[run.id] / "tags")

    def datasets(self, run: RunRow) -> list[DatasetRow]:
        """Give the datasets that a run used."""
        found = []
        folder = self._folders[run.id]
        for link_folder in _folders(folder / "inputs"):
            link = self._meta(link_folder, "meta.yaml") or {}
            about = self._meta(folder.parent, f"datasets/{text_of(link, 'source_id')}/meta.yaml")
            if text_of(link, "source_type") == "DATASET" and about is not None:
                name, digest, kind, source, schema, profile = (text_of(about, field) for field in _DATASET)
                found.append(DatasetRow(name, digest, kind, source, schema, profile, tags=texts_of(link, "tags")))
        return found

    def logged_models(self, run: RunRow) -> list[LoggedModel]:
        """Give the models that a run logged."""
        return self._logged.get(run.id, [])

    def loose_models(self, runs: Collection[str]) -> list[LoggedModel]:
        """Give the models that none of these runs logged."""
        return [model for run, models in self._logged.items() if run not in runs for model in models]

    def points_of_models(self, run: RunRow) -> Iterator[tuple[str, list[ModelPoint]]]:
        """Give what a run measured of logged models."""
        yield from self._measured.get(run.id, {}).items()

    def outputs(self, run: RunRow) -> dict[str, int]:
        """Give the logged models that a run brought forth."""
        return self._linked(run, "outputs", "MODEL_OUTPUT")

    def model_inputs(self, run: RunRow) -> dict[str, int]:
        """Give the logged models that a run used."""
        return self._linked(run, "inputs", "MODEL_INPUT")

    def metrics(self, run: RunRow) -> list[Source]:
        """Give a source per metric."""
        return [MetricFile(path, key, run.foreign(self.kind)) for key, path in _files(self._folders[run.id] / "metrics", self.remarks)]

    def models(self) -> Iterator[ModelRow]:
        """Give the registered models."""
        for folder in _folders(self.top / "models"):
            about = self._meta(folder, "meta.yaml")
            if about is None:
                continue
            versions = [self._version(each) for each in _folders(folder) if each.name.startswith("version-")]
            aliases = {**texts_of(about, "aliases"), **self._texts(folder / "aliases")}
            yield ModelRow(
                name=text_of(about, "name") or folder.name,
                description=text_of(about, "description"),
                created_ms=number_of(about, "creation_timestamp") or 0,
                tags=self._texts(folder / "tags"),
                aliases={word: int(number) for word, number in aliases.items() if number.isdigit()},
                versions=[version for version in versions if version is not None],
            )

    @cached_property
    def _experiments(self) -> list[tuple[Path, Meta]]:
        """Folders of experiments, and what is written of them."""
        folders = [*_folders(self.top), *_folders(self.top / ".trash")]
        found = [each for each in folders if each.name not in ("models", ".trash") and (each / "meta.yaml").exists()]
        read = [(folder, self._meta(folder, "meta.yaml")) for folder in found]
        return [(folder, about) for folder, about in read if about is not None]

    def _run(self, folder: Path, experiment: str) -> RunRow | None:
        about = self._meta(folder, "meta.yaml")
        if about is None:
            return None
        id, start_ms = text_of(about, "run_id") or text_of(about, "run_uuid"), number_of(about, "start_time")
        if id != folder.name or start_ms is None:
            self.remarks.append(Remark(f"{folder / 'meta.yaml'} is not the record of this run", is_loss=True))
            return None
        status = number_of(about, "status")
        return RunRow(
            id=id,
            experiment=experiment,
            name=text_of(about, "run_name") or text_of(about, "name"),
            status=_STATUS[status] if status is not None and 0 < status < len(_STATUS) else text_of(about, "status"),
            start_ms=start_ms,
            end_ms=number_of(about, "end_time"),
            is_deleted=text_of(about, "lifecycle_stage") == "deleted" or folder.parent.parent.name == ".trash",
            artifact_uri=text_of(about, "artifact_uri"),
            user=text_of(about, "user_id"),
        )

    def _version(self, folder: Path) -> VersionRow | None:
        about = self._meta(folder, "meta.yaml")
        number = number_of(about or {}, "version")
        if about is None or number is None:
            return None
        return VersionRow(
            number=number,
            stage=text_of(about, "current_stage"),
            source=text_of(about, "source"),
            place=text_of(about, "storage_location"),
            run=text_of(about, "run_id"),
            description=text_of(about, "description"),
            user=text_of(about, "user_id"),
            status=text_of(about, "status"),
            created_ms=number_of(about, "creation_timestamp") or 0,
            tags=self._texts(folder / "tags"),
        )

    def _linked(self, run: RunRow, folder: str, kind: str) -> dict[str, int]:
        links = [self._meta(each, "meta.yaml") or {} for each in _folders(self._folders[run.id] / folder)]
        links = [link for link in links if text_of(link, "destination_type") == kind]
        return {text_of(link, "destination_id"): number_of(link, "step") or 0 for link in links}

    def _read_logged_models(self, experiment: Path, name: str) -> None:
        for folder in _folders(experiment / "models"):
            about = self._meta(folder, "meta.yaml")
            if about is None:
                continue
            model = LoggedModel(
                id=text_of(about, "model_id") or folder.name,
                name=text_of(about, "name"),
                place=text_of(about, "artifact_location"),
                status=text_of(about, "status"),
                model_type=text_of(about, "model_type"),
                params=self._texts(folder / "params"),
                tags=self._texts(folder / "tags"),
                run=text_of(about, "source_run_id"),
                experiment=name,
                created_ms=number_of(about, "creation_timestamp") or 0,
                is_deleted=text_of(about, "lifecycle_stage") == "deleted",
            )
            self._logged.setdefault(model.run, []).append(model)
            self._read_points(model.id, folder / "metrics")

    def _read_points(self, id: str, folder: Path) -> None:
        """Read what runs measured of a logged model; a line that is no point was none to MLflow."""
        for key, text in self._texts(folder).items():
            for line in dict.fromkeys(text.splitlines()):
                if (found := _OF_MODEL.fullmatch(line)) is not None:
                    point = ModelPoint(key, float(found[2]), int(found[1]), int(found[3]), found[5] or "", found[6] or "")
                    self._measured.setdefault(found[4], {}).setdefault(id, []).append(point)

    def _remark_no_place(self, experiment: Path) -> None:
        if traces := len(_folders(experiment / "traces")):
            self.remarks.append(Remark(f"left out, for they have no place here: {traces} traces of {experiment.name}"))

    def _meta(self, folder: Path, relative: str) -> Meta | None:
        path = safe_file(folder, relative)
        if path is None:
            if (folder / relative).exists() or (folder / relative).is_symlink():
                self.remarks.append(Remark(f"{folder / relative} is a link or no plain file, and was not read", is_loss=True))
            return None
        try:
            return read_meta(path)
        except (Damaged, OSError) as error:
            self.remarks.append(Remark(str(error), is_loss=True))
            return None

    def _texts(self, folder: Path) -> dict[str, str]:
        """Read a file per name; the whole of a file is the value."""
        found = {}
        for name, path in _files(folder, self.remarks):
            if path.stat().st_size > MOST_TEXT_BYTES:
                self.remarks.append(Remark(f"{path} has over {MOST_TEXT_BYTES >> 20} MiB, and was not read", is_loss=True))
                continue
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                found[name] = file.read()
        return found


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir() or folder.is_symlink():
        return []
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.is_symlink())


def _files(folder: Path, remarks: list[Remark]) -> Iterator[tuple[str, Path]]:
    if folder.is_symlink():
        remarks.append(Remark(f"{folder} is a link, and was not followed"))
    elif folder.is_dir():
        for at, names in walk(folder, remarks):
            for name in names:
                yield (at / name).relative_to(folder).as_posix(), at / name
