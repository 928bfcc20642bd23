"""The verb: export runs into a folder of tables."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stratal.core.clock import to_utc
from stratal.core.errors import Misuse, NotFound
from stratal.core.records import Record
from stratal.interop.exporting.choosing import PAGE, Chosen
from stratal.interop.exporting.files import ArtifactFiles
from stratal.interop.exporting.formats import CsvFile, JsonFile, ParquetFile, TableFile
from stratal.interop.exporting.placing import Manifest, check_place, placed, write_manifest
from stratal.interop.exporting.tables import (
    ARTIFACT_COLUMNS,
    POINT_COLUMNS,
    RUN_COLUMNS,
    SMALL_TABLES,
    Schema,
    Values,
    WideRuns,
    names_of_series,
    nested,
    point_frames,
    small_frame,
    table_schema,
)
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.reading import ReadRun
from stratal.tracking.store.runs import artifacts_of
from stratal.version import __version__

# Cells of the table of runs that are in memory at once: runs with thousands of names go by smaller pages.
_CELLS = 1_000_000

_FILES: dict[str, tuple[str, Callable[[Path, Schema], TableFile]]] = {
    "parquet": (".parquet", ParquetFile),
    "csv": (".csv", CsvFile),
    "json": (".jsonl", JsonFile),
}
FORMATS = tuple(_FILES)

# Called as (runs done, runs in all).
Progress = Callable[[int, int], None]


class Export(Record, frozen=True, kw_only=True):
    """What was exported. tables: name to number of rows; artifact_files: None if they were not asked for."""

    path: str
    format: str
    runs: int
    tables: dict[str, int]
    artifact_files: int | None


def export_runs(
    path: str | Path,
    where: str = "",
    *,
    experiment: str | Sequence[str] | None = None,
    format: str = "parquet",
    artifacts: bool = False,
    force: bool = False,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Export:
    """Export runs with all that is known of them into a new folder: tables as Parquet, CSV or JSON lines.

    st.export_runs("out", "metrics.auc > 0.9", experiment="churn", format="csv")

    artifacts: copy the files of artifacts too. force: replace an older export at that place. The folder appears when all of it
    is written. What is exported is one moment of the store; memory does not grow with it.
    Raises Misuse for a filter, format or place that cannot be, NotFound if no run passes the filter."""
    store = store or current_store()
    if format not in _FILES:
        raise Misuse(f"there is no format {format!r}", hint=f"choose one of: {', '.join(FORMATS)}")
    check_place(Path(path).resolve(), force=force)
    experiments = [experiment] if isinstance(experiment, str) else None if experiment is None else list(experiment)
    with store.query() as tx:
        chosen = Chosen(store, tx, where, experiments)
        if not chosen.count:
            raise NotFound("no run passes the filter; nothing was written", hint="see what is there with `stratal runs`")
        with placed(Path(path), force=force) as folder:
            writing = _Writing(chosen, folder, format, artifacts=artifacts)
            writing.run(progress or _quietly)
            counts = {name: file.rows for name, file in writing.files.items()}
            copied = writing.copies.count if writing.copies else None
            write_manifest(
                folder,
                Manifest(
                    format=format, stratal=__version__, made=to_utc(tx.now_ns).isoformat(), where=where, experiments=experiments,
                    runs=counts["runs"], tables=counts, artifact_files=copied,
                ),
            )  # fmt: skip
    return Export(path=str(path), format=format, runs=counts["runs"], tables=counts, artifact_files=copied)


class _Writing:
    """One export while it is written."""

    def __init__(self, chosen: Chosen, folder: Path, format: str, *, artifacts: bool) -> None:
        self._chosen = chosen
        self._folder = folder
        self._suffix, self._make = _FILES[format]
        self.copies = ArtifactFiles(chosen.store, folder / "artifacts") if artifacts else None
        self.files: dict[str, TableFile] = {}

    def run(self, progress: Progress) -> None:
        tx, done = self._chosen.tx, 0
        wide, page = self._columns()
        runs = self._open("runs", wide.schema() if wide else RUN_COLUMNS)
        series = self._open("series", POINT_COLUMNS)
        small = {name: self._open(name, table_schema(table.columns)) for name, table in SMALL_TABLES.items()}
        artifacts = self._open("artifacts", table_schema(ARTIFACT_COLUMNS))
        names = names_of_series(tx)
        for found in self._chosen.pages(page):
            if wide is not None:
                runs.write(wide.frame(found))
            elif isinstance(runs, JsonFile):
                runs.write_rows(nested(run) for run in found)
            for name, table in SMALL_TABLES.items():
                small[name].write(small_frame(table.columns, [(run.id, *row) for run in found for row in table.rows_of(tx, run)]))
            artifacts.write(small_frame(ARTIFACT_COLUMNS, [row for run in found for row in self._artifacts(run)]))
            for run in found:
                for frame in point_frames(tx, run, names):
                    series.write(frame)
                done += 1
                progress(done, self._chosen.count)
        for file in self.files.values():
            file.close()

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
        self.files[name] = self._make(self._folder / f"{name}{self._suffix}", schema)
        return self.files[name]

    def _artifacts(self, run: ReadRun) -> Values:
        found = artifacts_of(self._chosen.tx, run.record)
        files: Mapping[str, str] = self.copies.copy(run.id, found) if self.copies else {}
        where = {path: f"artifacts/{file}" for path, file in files.items()}
        return [(run.id, one.path, one.digest, one.size_bytes, one.at_ns, where.get(one.path)) for one in found]


def _quietly(_done: int, _all: int) -> None:
    """Tell nobody."""
