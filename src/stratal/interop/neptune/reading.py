"""One part of a Neptune run as a source: its place is the number of rows that were said."""

from collections.abc import Iterator
from pathlib import Path

from stratal.interop.bounds import artifact_path, safe_file, walk
from stratal.interop.counted import counted
from stratal.interop.foreign import (
    Began,
    Ended,
    ForeignId,
    Held,
    Logged,
    Params,
    Remark,
    Remarked,
    Said,
    Saved,
    Shown,
    Skipped,
    Stated,
    Statement,
    Tags,
)
from stratal.interop.neptune.parts import Attributes, count_rows, digest_of, read_rows, value_of, whole_step
from stratal.interop.port import Source
from stratal.tracking.media.values import json as show_json
from stratal.tracking.media.values import text as show_text

# What of the system's attributes has a place of its own, or none; the others become tags.
_PLACED = frozenset(
    f"sys/{name}"
    for name in ("name", "id", "custom_run_id", "description", "owner", "creation_time", "tags", "group_tags", "failed", "state")
)
_PERSONAL = frozenset(("sys/hostname", "sys/executor", "sys/workspace_user"))
_SERIES = {"string_series": "texts", "histogram_series": "histograms"}
_FILES = frozenset(("file", "file_series", "file_set", "artifact"))


class NeptunePart(Source):
    """A part. is_last: it says how the run ended."""

    def __init__(self, path: Path, number: int, run: ForeignId, known: Attributes, began: Began, *, files: Path, is_last: bool) -> None:
        self.path, self.number, self.run, self.known, self.began = path, number, run, known, began
        self.files, self.is_last = files, is_last
        self.part, self.name = f"part {number}", str(path)
        self.size = count_rows(path)
        self._digest = ""

    def digest(self, place: int) -> str:
        """Give the digest of the whole part: it is renamed into its place when it is complete."""
        self._digest = self._digest or digest_of(self.path)
        return self._digest

    def read(self, after: int) -> Iterator[Said | Remark]:
        """Say each row; before the first one of a run what is known of it as a whole."""
        reader, place = _Reader(self), 0
        for place, row in enumerate(read_rows(self.path), 1):  # where it ends is asked for below
            said = reader.row(row)
            yield Said(place, [*self._first(), *said] if place == 1 else said)
        if place and self.is_last:
            yield Said(place, self._end())
        yield from reader.remarks

    def _first(self) -> list[Statement]:
        if self.number:
            return []
        at_ns, system = self.began.at_ns, self.known.system
        labels = [label for name in ("sys/tags", "sys/group_tags") for label in _listed(system.get(name))]
        others = {f"neptune.{name[4:]}": str(value) for name, value in system.items() if _is_tag(name, value)}
        tags: dict[str, str | None] = {**dict.fromkeys(labels, "true"), **others}
        said: list[Statement] = [
            self.began,
            Tags(values={**tags, "imported.from": "neptune", "imported.run": self.known.run}, at_ns=at_ns),
        ]
        if (words := system.get("sys/description")) and isinstance(words, str):
            said.append(Remarked(text=words, author=self.began.user or "neptune", at_ns=at_ns))
        for name, decimals in self.known.decimals.items():
            body: dict[str, object] = {"decimals": decimals, "meaning": f"a step of {10**decimals} here is a step of 1 there"}
            said.append(Stated(kind="step_scale", subject=series_name(name), body=body, at_ns=at_ns))
        return said

    def _end(self) -> list[Statement]:
        system = self.known.system
        if str(system.get("sys/state", "")).lower() in ("active", "running"):
            return []
        status = "failed" if system.get("sys/failed") is True else "finished"
        return [Ended(status=status, at_ns=max(self.known.last_ns, self.began.at_ns))]


