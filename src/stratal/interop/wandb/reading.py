"""One `.wandb` file as a source: each record's meaning for the run, then the files beside it."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from stratal.core.clock import to_utc
from stratal.core.errors import Damaged
from stratal.interop.bounds import artifact_path, to_ns, walk
from stratal.interop.foreign import (
    Alerted,
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
    Skipped,
    Stated,
    Statement,
    Tags,
)
from stratal.interop.port import FileSource
from stratal.interop.protobuf import Fields, blob, fields, integer, text, texts
from stratal.interop.wandb.artifacts import Artifacts
from stratal.interop.wandb.container import Record, read_records
from stratal.interop.wandb.defining import Definitions
from stratal.interop.wandb.history import History
from stratal.interop.wandb.messages import Message, items, number_of, read_message, removed, time_of
from stratal.tracking.capture.git import strip_credentials
from stratal.tracking.facts import KINDS

# Job types that mean one of our kinds of run.
_JOBS = {**{kind: kind for kind in KINDS}, "training": "train", "eval": "evaluation", "evaluate": "evaluation"}
# Records for W&B's own work; their number is counted as left out.
_BOOKKEEPING = frozenset(("header", "files", "telemetry", "preempting", "request", "noop_link_artifact", "output_logger", "empty"))
# What of an environment says nothing about a person: no host, user, paths, arguments, e-mail.
_ENVIRONMENT = {1: "os", 2: "python", 18: "gpu", 25: "cuda"}
_LEVELS = {"INFO": "info", "WARN": "warning", "ERROR": "error"}
_COUNTS = {16: "cpus", 17: "logical_cpus", 19: "gpus"}
# Files that W&B writes about the machine and the person: the environment record says what of it is kept.
_PERSONAL = frozenset(("wandb-metadata.json",))


class WandbFile(FileSource):
    """The history of one process of a W&B run."""

    def __init__(self, path: Path, *, run: ForeignId, part: str, experiment: str, staged: Path | None) -> None:
        super().__init__(path, run=run, part=part, name=str(path))
        self.experiment, self.staged = experiment, staged

    def read(self, after: int) -> Iterator[Said | Remark]:
        """Say what each record says; at the end the run's summary and all its other files."""
        with TemporaryDirectory() as folder:
            output = Path(folder) / "output.log"
            with output.open("wb") as written:
                reader, place = _Reader(self, written), 0
                for record in read_records(self.path):
                    if isinstance(record, Remark):
                        yield record
                        continue
                    place = record.end
                    yield Said(place, reader.read(record))
            if place:
                yield Said(place, reader.last(output))
            yield from reader.remarks


