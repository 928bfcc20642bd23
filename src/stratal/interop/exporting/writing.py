"""Writing runs into tables: Parquet, CSV or JSON lines, a file per table."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from stratal.interop.exporting.choosing import PAGE, Chosen
from stratal.interop.exporting.files import ArtifactFiles
from stratal.interop.exporting.formats import CsvFile, JsonFile, ParquetFile, TableFile
from stratal.interop.exporting.tables import (
    ARTIFACT_COLUMNS,
    POINT_COLUMNS,
    RUN_COLUMNS,
    SMALL_TABLES,
    Schema,
    Values,
    WideRuns,
    nested,
    point_frame,
    small_frame,
    table_schema,
)
from stratal.tracking.store.runs import Artifact

# Cells of the table of runs that are in memory at once: runs with thousands of names go by smaller pages.
_CELLS = 1_000_000

_FILES: dict[str, tuple[str, Callable[[Path, Schema], TableFile]]] = {
    "parquet": (".parquet", ParquetFile),
    "csv": (".csv", CsvFile),
    "json": (".jsonl", JsonFile),
}
TABLE_FORMATS = tuple(_FILES)

# Called as (runs done, runs in all).
Progress = Callable[[int, int], None]


class Written(NamedTuple):
    """What was written. tables: name to rows. artifact_files: None if not asked for. losses: what has no place there, to how many."""

    tables: dict[str, int]
    artifact_files: int | None
    losses: dict[str, int]


class TableWriting:
    """An export into tables, while it is written."""

    def __init__(self, chosen: Chosen, folder: Path, format: str, *, artifacts: bool) -> None:
        self._chosen = chosen
        self._folder = folder
        self._suffix, self._make = _FILES[format]
        self._copies = ArtifactFiles(chosen.store, folder / "artifacts") if artifacts else None
        self._files: dict[str, TableFile] = {}

    def run(self, progress: Progress) -> Written:
        """Write all of it."""
        done = 0
        wide, page = self._columns()
        runs = self._open("runs", wide.schema() if wide else RUN_COLUMNS)
        series = self._open("series", POINT_COLUMNS)
        small = {name: self._open(name, table_schema(table.columns)) for name, table in SMALL_TABLES.items()}
        artifacts = self._open("artifacts", table_schema(ARTIFACT_COLUMNS))
        for found in self._chosen.pages(page):
            if wide is not None:
                runs.write(wide.frame(found))
            elif isinstance(runs, JsonFile):
                runs.write_rows(nested(run) for run in found)
            said = [(run.id, each) for run, each in zip(found, self._chosen.said(found), strict=True)]
            for name, table in SMALL_TABLES.items():
                small[name].write(small_frame(table.columns, [(id, *row) for id, each in said for row in table.rows_of(each)]))
            artifacts.write(small_frame(ARTIFACT_COLUMNS, [row for id, each in said for row in self._artifacts(id, each.artifacts)]))
            for run in found:
                for points in self._chosen.points(run):
                    series.write(point_frame(run.id, points))
                done += 1
                progress(done, self._chosen.count)
        for file in self._files.values():
            file.close()
        tables = {name: file.rows for name, file in self._files.items()}
        return Written(tables, self._copies.count if self._copies else None, {})

    def _columns(self) -> tuple[WideRuns | None, int]:
        """Look at all runs once for the columns of their table; objects of JSON need none."""
        if self._make is JsonFile:
            return None, PAGE
        wide = WideRuns()
        for page in self._chosen.pages():
            for run in page:
                wide.see(run)
        return wide, max(1, min(PAGE, _CELLS // len(wide.schema())))

    def _open(self, name: str, schema: Schema) -> TableFile:
        self._files[name] = self._make(self._folder / f"{name}{self._suffix}", schema)
        return self._files[name]

    def _artifacts(self, run: str, found: list[Artifact]) -> Values:
        files: Mapping[str, str] = self._copies.copy(run, found) if self._copies else {}
        where = {path: f"artifacts/{file}" for path, file in files.items()}
        return [(run, one.path, one.digest, one.size_bytes, one.at_ns, where.get(one.path)) for one in found]