class _Reader:
    """Turns the rows of a part into statements."""

    def __init__(self, part: NeptunePart) -> None:
        self._part = part
        self.remarks: list[Remark] = []
        if part.number == 0:
            self.remarks += [
                Remark(f"{part.known.run}: the steps of {name} are fractional, and stored as multiples of {10**-decimals:g}")
                for name, decimals in part.known.decimals.items()
            ]

    def row(self, row: dict[str, object]) -> list[Statement]:
        """Give what a row says."""
        name, kind, stamp = row["attribute_path"], row["attribute_type"], row["timestamp"]
        if not isinstance(name, str) or not isinstance(kind, str):
            return [Skipped(what="rows", reason="without a name or a type", by_rule=False)]
        at_ns = stamp if isinstance(stamp, int) and stamp >= 0 else self._part.began.at_ns
        if row["too_long"]:
            return [Skipped(what=_SERIES.get(kind, "params"), reason="a text of more than a MiB", by_rule=False)]
        if kind in _FILES:
            return self._files(name, kind, row, at_ns)
        if kind.endswith("_series"):
            return self._series(name, kind, row, at_ns)
        if name.startswith("sys/"):
            is_personal = name in _PERSONAL
            return [Skipped(what="system", reason="says where a person works", by_rule=True)] if is_personal else [Held(what="system")]
        value = value_of(row)
        if kind not in ("int", "float", "bool", "string", "datetime", "string_set"):
            return [Skipped(what="attributes", reason=f"of the type {kind:.40}", by_rule=False)]
        return [Params(values={name: value}, at_ns=self._part.began.at_ns)]

    def _series(self, name: str, kind: str, row: dict[str, object], at_ns: int) -> list[Statement]:
        step = self._step(row)
        if kind == "float_series":
            value = row["float_value"]
            if not isinstance(value, float):
                return [Skipped(what="points", reason="null", by_rule=True)]
            return [Logged(metrics={series_name(name): value}, step=step, at_ns=at_ns)]
        if kind not in _SERIES:
            return [Skipped(what="attributes", reason=f"of the type {kind:.40}", by_rule=False)]
        value = row["string_value"] if kind == "string_series" else row["histogram_value"]
        if value is None:
            return [Skipped(what=_SERIES[kind], reason="null", by_rule=True)]
        shown = show_text(value) if isinstance(value, str) else _histogram(value)
        whole = Shown(name=series_name(name), value=show_json(value), step=step, at_ns=at_ns)
        return [Shown(name=series_name(name), value=shown, step=step, at_ns=at_ns, otherwise=[whole])]

    def _step(self, row: dict[str, object]) -> int | None:
        digits, decimals = row["step"], self._part.known.decimals.get(str(row["attribute_path"]), 0)
        return whole_step(digits, decimals) if isinstance(digits, int) else None

    def _files(self, name: str, kind: str, row: dict[str, object], at_ns: int) -> list[Statement]:
        value = row["file_value"]
        path = value.get("path") if isinstance(value, dict) else None
        if not isinstance(path, str) or not path:
            return [Skipped(what="artifacts", reason=f"a {kind} without a file: its download failed", by_rule=False)]
        root = self._part.files
        if (file := safe_file(root, path)) is not None:
            plain = Saved(path=self._here(path), data=file, at_ns=at_ns)
            if kind == "file_series":
                return [Shown(name=series_name(name), value=file, step=self._step(row), at_ns=at_ns, otherwise=[plain])]
            return [plain]
        if kind == "file_set" and _is_folder_inside(root, path):
            folder = [(at / each) for at, names in walk(root / path, self.remarks) for each in names]
            return [Saved(path=self._here(each.relative_to(root).as_posix()), data=each, at_ns=at_ns) for each in folder]
        return [Skipped(what="artifacts", reason="the file is not in the folder of files, or is a link", by_rule=False)]

    def _here(self, path: str) -> str:
        """Give the path in the run: without the run's own folder in front."""
        return artifact_path("files", path.removeprefix(f"{self._part.known.run}/").removeprefix("files/"))


def series_name(name: str) -> str:
    """Give the name of a series: what Neptune measured of the machine stands with system metrics."""
    return f"system/{name.removeprefix('monitoring/')}" if name.startswith("monitoring/") else name


def _is_tag(name: str, value: object) -> bool:
    return name not in _PLACED and name not in _PERSONAL and value is not None and not isinstance(value, list)


def _listed(value: object) -> list[str]:
    return [label for label in value if isinstance(label, str)] if isinstance(value, list) else []


def _is_folder_inside(root: Path, path: str) -> bool:
    """Tell whether a path names a folder inside of root, and no link on the way to it."""
    at = root
    for part in Path(path).parts:
        at /= part
        if part == ".." or at.is_symlink():
            return False
    return not Path(path).is_absolute() and at.is_dir()


def _histogram(value: object) -> object:
    """Give counts between edges; what else Neptune calls a histogram stays the document that it is."""
    is_counted = isinstance(value, dict) and value.get("type") != "DENSITY"
    made = counted(value.get("values"), value.get("edges")) if isinstance(value, dict) and is_counted else None
    return show_json(value) if made is None else made
