"""A SQLite store of MLflow. Opened read-only, and only what is a plain table is read; columns that an older or newer MLflow does not
have are empty. Each query is over at once: a reader that stays would lock out the MLflow that writes.
"""

import math
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from stratal.core.errors import Damaged
from stratal.interop.bounds import MOST_RECORD_BYTES
from stratal.interop.foreign import Logged, Remark, Said, Skipped, Statement
from stratal.interop.mlflow.records import DatasetRow, ExperimentRow, LoggedModel, ModelPoint, ModelRow, RunRow, VersionRow, to_ns
from stratal.interop.port import Source

INFINITE = 1.7976931348623157e308  # stands for infinity in MLflow's SQL stores
# What has no place here, and the tables that count it.
_NO_PLACE = {
    "trace_info": "traces", "evaluation_datasets": "evaluation datasets",
    "scorers": "judges", "webhooks": "webhooks", "endpoints": "gateway endpoints",
}  # fmt: skip
_NEEDED = ("experiments", "runs", "metrics", "params", "tags")

_MOST_ROWS = 20_000  # of metrics that are in memory at once

Row = dict[str, object]


class SqliteStore:
    """Reads a SQLite store."""

    kind = "sql"

    def __init__(self, path: Path) -> None:
        """Raises Damaged if it is no store of MLflow."""
        self.path = path
        self.remarks: list[Remark] = []
        self._db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        self._db.text_factory = _text
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_RECORD_BYTES)
        try:
            for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON"):
                self._db.execute(f"PRAGMA {pragma}")
            tables = self._db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
            self._tables = {str(name) for name, sql in tables if str(sql).lstrip().upper().startswith("CREATE TABLE")}
        except sqlite3.DatabaseError as error:
            raise Damaged(f"{path} is no SQLite database that can be read: {error}") from error
        if missing := [name for name in _NEEDED if name not in self._tables]:
            raise Damaged(f"{path} is no store of MLflow: it has no table {missing[0]!r}")
        for row in self._rows("SELECT version_num FROM alembic_version", table="alembic_version"):
            self.remarks.append(Remark(f"{path.name} has MLflow's schema {_said(row, 'version_num')}"))

        for table, what in _NO_PLACE.items():
            count = next(iter(self._rows(f"SELECT count(*) AS n FROM {table}", table=table)), {}).get("n")
            if count:
                self.remarks.append(Remark(f"left out, for they have no place here: {count} {what}"))

    def experiments(self) -> Iterator[ExperimentRow]:
        """Give all experiments."""
        for row in self._rows("SELECT * FROM experiments ORDER BY experiment_id", table="experiments"):
            yield ExperimentRow(
                id=_said(row, "experiment_id"),
                name=_said(row, "name"),
                tags=self._pairs(
                    "SELECT key, value FROM experiment_tags WHERE experiment_id = ?", (row["experiment_id"],), table="experiment_tags"
                ),
                created_ms=_number(row.get("creation_time")) or 0,
                changed_ms=_number(row.get("last_update_time")) or 0,
                is_deleted=_said(row, "lifecycle_stage") == "deleted",
            )

    def runs(self) -> Iterator[RunRow]:
        """Give all runs."""
        names = {row["experiment_id"]: row for row in self._rows("SELECT * FROM experiments", table="experiments")}
        for row in self._rows("SELECT * FROM runs ORDER BY start_time, run_uuid", table="runs"):
            experiment = names.get(row["experiment_id"], {})
            start_ms, id = _number(row.get("start_time")), _said(row, "run_uuid")
            if start_ms is None or not id:
                self.remarks.append(Remark(f"{self.path}: the run {id!r:.60} has no start time", is_loss=True))
                continue
            yield RunRow(
                id=id,
                experiment=_said(experiment, "name"),
                name=_said(row, "name"),
                status=_said(row, "status"),
                start_ms=start_ms,
                end_ms=_number(row.get("end_time")),
                is_deleted="deleted" in (_said(row, "lifecycle_stage"), _said(experiment, "lifecycle_stage")),
                artifact_uri=_said(row, "artifact_uri"),
                user=_said(row, "user_id"),
            )

    def params(self, run: RunRow) -> dict[str, str]:
        """Give a run's params."""
        return self._pairs("SELECT key, value FROM params WHERE run_uuid = ?", (run.id,), table="params")

    def tags(self, run: RunRow) -> dict[str, str]:
        """Give a run's tags."""
        return self._pairs("SELECT key, value FROM tags WHERE run_uuid = ?", (run.id,), table="tags")

    def datasets(self, run: RunRow) -> list[DatasetRow]:
        """Give the datasets that a run used (since MLflow 2.4)."""
        query = (
            "SELECT d.*, i.input_uuid FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id"
            " WHERE i.source_type = 'DATASET' AND i.destination_id = ? ORDER BY d.name, d.digest"
        )
        return [
            DatasetRow(
                name=_said(row, "name"),
                digest=_said(row, "digest"),
                source_type=_said(row, "dataset_source_type"),
                source=_said(row, "dataset_source"),
                schema=_said(row, "dataset_schema"),
                profile=_said(row, "dataset_profile"),
                tags=self._pairs("SELECT name, value FROM input_tags WHERE input_uuid = ?", (row["input_uuid"],), table="input_tags"),
            )
            for row in self._rows(query, (run.id,), table="inputs")
            if "datasets" in self._tables
        ]

    def logged_models(self, run: RunRow) -> list[LoggedModel]:
        """Give the models that a run logged (since MLflow 3)."""
        query = "SELECT * FROM logged_models WHERE source_run_id = ? ORDER BY model_id"
        return [self._logged_model(row, run.experiment) for row in self._rows(query, (run.id,), table="logged_models")]

    def loose_models(self, runs: Collection[str]) -> list[LoggedModel]:
        """Give the models that none of these runs logged."""
        query = (
            "SELECT m.*, e.name AS experiment FROM logged_models m LEFT JOIN experiments e ON e.experiment_id = m.experiment_id"
            " ORDER BY m.model_id"
        )
        found = self._rows(query, table="logged_models")
        return [self._logged_model(row, _said(row, "experiment")) for row in found if _said(row, "source_run_id") not in runs]

    def points_of_models(self, run: RunRow) -> Iterator[tuple[str, list[ModelPoint]]]:
        """Give what a run measured of logged models."""
        query = (
            "SELECT * FROM logged_model_metrics WHERE model_id = ? AND run_id = ? ORDER BY metric_name, metric_timestamp_ms, metric_step"
        )
        for id in self._measured.get(run.id, ()):
            rows = self._rows(query, (id, run.id), table="logged_model_metrics")
            yield id, [_model_point(row) for row in rows]

    @cached_property
    def _measured(self) -> dict[str, list[str]]:
        """The logged models by the runs that measured them: MLflow has an index by model only."""
        query, found = "SELECT DISTINCT run_id, model_id FROM logged_model_metrics ORDER BY model_id", dict[str, list[str]]()
        for row in self._rows(query, table="logged_model_metrics"):
            found.setdefault(_said(row, "run_id"), []).append(_said(row, "model_id"))
        return found

    def outputs(self, run: RunRow) -> dict[str, int]:
        """Give the logged models that a run brought forth."""
        return self._linked(run, "OUTPUT")

    def model_inputs(self, run: RunRow) -> dict[str, int]:
        """Give the logged models that a run used."""
        return self._linked(run, "INPUT")

    def metrics(self, run: RunRow) -> list[Source]:
        """Give one source of all metrics of a run, if it has any."""
        found = next(iter(self._rows("SELECT max(rowid) AS last FROM metrics WHERE run_uuid = ?", (run.id,), table="metrics")), {})
        last = _number(found.get("last"))
        return [] if last is None else [MetricRows(self, run, last)]

    def models(self) -> Iterator[ModelRow]:
        """Give the registered models. Those of several workspaces are told apart by the workspace's name before theirs."""
        for row in self._rows("SELECT * FROM registered_models ORDER BY name", table="registered_models"):
            name, workspace = _said(row, "name"), row.get("workspace")
            where, of = "name = ?", (name,)
            if workspace is not None:
                where, of = "name = ? AND workspace = ?", (name, str(workspace))  # type: ignore[assignment]  # one value more
            versions = self._rows(f"SELECT * FROM model_versions WHERE {where} ORDER BY version", of, table="model_versions")  # fixed texts
            yield ModelRow(
                name=name if workspace in (None, "default") else f"{workspace}/{name}",
                description=_said(row, "description"),
                created_ms=_number(row.get("creation_time")) or 0,
                tags=self._pairs(f"SELECT key, value FROM registered_model_tags WHERE {where}", of, table="registered_model_tags"),
                aliases={
                    word: int(number)
                    for word, number in self._pairs(
                        f"SELECT alias, version FROM registered_model_aliases WHERE {where}", of, table="registered_model_aliases"
                    ).items()
                    if number.isdigit()
                },
                versions=[self._version(version, where, of) for version in versions],
            )

    def rows_of_metrics(self, run_id: str, after: int) -> Iterator[Row]:
        """Give rows of metrics past a rowid, in that order."""
        query = (
            "SELECT rowid, key, value, timestamp, step, is_nan FROM metrics WHERE run_uuid = ? AND rowid > ?"
            f" ORDER BY rowid LIMIT {_MOST_ROWS}"
        )
        while rows := self._rows(query, (run_id, after), table="metrics"):
            yield from rows
            after = int(str(rows[-1]["rowid"]))

    def _linked(self, run: RunRow, way: str) -> dict[str, int]:
        query = "SELECT * FROM inputs WHERE source_type = ? AND source_id = ? AND destination_type = ? ORDER BY destination_id"
        rows = self._rows(query, (f"RUN_{way}", run.id, f"MODEL_{way}"), table="inputs")
        return {_said(row, "destination_id"): _number(row.get("step")) or 0 for row in rows}

    def _logged_model(self, row: Row, experiment: str) -> LoggedModel:
        params = "SELECT param_key, param_value FROM logged_model_params WHERE model_id = ?"
        tags = "SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ?"
        return LoggedModel(
            id=_said(row, "model_id"),
            name=_said(row, "name"),
            place=_said(row, "artifact_location"),
            status=_said(row, "status"),
            model_type=_said(row, "model_type"),
            params=self._pairs(params, (row["model_id"],), table="logged_model_params"),
            tags=self._pairs(tags, (row["model_id"],), table="logged_model_tags"),
            run=_said(row, "source_run_id"),
            experiment=experiment,
            created_ms=_number(row.get("creation_timestamp_ms")) or 0,
            is_deleted=_said(row, "lifecycle_stage") == "deleted",
        )

    def _version(self, row: Row, where: str, of: Sequence[object]) -> VersionRow:
        query = f"SELECT key, value FROM model_version_tags WHERE {where} AND version = ?"  # fixed texts
        return VersionRow(
            number=_number(row.get("version")) or 0,
            stage=_said(row, "current_stage"),
            source=_said(row, "source"),
            place=_said(row, "storage_location"),
            run=_said(row, "run_id"),
            description=_said(row, "description"),
            user=_said(row, "user_id"),
            status=_said(row, "status"),
            created_ms=_number(row.get("creation_time")) or 0,
            tags=self._pairs(query, (*of, row.get("version")), table="model_version_tags"),
        )

    def _rows(self, query: str, values: Sequence[object] = (), *, table: str) -> list[Row]:
        """Read rows; none if this MLflow has no such table. Raises Damaged if the file is."""
        if table not in self._tables:
            return []
        try:
            with closing(self._db.execute(query, values)) as cursor:
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except sqlite3.Error as error:
            raise Damaged(f"{self.path}: {table} cannot be read: {error}") from error

    def _pairs(self, query: str, values: Sequence[object], *, table: str) -> dict[str, str]:
        rows = (list(row.values()) for row in self._rows(query, values, table=table))
        return {str(name): "" if value is None else str(value) for name, value in rows}


