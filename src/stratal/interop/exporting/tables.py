"""The tables of an export, their columns, and how runs become rows of them.

runs: one row per run, with params.NAME, metrics.NAME (last values) and tags.NAME. series: all points. notes, artifacts,
lineage, statements: one row for each.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from stratal.core.records import number_from_json, number_to_json, to_json
from stratal.interop.exporting.formats import TIME
from stratal.interop.exporting.operations import PointPage, Said
from stratal.tracking.operations.reading import floats, ints
from stratal.tracking.reading import ReadRun
from stratal.tracking.store.media import MediaRecord

_TIME = pl.Datetime("ns", "UTC")
_EXACT = 2**53  # whole numbers up to here are exact as float64

Schema = dict[str, pl.DataType]
Values = list[tuple[object, ...]]

RUN_COLUMNS: Schema = {
    "id": pl.String(), "experiment": pl.String(), "name": pl.String(), "kind": pl.String(), "status": pl.String(),
    "group": pl.String(), "job_type": pl.String(), "parent": pl.String(), "forked_from": pl.String(), "forked_at": pl.Int64(),
    "user": pl.String(), "started": _TIME, "ended": _TIME, "deleted": _TIME, "duration_s": pl.Float64(), "error": pl.String(),
    "lost_calls": pl.Int64(), "definitions": pl.String(), "capture": pl.String(),
}  # fmt: skip
POINT_COLUMNS: Schema = {
    "run": pl.String(), "metric": pl.String(), "step": pl.Int64(), "time": _TIME, "value": pl.Float64(), "epoch": pl.Int32(),
    "superseded": pl.Boolean(),
}  # fmt: skip


class SmallTable(NamedTuple):
    """A table with some rows per run: its columns after `run`, and the rows of a run."""

    columns: Schema
    rows_of: Callable[[Said], Values]


SMALL_TABLES = {
    "notes": SmallTable(
        {"author": pl.String(), "time": _TIME, "text": pl.String()},
        lambda said: [(n.author, n.at_ns, n.text) for n in said.notes],
    ),
    "lineage": SmallTable(
        {"verb": pl.String(), "target": pl.String(), "role": pl.String(), "time": _TIME},
        lambda said: [(e.verb, e.target, e.role, e.at_ns) for e in said.edges],
    ),
    "media": SmallTable(
        {
            "name": pl.String(),
            "step": pl.Int64(),
            "time": _TIME,
            "kind": pl.String(),
            "mime": pl.String(),
            "caption": pl.String(),
            "text": pl.String(),
            "files": pl.String(),
            "details": pl.String(),
        },
        lambda said: [_media_row(item) for item in said.media],
    ),
    "statements": SmallTable(
        {"kind": pl.String(), "subject": pl.String(), "author": pl.String(), "time": _TIME, "body": pl.String()},
        lambda said: [(s.kind, s.subject, s.author, s.at_ns, to_json(s.body)) for s in said.statements],
    ),
}
ARTIFACT_COLUMNS: Schema = {
    "path": pl.String(), "digest": pl.String(), "size_bytes": pl.Int64(), "time": _TIME, "file": pl.String(),
}  # fmt: skip


def table_schema(columns: Schema) -> Schema:
    """Give all columns of a small table."""
    return {"run": pl.String(), **columns}


def small_frame(columns: Schema, values: Values) -> pl.DataFrame:
    """Make a frame of rows (run, ...)."""
    return pl.DataFrame(values, schema=table_schema(columns), orient="row")


def run_row(run: ReadRun) -> dict[str, object]:
    """Give the columns that every run has."""
    forked_from, forked_at = run.forked_from or (None, None)
    return {
        "id": run.id, "experiment": run.experiment, "name": run.name, "kind": run.kind, "status": run.status, "group": run.group,
        "job_type": run.job_type, "parent": run.parent, "forked_from": forked_from, "forked_at": forked_at, "user": run.user,
        "started": run.record.started_ns, "ended": run.record.ended_ns, "deleted": run.record.deleted_ns,
        "duration_s": run.duration_s, "error": run.error,
        "lost_calls": run.lost_calls, "definitions": to_json(run.definitions), "capture": to_json(run.record.doc.get("capture", {})),
    }  # fmt: skip


class WideRuns:
    """The table of runs. What the columns are is known when all runs were seen once: `see` them, then make frames."""

    def __init__(self) -> None:
        self._kinds: dict[str, set[type]] = {}
        self._metrics: set[str] = set()
        self._tags: set[str] = set()
        self._inexact: set[str] = set()

    def see(self, run: ReadRun) -> None:
        """Note the names and types of a run."""
        for name, value in run.params.items():
            kinds = self._kinds.setdefault(name, set())
            if value is not None:
                kinds.add(type(value))
            if isinstance(value, int) and abs(value) > _EXACT:
                self._inexact.add(name)
        self._metrics.update(run.record.metrics)
        self._tags.update(run.tags)

    def schema(self) -> Schema:
        """Give all columns, names in order inside of their part."""
        params = {f"params.{name}": self._param_type(name) for name in sorted(self._kinds)}
        metrics = {f"metrics.{name}": pl.Float64() for name in sorted(self._metrics)}
        return {**RUN_COLUMNS, **params, **metrics, **{f"tags.{name}": pl.String() for name in sorted(self._tags)}}

    def frame(self, runs: Sequence[ReadRun]) -> pl.DataFrame:
        """Make the rows of some runs."""
        wide = [_wide(run) for run in runs]
        return pl.DataFrame([self._column(name, dtype, [row.get(name) for row in wide]) for name, dtype in self.schema().items()])

    def _param_type(self, name: str) -> pl.DataType:
        kinds = self._kinds[name]
        if kinds == {bool}:
            return pl.Boolean()
        if kinds == {int}:
            return pl.Int64()
        if kinds and kinds <= {int, float} and name not in self._inexact:
            return pl.Float64()
        return pl.String()

    def _column(self, name: str, dtype: pl.DataType, values: list[object]) -> pl.Series:
        if name.startswith("params.") and isinstance(dtype, pl.String) and not self._kinds[name.removeprefix("params.")] <= {str}:
            values = [None if v is None else _as_json(v) for v in values]
        if name.startswith("metrics."):
            values = [None if v is None else number_from_json(v) for v in values]  # type: ignore[arg-type]  # numbers, or how JSON has them
        if name.startswith("params.") and isinstance(dtype, pl.Float64):
            values = [None if v is None else float(v) for v in values]  # type: ignore[arg-type]  # int or float, as seen
        if isinstance(dtype, pl.Datetime):
            return pl.Series(name, values, dtype=pl.Int64).cast(dtype)
        return pl.Series(name, values, dtype=dtype)


def _media_row(item: MediaRecord) -> tuple[object, ...]:
    entry = item.entry
    files, details = to_json(entry.files), to_json(entry.details)
    return entry.name, item.step, item.at_ns, entry.kind, entry.mime, entry.caption, entry.text, files, details


def _as_json(value: object) -> str:
    return msgspec.json.encode(number_to_json(value) if isinstance(value, float) else value).decode()


def _wide(run: ReadRun) -> dict[str, object]:
    row = run_row(run)
    for part, values in (("params", run.params), ("metrics", run.metrics), ("tags", run.tags)):
        row.update({f"{part}.{name}": value for name, value in values.items()})
    return row


def nested(run: ReadRun) -> dict[str, object]:
    """Give a run as an object: params, metrics and tags are objects in it, and so is what was captured."""
    row = run_row(run)
    names = ("started", "ended", "deleted")
    times = dict(zip(names, _time_texts([run.record.started_ns, run.record.ended_ns, run.record.deleted_ns]), strict=True))
    named: dict[str, object] = {"params": run.params, "metrics": dict(run.record.metrics), "tags": run.tags}
    parts = {"capture": run.record.doc.get("capture", {}), "definitions": msgspec.to_builtins(run.definitions)}
    return {**row, **times, **parts, **named}


def point_frame(run_id: str, page: PointPage) -> pl.DataFrame:
    """Make the rows of a page of a run's points."""
    which = np.frombuffer(page.which, "<i4")
    return pl.DataFrame(
        {
            "run": pl.repeat(run_id, len(which), dtype=pl.String, eager=True),
            "metric": pl.Series(page.names, dtype=pl.String).gather(which),
            "step": ints(page.steps),
            "time": pl.Series(ints(page.times)).cast(_TIME),
            "value": floats(page.values),
            "epoch": np.frombuffer(page.epochs, "<i4"),
            "superseded": np.frombuffer(page.hidden, np.bool_),
        },
        schema=POINT_COLUMNS,
    )


def _time_texts(times_ns: Sequence[int | None]) -> list[str | None]:
    texts: list[str | None] = pl.Series(times_ns, dtype=pl.Int64).cast(_TIME).dt.strftime(TIME).to_list()
    return texts