class _Reader:
    """What was read of a run so far."""

    def __init__(self, source: WandbFile, output: BinaryIO) -> None:
        self._source, self._output = source, output
        self._files = source.path.parent / "files"
        self._at_ns = self._started_ns = source.run.started_ns
        self._summary: dict[str, object] = {}
        self._has_begun, self._name, self._notes = False, "", ""
        # Several processes may have written to one run: each has a folder of its own among the artifacts.
        self._part = to_utc(self._started_ns).strftime("wandb/%Y%m%d_%H%M%S")
        self.remarks: list[Remark] = []
        self._history, self._definitions = History(self._files), Definitions()
        self._artifacts = Artifacts(source.staged, f"wandb:{source.run.store}")
        self._verbs: dict[str, Callable[[Fields], list[Statement]]] = {
            "run": self._run, "history": self._row, "config": self._config, "summary": self._said_summary, "stats": self._stats,
            "output": self._line, "output_raw": self._line, "alert": self._alert, "exit": self._exit,
            "metric": lambda found: self._definitions.read(found, self._at_ns),
            "final": self._over, "footer": self._over,
            "artifact": lambda found: self._artifacts.logged(found, self._at_ns),
            "use_artifact": lambda found: self._artifacts.used(found, self._at_ns),
            "environment": self._environment, "tbrecord": _synced_tensorboard,
        }  # fmt: skip

    def read(self, record: Record) -> list[Statement]:
        """Give what a record says."""
        if record.damage:
            return [Skipped(what="records", reason=record.damage, by_rule=False)]
        try:
            message = read_message(record.data)
            return self._message(message)
        except Damaged as error:
            return [Skipped(what="records", reason=error.message, by_rule=False)]

    def _message(self, message: Message) -> list[Statement]:
        if message.kind in _BOOKKEEPING:
            return [Skipped(what="bookkeeping", reason="of W&B's own work", by_rule=True)]
        verb = self._verbs.get(message.kind)
        if verb is None:
            return [Skipped(what="records", reason=f"of the kind {message.kind}", by_rule=False)]
        return verb(message.fields)

    def last(self, output: Path) -> list[Statement]:
        """Give what is known at the end: the summary, the output where no file holds it, and all other files of the run."""
        said: list[Statement] = []
        if summary := {key: value for key, value in self._summary.items() if key != "_wandb"}:
            said.append(Saved(path=f"{self._part}/summary.json", data=_json(summary), at_ns=self._at_ns))
        if output.stat().st_size and not (self._files / "output.log").is_file():
            said.append(Saved(path=f"{self._part}/output.log", data=output, at_ns=self._at_ns))
        if self._files.is_dir() and not self._files.is_symlink():
            said.extend(self._others())
        return said

    def _others(self) -> Iterator[Statement]:
        for at, names in walk(self._files, self.remarks):
            for name in names:
                path = (at / name).relative_to(self._files).as_posix()
                if path in _PERSONAL or path in self._history.shown:
                    continue
                yield Saved(path=artifact_path(self._part, path), data=at / name, at_ns=self._at_ns)

    def _run(self, found: Fields) -> list[Statement]:
        job, name, tags = text(found, 7), text(found, 8), dict.fromkeys(texts(found, 10), "true")
        said: list[Statement] = []
        if not self._has_begun:
            self._has_begun, self._name = True, name
            began = Began(
                experiment=self._source.experiment, name=name, kind=_JOBS.get(job.lower(), "train"), group=text(found, 6),
                job_type=job, user=text(found, 2), at_ns=self._started_ns,
            )  # fmt: skip
            place = {"folder": self._source.path.parent.name, "part": self._part}
            said += [began, Stated(kind="segment", subject=self._source.run.run, body=dict(place), at_ns=self._at_ns)]
        if (notes := text(found, 9)) and notes != self._notes:
            self._notes = notes
            said.append(Remarked(text=notes, author=text(found, 2) or "wandb", at_ns=self._at_ns))
        git = fields(blob(found, 21))
        known = {
            "imported.from": "wandb", "imported.run": self._source.run.run, "wandb.sweep": text(found, 12),
            "wandb.commit": text(git, 2), "wandb.git": strip_credentials(text(git, 1)) if text(git, 1) else "",
            "wandb.name": name if name != self._name else "",
            "wandb.branched_from": text(fields(blob(found, 22) or blob(found, 23)), 1),
        }  # fmt: skip
        said.append(Tags(values={**tags, **{key: value for key, value in known.items() if value}}, at_ns=self._at_ns))
        if 13 in found:
            said.append(Skipped(what="host", reason="says where a person works", by_rule=True))
        return said + self._config(fields(blob(found, 4)))

    def _config(self, found: Fields) -> list[Statement]:
        params: dict[str, object] = {key: value for key, value in items(found, 1).items() if key != "_wandb"}
        params.update(dict.fromkeys(key for key in removed(found) if not key.startswith("_wandb")))
        return [Params(values=params, at_ns=self._at_ns)] if params else []

    def _row(self, found: Fields) -> list[Statement]:
        step = integer(fields(blob(found, 2)), 1) if 2 in found else None
        said, self._at_ns = self._history.read(items(found, 1), step, self._at_ns)
        return said

    def _said_summary(self, found: Fields) -> list[Statement]:
        _merge(self._summary, items(found, 1))
        for path in removed(found):
            _remove(self._summary, path.split("/"))
        return []

    def _stats(self, found: Fields) -> list[Statement]:
        at_ns = time_of(found, 2, self._at_ns)
        metrics = {f"system/{key}": number for key, value in _flat(items(found, 3)) if (number := number_of(value)) is not None}
        return [Logged(metrics=metrics, step=None, at_ns=at_ns)] if metrics else []

    def _line(self, found: Fields) -> list[Statement]:
        self._at_ns = max(self._at_ns, time_of(found, 2, self._at_ns))
        self._output.write(blob(found, 3))
        return [Held(what="output")]

    def _alert(self, found: Fields) -> list[Statement]:
        said, words = text(found, 1), text(found, 2)
        title = " ".join(said.split())[:500] or "alert"  # as ours are: one line
        words = words if title == said else f"{said}\n{words}".strip()
        return [Alerted(title=title, text=words, level=_LEVELS.get(text(found, 3), "info"), author="wandb", at_ns=self._at_ns)]

    def _environment(self, found: Fields) -> list[Statement]:
        body: dict[str, object] = {name: text(found, number) for number, name in _ENVIRONMENT.items() if number in found}
        body.update({name: integer(found, number) for number, name in _COUNTS.items() if number in found})
        said: list[Statement] = [Stated(kind="environment", subject="", body=body, at_ns=self._at_ns)] if body else []
        return [*said, Skipped(what="environment", reason="what says who and where a person is", by_rule=True)]

    def _exit(self, found: Fields) -> list[Statement]:
        code = integer(found, 1)
        self._at_ns = max(self._at_ns, self._started_ns + to_ns(float(integer(found, 2)), 0))
        status, error = ("finished", "") if code == 0 else ("failed", f"exit code {code}")
        return [*self._alone(), Ended(status=status, error=error, at_ns=self._at_ns)]

    def _over(self, _found: Fields) -> list[Statement]:
        return [Skipped(what="bookkeeping", reason="of W&B's own work", by_rule=True), *self._alone()]

    def _alone(self) -> list[Statement]:
        """Give the numbers that only the summary holds, each once: they are the last word of series that have no other."""
        figures = ((key, number_of(value)) for key, value in _flat(self._summary) if not key.startswith("_"))
        alone = {key: number for key, number in figures if number is not None and key not in self._history.series}
        self._history.series.update(alone)
        return [Logged(metrics=alone, step=self._history.last_step, at_ns=self._at_ns)] if alone else []


def _synced_tensorboard(_found: Fields) -> list[Statement]:
    return [Skipped(what="synced TensorBoard folders", reason="import their event files", by_rule=True)]


def _flat(nested: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Give the values of nested mappings by their paths; media are values."""
    for key, value in nested.items():
        if isinstance(value, dict) and "_type" not in value and prefix.count("/") < 50:
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def _merge(into: dict[str, object], update: Mapping[str, object]) -> None:
    for key, value in update.items():
        known = into.get(key)
        if isinstance(known, dict) and isinstance(value, dict) and "_type" not in value:
            _merge(known, value)
        else:
            into[key] = value


def _remove(nested: dict[str, object], path: list[str]) -> None:
    at: object = nested
    for key in path[:-1]:
        at = at.get(key) if isinstance(at, dict) else None
    if isinstance(at, dict):
        at.pop(path[-1], None)


def _json(value: object) -> bytes:
    """Encode as W&B does, odd numbers bare; lone surrogates stay escaped."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