class MetricRows(Source):
    """All metrics of a run in a database, in the order in which they were logged. Places are rowids."""

    def __init__(self, store: SqliteStore, run: RunRow, last: int) -> None:
        self.run, self.part, self.size = run.foreign("sql"), "metrics", last
        self.name = f"metrics of {run.name or run.id} in {store.path.name}"
        self._store, self._run = store, run
        self._hashing, self._hashed = blake2b(digest_size=16), 0

    def read(self, after: int) -> Iterator[Said | Remark]:
        """Say the rows; neighbours of one step and time were logged together."""
        group: list[Row] = []
        for row in self._store.rows_of_metrics(self._run.id, after):
            if group and not _belongs(row, group):
                yield self._said(group)
                group = []
            group.append(row)
        if group:
            yield self._said(group)

    def digest(self, place: int) -> str:
        """Give the digest of the rows up to a place. Reads each once, as long as places ascend."""
        if place < self._hashed:
            self._hashing, self._hashed = blake2b(digest_size=16), 0
        for row in self._store.rows_of_metrics(self._run.id, self._hashed):
            if int(str(row["rowid"])) > place:
                break
            self._hashing.update(repr(tuple(row.values())).encode("utf-8", "surrogateescape"))
            self._hashed = int(str(row["rowid"]))
        return self._hashing.copy().hexdigest()

    def _said(self, group: list[Row]) -> Said:
        said: list[Statement] = []
        metrics: dict[str, float] = {}
        for row in group:
            value = _value(row)
            if value is None or not isinstance(row["key"], str) or _number(row["step"]) is None or _number(row["timestamp"]) is None:
                said.append(Skipped(what="points", reason="the row is no point", by_rule=False))
            else:
                metrics[row["key"]] = value
        if metrics:
            step, ms = _number(group[0]["step"]), _number(group[0]["timestamp"]) or 0
            said.append(Logged(metrics=metrics, step=step, at_ns=to_ns(ms, self.run.started_ns)))
        return Said(int(str(group[-1]["rowid"])), said)


def _belongs(row: Row, group: list[Row]) -> bool:
    first = group[0]
    together = (row["step"], row["timestamp"]) == (first["step"], first["timestamp"])
    return together and len(group) < 1000 and all(row["key"] != other["key"] for other in group)


def _value(row: Row) -> float | None:
    value = row["value"]
    if row["is_nan"]:
        return math.nan
    if not isinstance(value, int | float):
        return None
    return math.copysign(math.inf, value) if abs(value) >= INFINITE else float(value)


def _model_point(row: Row) -> ModelPoint:
    value = _value({"value": row["metric_value"], "is_nan": row["metric_value"] is None})
    return ModelPoint(
        key=_said(row, "metric_name"),
        value=math.nan if value is None else value,
        ms=_number(row["metric_timestamp_ms"]) or 0,
        step=_number(row["metric_step"]) or 0,
        dataset=_said(row, "dataset_name"),
        digest=_said(row, "dataset_digest"),
    )


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _said(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
