"""Runs under a folder of neptune-exporter: `<project>-<16 hex>/<run>-<16 hex>_part_<n>.parquet`. Origins of forks come first."""

import re
from datetime import datetime
from pathlib import Path

from stratal.core.clock import to_ns
from stratal.core.errors import Damaged
from stratal.interop.bounds import walk
from stratal.interop.foreign import LAST_NS, Began, ForeignId, Remark
from stratal.interop.importing import Options
from stratal.interop.neptune.parts import Attributes, attributes_of, check_columns
from stratal.interop.neptune.reading import NeptunePart
from stratal.interop.port import Found, Source

_PART = re.compile(r"(?P<run>.+)_part_(?P<number>\d{1,6})\.parquet")


def find(path: Path, options: Options) -> Found:
    """Find the finished runs under a folder, or the one that a part belongs to."""
    remarks: list[Remark] = []
    top = path.parent if path.is_file() else path
    found: dict[Path, dict[int, Path]] = {}
    for at, names in walk(top, remarks):
        for name in names:
            if (part := _PART.fullmatch(name)) is not None:
                found.setdefault(at / part["run"], {})[int(part["number"])] = at / name
    if path.is_file():
        found = {run: parts for run, parts in found.items() if path in parts.values()}
    runs: list[_Run] = []
    for run, parts in found.items():
        if sorted(parts) != list(range(len(parts))):
            missing = "its first part, which the exporter writes last" if 0 not in parts else "parts in the middle"
            remarks.append(Remark(f"{run} is not whole: it lacks {missing}", is_loss=True))
            continue
        ordered = [parts[number] for number in range(len(parts))]
        try:
            for part_path in ordered:
                check_columns(part_path)
            runs.append(_Run(ordered, attributes_of(ordered), options, top))
        except Damaged as error:
            remarks.append(Remark(error.message, is_loss=True))
    sources: list[Source] = [source for run in _origins_first(runs) for source in run.sources(runs)]
    return Found(sources, remarks)


class _Run:
    """A run that was found."""

    def __init__(self, parts: list[Path], known: Attributes, options: Options, top: Path) -> None:
        self.parts, self.known, self.options = parts, known, options
        created = known.system.get("sys/creation_time")
        self.started_ns = _time(created) or known.first_ns
        self.id = ForeignId(tool="neptune", store=known.project, run=known.run, started_ns=self.started_ns)
        self.files = _files_of(parts[0].parent, options.files, top)

    @property
    def origin(self) -> str:
        """The run that this one was forked from, '' for none."""
        return _text(self.known.system.get("sys/forking/parent"))

    def sources(self, runs: "list[_Run]") -> list[Source]:
        """Give the parts as sources."""
        system, project = self.known.system, self.known.project
        custom, name = _text(system.get("sys/custom_run_id")), _text(system.get("sys/name"))
        experiment = f"{project}/{name}" if custom and name else project  # since Neptune 3 the name is the experiment's
        origin = next((run.id for run in runs if run.known.project == project and self.origin in (run.known.run, run.custom)), None)
        began = Began(
            experiment=self.options.experiment or experiment,
            name=custom or name or self.known.run,
            forked_from=origin if self.origin else None,
            user=_text(system.get("sys/owner")),
            at_ns=self.started_ns,
        )
        last = len(self.parts) - 1
        return [
            NeptunePart(path, number, self.id, self.known, began, files=self.files, is_last=number == last)
            for number, path in enumerate(self.parts)
        ]

    @property
    def custom(self) -> str:
        """The id that a user gave the run."""
        return _text(self.known.system.get("sys/custom_run_id"))


def _origins_first(runs: list[_Run]) -> list[_Run]:
    """Order runs so that each comes after the one that it was forked from. A circle, which no service made, stays as it is."""
    by_name = {name: run for run in runs for name in (run.known.run, run.custom) if name}
    ordered: dict[int, _Run] = {}
    for run in runs:
        chain = [run]
        while (origin := by_name.get(chain[-1].origin)) is not None and origin not in chain:
            chain.append(origin)
        for each in reversed(chain):
            ordered.setdefault(id(each), each)
    return list(ordered.values())


def _files_of(project: Path, given: Path | None, top: Path) -> Path:
    """Give the folder of a project's files: under the folder that was named, or beside the data as the exporter writes them."""
    if given is not None:
        return given / project.name if (given / project.name).is_dir() else given
    places = (project.parent.parent / "files" / project.name, top / "files" / project.name, project.parent / "files" / project.name)
    return next((place for place in places if place.is_dir()), places[0])


def _time(value: object) -> int:
    try:
        found = to_ns(datetime.fromisoformat(value.replace("Z", "+00:00"))) if isinstance(value, str) else 0
        return found if 0 <= found <= LAST_NS else 0
    except ValueError:
        return 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
