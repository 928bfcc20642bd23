"""Writing runs into a store of MLflow: a SQLite file with MLflow's own schema, and a folder of artifacts beside it.

What MLflow has no place for is counted. Names that MLflow would refuse are made such that it takes them: what it does not allow
becomes `_`, and a digest keeps them apart. NaN is 0 with a mark, infinities are the largest float64 (MLflow's own rule).
"""

import posixpath
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from hashlib import sha256
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np

from stratal.core.errors import Damaged, NotFound
from stratal.interop.exporting.choosing import Chosen
from stratal.interop.exporting.files import ArtifactFiles
from stratal.interop.exporting.operations import PointPage, Said
from stratal.interop.exporting.writing import Progress, Written
from stratal.store.series import Points
from stratal.tracking.operations.reading import floats, ints
from stratal.tracking.reading import ReadRun
from stratal.tracking.store.runs import Artifact, Edge, NoteRecord

DATABASE = "mlflow.db"
LARGEST = 1.7976931348623157e308  # what MLflow's SQL store keeps for an infinity
LONGEST_KEY = 250
STATUS = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "lost": "KILLED"}
_ALLOWED = re.compile(r"[/\w.\- :]+")

_ADD_EXPERIMENT = (
    "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace)"
    " VALUES (?, ?, ?, 'active', ?, ?, 'default')"
)
_ADD_RUN = (
    "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,"
    " source_version, lifecycle_stage, artifact_uri, experiment_id) VALUES (?, ?, 'LOCAL', ?, '', ?, ?, ?, ?, ?, 'active', ?, ?)"
)
_ADD_PARAM = "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)"
_ADD_TAG = "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)"
_ADD_METRIC = "INSERT OR IGNORE INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
# MLflow: the latest is the one of the highest step, time and value.
_ADD_LATEST = (
    "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"
    " SELECT key, value, timestamp, step, is_nan, run_uuid FROM (SELECT *, row_number() OVER"
    " (PARTITION BY key ORDER BY step DESC, timestamp DESC, value DESC) AS place FROM metrics WHERE run_uuid = ?) WHERE place = 1"
)
_ADD_DATASET = (
    "INSERT OR IGNORE INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source)"
    " VALUES (?, ?, ?, ?, 'stratal', ?)"
)
_ADD_INPUT = (
    "INSERT OR IGNORE INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id) VALUES (?, 'DATASET', ?, 'RUN', ?)"
)
_ADD_INPUT_TAG = "INSERT OR IGNORE INTO input_tags (input_uuid, name, value) VALUES (?, 'mlflow.data.context', ?)"


