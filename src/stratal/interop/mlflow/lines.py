"""Metric files of a folder store: a line per point, `ms value step`, `ms value step dataset digest`, or `ms value` in old ones."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stratal.interop.foreign import ForeignId, Logged, Remark, Said, Skipped, Statement
from stratal.interop.mlflow.records import to_ns
from stratal.interop.port import FileSource

MOST_LINE = 10_000
_LINE = re.compile(rb"(-?\d{1,19}) (\S{1,40})(?: (-?\d{1,19})(?: .+ \S+)?)?\n")


class Point(NamedTuple):
    """A point of a metric."""

    ms: int
    value: float
    step: int


class MetricFile(FileSource):
    """One metric of one run. Places are ends of lines; a line that has no end yet is no line.

    Memory: 60 bytes per line, to know a line that stands twice: `log_model` of MLflow 3 writes the last ones once more.
    """

    def __init__(self, path: Path, key: str, run: ForeignId) -> None:
        super().__init__(path, run=run, part=f"metrics/{key}", name=str(path))
        self._key = key

    def read(self, after: int) -> Iterator[Said | Remark]:
        """Say each line; one that is no point counts as lost."""
        seen: set[int] = set()
        place = 0
        with self.path.open("rb") as file:
            while place < self.size and (line := file.readline(MOST_LINE)):
                if not line.endswith(b"\n") and len(line) < MOST_LINE:
                    yield Remark(f"{self.path}: the last {len(line)} bytes are no whole line (yet)")
                    return
                place += len(line)
                yield Said(place, [self._statement(line, seen)])

    def _statement(self, line: bytes, seen: set[int]) -> Statement:
        point = read_line(line)
        if point is None:
            return Skipped(what="points", reason="the line is no point", by_rule=False)
        mark = hash(point if point.value == point.value else (point.ms, "nan", point.step))
        if mark in seen:
            return Skipped(what="points", reason="stood there twice, as MLflow writes it", by_rule=True)
        seen.add(mark)
        return Logged(metrics={self._key: point.value}, step=point.step, at_ns=to_ns(point.ms, self.run.started_ns))


def read_line(line: bytes) -> Point | None:
    """Give the point of a line, None if it is none."""
    found = _LINE.fullmatch(line)
    if found is None or b"_" in found[2]:
        return None
    try:
        return Point(int(found[1]), float(found[2]), int(found[3] or 0))
    except ValueError:
        return None