class MlflowWriting:
    """An export into a store of MLflow, while it is written. `target` is where it will lie: MLflow keeps absolute places."""

    def __init__(self, chosen: Chosen, folder: Path, target: Path, *, artifacts: bool) -> None:
        self._chosen = chosen
        self._folder = folder
        self._artifacts = target / "artifacts"
        self._copies = ArtifactFiles(chosen.store, folder / "artifacts") if artifacts else None
        self._experiments: dict[str, int] = {}
        self._tables = {"runs": 0, "experiments": 0, "metrics": 0, "params": 0, "tags": 0, "dataset inputs": 0}
        self._losses: dict[str, int] = {}

    def run(self, progress: Progress) -> Written:
        """Write all of it, in one transaction."""
        with closing(sqlite3.connect(self._folder / DATABASE, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")  # it is written aside: nobody reads it before it is whole
            db.executescript(f"BEGIN;\n{schema()}")
            self._experiment(db, "Default", 0)
            for page in self._chosen.pages():
                for run, said in zip(page, self._chosen.said(page), strict=True):
                    self._run(db, run, said)
                    self._tables["runs"] += 1
                    progress(self._tables["runs"], self._chosen.count)
            db.execute("COMMIT")
        return Written(self._tables, self._copies.count if self._copies else None, {k: n for k, n in self._losses.items() if n})

    def _experiment(self, db: sqlite3.Connection, name: str, began_ms: int) -> int:
        """Give an experiment's number; 0 is MLflow's own `Default`, which must be there."""
        name = name or "Default"
        if name not in self._experiments:
            number = self._experiments[name] = len(self._experiments)
            db.execute(_ADD_EXPERIMENT, (number, name, str(self._artifacts / str(number)), began_ms, began_ms))
            self._tables["experiments"] += 1
        return self._experiments[name]

    def _run(self, db: sqlite3.Connection, run: ReadRun, beside: Said) -> None:
        began_ms = int(run.id[:12], 16) if run.record.started_ns is None else run.record.started_ns // 1_000_000
        ended_ms = None if run.record.ended_ns is None else run.record.ended_ns // 1_000_000
        number = self._experiment(db, run.experiment, began_ms)
        place = str(self._artifacts / str(number) / run.id / "artifacts")
        script, commit = _captured(run)
        status = STATUS[run.status]
        db.execute(_ADD_RUN, (run.id, run.name or run.short, script, run.user, status, began_ms, ended_ms, commit, place, number))
        params = {self._key(name): value if isinstance(value, str) else str(value) for name, value in run.params.items()}
        db.executemany(_ADD_PARAM, [(key, value, run.id) for key, value in params.items()])
        tags = self._tags(run, beside.notes, script, commit)
        db.executemany(_ADD_TAG, [(key, value, run.id) for key, value in tags.items()])
        self._tables["params"] += len(params)
        self._tables["tags"] += len(tags)
        self._points(db, run)
        self._lineage(db, run, beside.edges, number)
        self._files(run, beside.artifacts, number)
        self._lose("steps of media, whose files are artifacts", len(beside.media))
        self._lose("statements", len(beside.statements))

    def _tags(self, run: ReadRun, notes: list[NoteRecord], script: str, commit: str) -> dict[str, str]:
        tags = {self._key(name): value for name, value in run.tags.items()}
        said = {
            "mlflow.runName": run.name or run.short,  # MLflow has no run without a name
            "mlflow.user": run.user,
            "mlflow.source.name": script,
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": commit,
            "mlflow.parentRunId": run.parent or "",
            "mlflow.note.content": "\n\n".join(note.text for note in notes),
            "stratal.kind": run.kind,
            "stratal.group": run.group,
            "stratal.job_type": run.job_type,
            "stratal.forked_from": "run:{}, step {}".format(*run.forked_from) if run.forked_from else "",
            "stratal.error": run.error,
            "stratal.status": run.status if run.status in ("lost", "stopped") else "",
        }
        self._lose("authors and times of notes", len(notes))
        return {**tags, **{name: value for name, value in said.items() if value}}

    def _points(self, db: sqlite3.Connection, run: ReadRun) -> None:
        for page in self._chosen.points(run):
            keys, points, hidden = _seen(page)
            self._lose("points that a takeover hid", hidden)
            before = db.total_changes
            db.executemany(_ADD_METRIC, _metric_rows(run.id, keys, points))
            written = db.total_changes - before
            self._tables["metrics"] += written
            self._lose("points equal to another to the millisecond", points.n - written)
        for name in run.record.metrics:
            self._key(name)
        db.execute(_ADD_LATEST, (run.id,))

    def _lineage(self, db: sqlite3.Connection, run: ReadRun, edges: list[Edge], experiment: int) -> None:
        for edge in edges:
            kind, _, name = edge.target.partition(":")
            if edge.verb != "used" or kind not in ("dataset", "features", "sha256", "file"):
                self._lose("lineage edges that are no used data", 1)
                continue
            digest = sha256(edge.target.encode()).hexdigest()[:36]
            dataset, used = f"{experiment}-{digest}"[:36], sha256(f"{run.id}{edge.target}".encode()).hexdigest()[:32]
            db.execute(_ADD_DATASET, (dataset, experiment, name[:500], digest, msgspec.json.encode({"ref": edge.target}).decode()))
            db.execute(_ADD_INPUT, (used, dataset, run.id))
            db.execute(_ADD_INPUT_TAG, (used, edge.role[:500]))
            self._tables["dataset inputs"] += 1

    def _files(self, run: ReadRun, found: list[Artifact], experiment: int) -> None:
        if self._copies is None:
            self._lose("artifacts, which were not asked for (--artifacts)", len(found))
            return
        folder = f"{experiment}/{run.id}/artifacts"
        places = self._copies.copy(folder, found)
        self._lose("paths of artifacts that no file can have", sum(place != f"{folder}/{path}" for path, place in places.items()))

    def _key(self, name: str) -> str:
        key = mlflow_key(name)
        self._lose("names that MLflow does not allow, and were changed", key != name)
        return key

    def _lose(self, what: str, how_often: int) -> None:
        self._losses[what] = self._losses.get(what, 0) + how_often


def schema() -> str:
    """Give the statements that make an empty store of MLflow."""
    return resources.files("stratal.interop.exporting").joinpath("mlflow_schema.sql").read_text("utf-8")


def mlflow_key(name: str) -> str:
    """Give a name that MLflow takes for a param, metric or tag: the same, if it does; else one that stays apart from all others."""
    if _ALLOWED.fullmatch(name) and len(name) <= LONGEST_KEY and posixpath.normpath(name) == name and name[0] != "/" and name[:2] != "..":
        return name
    clean = re.sub(r"[^\w.\- :]", "_", name)[: LONGEST_KEY - 9].lstrip(".")
    return f"{clean}-{sha256(name.encode()).hexdigest()[:8]}"


def _seen(page: PointPage) -> tuple[list[str], Points, int]:
    """Give the points of a page that count, with their keys, and how many do not."""
    names = [mlflow_key(name) for name in page.names]
    which, seen = np.frombuffer(page.which, "<i4"), ~np.frombuffer(page.hidden, np.bool_)
    points = Points(ints(page.steps), ints(page.times), floats(page.values)).take(seen)
    return [names[n] for n in which[seen].tolist()], points, len(seen) - points.n


def _metric_rows(run_id: str, keys: list[str], points: Points) -> Iterator[tuple[object, ...]]:
    nans = np.isnan(points.values)
    finite = np.clip(np.where(nans, 0.0, points.values), -LARGEST, LARGEST)
    columns = (keys, finite.tolist(), (points.times // 1_000_000).tolist(), points.steps.tolist(), nans.astype(int).tolist())
    return ((key, value, time, run_id, step, nan) for key, value, time, step, nan in zip(*columns, strict=True))


def _captured(run: ReadRun) -> tuple[str, str]:
    """Give the script and the git commit of a run, '' where nobody knows."""
    try:
        captured = run.capture
    except (NotFound, Damaged):  # its blob is gone: what stands in the row is still there
        captured = {}
    entry, git = captured.get("entry"), captured.get("git")
    script = entry.get("target") if isinstance(entry, Mapping) else None
    commit = git.get("commit") if isinstance(git, Mapping) else None
    return str(script or ""), str(commit or "")
