"""Runs as they are written: start, log, say, end. All of it telemetry: microseconds, kill-safe, no database."""

import atexit
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from time import time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from stratal.core.clock import said_ns
from stratal.core.errors import Misuse, StoreDown
from stratal.core.ids import RunId, new_id, short, to_bytes
from stratal.core.origin import ipython_shell
from stratal.core.settings import ON_ERROR
from stratal.store.files.blobs import digest_of, digest_of_file
from stratal.store.store import Store
from stratal.tracking import active
from stratal.tracking.capturing import complete_capture, quick_capture, request_capture
from stratal.tracking.facts import (
    ARTIFACT,
    BODIES,
    DEFINE,
    EDGE,
    END,
    KINDS,
    MEDIA,
    NOTE,
    PARAMS,
    START,
    STATE,
    STATUSES,
    TAGS,
    ArtifactFact,
    EdgeFact,
    End,
    MediaFact,
    Note,
    Start,
    StateFact,
    check_artifact_path,
    check_body,
    check_key,
    check_name,
    check_text,
    flatten,
    in_pieces,
    shortened,
    to_params,
    to_tags,
)  # fmt: skip
from stratal.tracking.losing import Beginning, Losses, Writes
from stratal.tracking.opening import current_store
from stratal.tracking.system.sampler import watch

if TYPE_CHECKING:
    from stratal.tracking.capture import Capture
    from stratal.tracking.models import FeatureDefinition
    from stratal.tracking.origins import Origin
    from stratal.tracking.values import Model

log_ = logging.getLogger(__name__)  # `log` is what users call
T = TypeVar("T")


class Run:
    """A run that is being written. A context manager: it ends as finished, or as failed if the block raises."""

    # Whether its end is a command, which raises if it cannot be kept.
    _ends_by_command = False

    def __init__(
        self, store: Store, id: RunId, experiment: str, *, epoch: int = 0, kind: str = "train", on_error: str | None = None
    ) -> None:
        """Write to a run that exists or is about to; users call `run`."""
        if on_error is not None and on_error not in ON_ERROR:
            raise Misuse(f"on_error={on_error!r} is unknown", hint=f"choose one of: {', '.join(ON_ERROR)}")
        self.store = store
        self.id = id
        self.experiment = experiment
        self.kind = kind
        self.epoch = epoch
        self.is_open = True
        self.captured: Capture | None = None  # what its start says of the process that started it, if that was us
        self.is_joined = False  # another process of it goes on: what is said once per run is said there
        self._bytes = to_bytes(id)
        self._before_end: list[Callable[[], None]] = []
        self._writer: Writes = store.writer
        self._losses = Losses(f"run {short(id)}", is_strict=(on_error or store.settings.on_error) == "raise")

    @property
    def lost_calls(self) -> int:
        """How many calls could not be written, and are lost: they were warned of, and did not raise."""
        return self._losses.count

    @property
    def short(self) -> str:
        """The last 8 digits of the id, for people: `run:7c41e09b`."""
        return short(self.id)

    @property
    def ref(self) -> str:
        """What names this run anywhere."""
        return f"run:{self.id}"

    def log(self, metrics: Mapping[str, object], *, step: int | None = None, time: datetime | float | None = None) -> None:
        """Log numbers, and anything else that can be looked at. On return all of it survives kill -9 of any process.

        metrics: name to number; or to a figure, image, array, table, text, or what st.audio, st.html and their like give; nested
        mappings are joined by '/'. Only numbers: microseconds. step: any int64 but the lowest, repeated and out of order is fine;
        without it each name takes the next step of its own. time: None for now; a datetime with its zone, or seconds since 1970.
        Raises Misuse for what is neither, and then nothing of the call is written. If the store cannot be
        written: counted in `lost_calls`, or StoreDown, as `on_error` says.
        """
        at_ns = None if time is None else said_ns(time)
        try:
            self._writer.log(self._bytes, self.epoch, metrics, step, at_ns)  # type: ignore[arg-type]  # it refuses what is no number
        except StoreDown as error:
            self.lose("log", error)
        except (Misuse, TypeError, AttributeError):
            others = flatten(metrics)
            try:
                self._log_others(others, step, at_ns)
            except StoreDown as error:
                self.lose("log", error)

    def lose(self, what: str, error: StoreDown) -> None:
        """Count a call that could not be kept; raises the error if the run is told to."""
        self._losses.take(what, error)

    def define_metric(self, name: str, *, x: str | None = None, summary: str | None = None, goal: str | None = None) -> None:
        """Say how a metric is drawn and which of its values stands for it; `*` in the name is any text, the longest pattern counts.

        x: what it is drawn against: a metric, "step" or "time". goal: "minimize" or "maximize". summary: "last", "first", "min", "max",
        "mean" or "best" (by the goal); default: "best" with a goal, else "last". Said again, it replaces what was said before.
        Raises Misuse for other words."""
        from stratal.tracking.definitions import define  # only for those who define something

        self._tell(DEFINE, define(name, x, summary, goal))

    def log_params(self, params: object) -> None:
        """Set params: scalars, nested mappings joined by '/'; a name said again takes the new value.

        params: a mapping, or an object that holds settings: a dataclass, a pydantic model, an attrs or msgspec class, an OmegaConf
        configuration, an argparse.Namespace. Raises Misuse for others."""
        for piece in in_pieces(to_params(params)):
            self._tell(PARAMS, piece)

    def set_tags(self, tags: Mapping[str, str | None]) -> None:
        """Set tags; None takes one away."""
        for piece in in_pieces(to_tags(tags)):
            self._tell(TAGS, piece)

    def note(self, text: str) -> None:
        """Add a note, with author and time."""
        check_text("note", text)
        self._tell(NOTE, Note(text=text, author=self.store.actor().name))

    def alert(self, title: str, text: str = "", *, level: str = "info", wait_s: float = 0.0) -> bool:
        """Tell people to look. level: info, warning, error. The same title and level is told again only after `wait_s` seconds, counted
        by this process; gives whether it was told now. Raises Misuse for other levels."""
        from stratal.tracking.alerting import alert  # few runs give any

        return alert(self, title, text, level=level, wait_s=wait_s)

    def save(self, path: str | Path, name: str | None = None) -> "SavedArtifact | list[SavedArtifact]":
        """Save a file, or all files of a folder, as artifacts of the run, under `name` (default: the file's own name)."""
        source = Path(path)
        name = (source.name or source.resolve().name) if name is None else name
        if source.is_dir():
            folder = self.store.folder.resolve()  # a store inside of the saved folder is no part of it
            files = sorted(file for file in source.rglob("*") if file.is_file() and not file.resolve().is_relative_to(folder))
            return [self._save_file(file, f"{name}/{file.relative_to(source).as_posix()}") for file in files]
        return self._save_file(source, name)

    def save_config(self, config: object, name: str | None = None) -> "SavedArtifact | list[SavedArtifact]":
        """Keep a configuration under `config/`: a file or folder, as its path, byte for byte; or an object that holds settings, as
        JSON, of OmegaConf as YAML. name: default the file's own, else config.json. It sets no params: `log_params(config)` does."""
        from stratal.tracking.documents import config_file  # only for those who save one

        if isinstance(config, str | Path):
            path = Path(config)
            return self.save(path, f"config/{name or path.name or path.resolve().name}")
        ending, data = config_file(config)
        return self.save_bytes(f"config/{name or f'config{ending}'}", data)

    def save_bytes(self, name: str, data: bytes) -> "SavedArtifact":
        """Save bytes as an artifact."""
        check_artifact_path(name)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise Misuse(f"{name} is given a {type(data).__name__}, not bytes", hint="a text becomes bytes by text.encode()")
        try:
            digest = self.store.blobs.put(data)
        except StoreDown as error:
            self.lose("artifact", error)
            return ArtifactFact(path=name, digest=digest_of(bytes(data)), size_bytes=len(data))
        return self._artifact(name, digest, len(data))

    def log_model(self, name: str, model: object, *, features: "FeatureDefinition | None" = None, sample: object = None) -> "Model":
        """Save a model as the folder `name` among the run's artifacts, in a format that can run nothing, and give its handle.

        features: the feature view that the inputs come from. sample: some rows of the inputs; it gives the signature, the saved model
        is asked again on them, and some are kept: `model.sample()`. Raises Misuse or Refused, and nothing is logged, if the format
        cannot keep the model.
        """
        from stratal.tracking.models import log_model  # formats, and the libraries behind them, only for those who save models

        return log_model(self, name, model, features=features, sample=sample)

    def use(self, target: object, *, role: str = "data") -> Any:
        """Record that the run uses a target (a ref, a file, a handle, a polars frame), and give the thing itself.

        role: what it is for: data, train, test, model, features. Raises NotFound for what is not there.
        """
        from stratal.tracking.using import use  # it resolves refs, and so needs the database

        return use(self, target, role=role)

    def edge(self, verb: str, target: str, role: str = "data", *, is_file: bool = True) -> None:
        """Record that the run `used` or `produced` a target: a ref, or sha256:DIGEST. is_file: it is a digest of a file of the store, which
        is then kept as long as the run; say False for that of anything else."""
        if verb not in ("used", "produced"):
            raise Misuse(f"{verb!r} is no lineage edge", hint="a run has `used` or `produced` something")
        check_text("target of an edge", target)
        check_text("role of an edge", role)
        check_key("a target and a role", verb, target, role)
        self._tell(EDGE, EdgeFact(verb=verb, target=target, role=role, is_file=is_file))

    def state(self, kind: str, body: Mapping[str, object], *, subject: str = "") -> None:
        """State something that gates and reports may read later. subject: what it speaks of, a ref or sha256:DIGEST."""
        check_name("statement", kind)
        check_text("subject of a statement", subject)
        check_key("what a statement speaks of", kind, subject)
        self.say(STATE, StateFact(kind=kind, subject=subject, body=dict(body), author=self.store.actor().name))

    def fork(self, *, step: int, name: str = "", params: object = None, tags: Mapping[str, str] | None = None) -> "Run":
        """Start a run that goes on from this one's points before `step`, shared and not copied, and make it the active one.

        Kind, group, job type, params and tags are inherited, and what is given is put over them; artifacts and notes stay with this run,
        which may go on.
        What this run logs later before the step counts in the fork, too; what later epochs of it add or hide does not.
        """
        return run(None, name=name, params=params, tags=tags, fork_from=(self.ref, step), store=self.store)

    def finish(self, status: str = "finished", *, error: str = "") -> None:
        """End the run. Ending it twice does nothing, unless the first time could not be written; that is tried again at exit."""
        if status not in STATUSES[1:4]:
            raise Misuse(f"a run cannot end as {status!r}", hint=f"choose one of: {', '.join(STATUSES[1:4])}")
        if self.is_open:
            self._run_endings()
            self.is_open = False
            active.pop(self)
            if self.captured is not None:
                complete_capture(self, self.captured)
            try:
                self._end(status, error)
            except StoreDown as failure:
                self.is_open = True  # nothing was written: it can be said again
                if self._ends_by_command:
                    raise
                self.lose("end", failure)
                _unended[self.id] = (self, status, error)
            self._losses.say()

    def leave(self) -> None:
        """Stop writing to the run without ending it: others go on with it."""
        self._run_endings()
        self.is_open = False
        active.pop(self)
        self._losses.say()

    def before_end(self, action: Callable[[], None]) -> None:
        """Call something once, when this process ends the run or leaves it. What it raises is logged, and goes no further."""
        self._before_end.append(action)

    def watch(
        self,
        target: T,
        *,
        optimizer: object = None,
        every: int | None = None,
        histograms: bool | None = None,
        training_score: bool | None = None,
        model: str | None = None,
    ) -> T:
        """Log the next fit of an estimator or trainer, or gradients and params of a torch module; give the target back.

        optimizer, every (steps), histograms: of torch modules. training_score, model (a name to save it under): of estimators.
        Logging by it never raises into the fit. Raises Misuse for what cannot be watched.
        """
        from stratal.tracking.autolog.watching import Wanted, watch  # each library's file is imported when it is met

        watch(self, target, Wanted(optimizer=optimizer, every=every, histograms=histograms, training_score=training_score, model=model))
        return target

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.finish()
        elif isinstance(error, KeyboardInterrupt):
            self.finish("stopped", error="KeyboardInterrupt")
        else:
            self.finish("failed", error=f"{type(error).__name__}: {error}"[:2000])

    def __repr__(self) -> str:
        return f"<Run {self.short} of {self.experiment!r}, {self.kind}>"

    def _run_endings(self) -> None:
        actions, self._before_end = self._before_end, []
        for action in actions:
            try:
                action()
            except Exception as error:  # noqa: BLE001  # somebody else's business must not keep a run from its end
                log_.warning("not done at the end of a run run=%s error=%r", self.short, error)

    def _log_others(self, values: dict[str, object], step: int | None, at_ns: int | None) -> None:
        if all(isinstance(value, int | float) for value in values.values()):
            self._writer.log(self._bytes, self.epoch, values, step, at_ns)  # type: ignore[arg-type]  # or it says what is wrong
            return
        from stratal.tracking.media.writing import entries, split  # only for those who log more than numbers

        numbers, items, step = split(values, step)
        at_ns = time_ns() if at_ns is None else at_ns
        listed = entries(self.store, items)
        if numbers:
            self._writer.log(self._bytes, self.epoch, numbers, step, at_ns)
        if listed:
            self._writer.fact(self._bytes, self.epoch, MEDIA, MediaFact(step=step, entries=listed), at_ns)

    def _end(self, status: str, error: str) -> None:
        self._writer.fact(self._bytes, self.epoch, END, End(status=status, error=error, lost_calls=self.lost_calls))

    def say(self, what: str, value: object) -> bool:
        """Write a fact of any kind about the run; tell whether it is written. Raises Misuse for what settling could not read back."""
        if what in BODIES:
            check_body(what, value)
        return self._tell(what, value)

    def write(self, what: str, value: object) -> None:
        """Write a fact that its caller keeps if that fails. Raises StoreDown, and counts nothing."""
        self._writer.fact(self._bytes, self.epoch, what, value)

    def _tell(self, what: str, value: object) -> bool:
        """Write a fact whose parts were checked one by one."""
        try:
            self.write(what, value)
        except StoreDown as error:
            self.lose(what, error)
            return False
        return True

    def _begin(self, start: Start) -> None:
        """Say how the run begins; if that cannot be written, it is tried again before each later call."""
        writer = self._writer
        try:
            writer.fact(self._bytes, self.epoch, START, start)
        except StoreDown as error:
            if self._losses.is_strict:
                raise
            log_.warning("run %s cannot say yet how it begins, and goes on: %s; %s", self.short, error.message, error.hint)
            at_ns = time_ns()

            def begin() -> None:
                writer.fact(self._bytes, self.epoch, START, start, at_ns)
                self._writer = writer

            self._writer = Beginning(writer, begin)

    def _save_file(self, source: Path, name: str) -> "SavedArtifact":
        check_artifact_path(name)
        try:
            digest = self.store.blobs.put_file(source)
        except StoreDown as error:
            self.lose("artifact", error)
            return ArtifactFact(path=name, digest=digest_of_file(source), size_bytes=source.stat().st_size)
        return self._artifact(name, digest, self.store.blobs.size_bytes(digest))

    def _artifact(self, name: str, digest: str, size_bytes: int) -> "SavedArtifact":
        saved = ArtifactFact(path=name, digest=digest, size_bytes=size_bytes)
        self._tell(ARTIFACT, saved)
        return saved


# Runs whose end could not be written, and what it is.
_unended: dict[RunId, tuple[Run, str, str]] = {}

# What saving gives back is what the journal holds.
SavedArtifact = ArtifactFact


def run(
    experiment: str | None = None,
    *,
    name: str = "",
    params: object = None,
    tags: Mapping[str, str] | None = None,
    kind: str | None = None,
    group: str = "",
    job_type: str = "",
    note: str = "",
    resume: str | None = None,
    fork_from: tuple[str, int] | None = None,
    on_error: str | None = None,
    store: Store | None = None,
) -> Run:
    """Start a run, or go on with one (`resume`: its id or short form), and make it the active one.

    with st.run("churn", params={"learning_rate": 0.1}) as run:
        run.log({"loss": 0.3}, step=1)

    experiment: the named collection it belongs to; inside another run it may be left out. It becomes part of the active run.
    params: as `Run.log_params` takes them. group: runs that belong together; job_type: the part of this one in it: train, eval ...
    kind: None for train. fork_from: (a run, a step): start with that run's points before the step, its kind, group, job type, params
    and tags; what is given goes over them. See `Run.fork`.
    on_error: "warn" counts and warns of calls that cannot be written, "raise" raises StoreDown; None: what the settings say, "warn".
    Raises Misuse for names that cannot be, NotFound for a run to resume that does not exist.
    """
    texts = {"name of the run": name, "group": group, "job type": job_type, "note": note, "run to resume": resume or ""}
    for what, text in texts.items():
        check_text(what, text)
    if store is not None and not isinstance(store, Store):
        raise Misuse(f"store={store!r:.60} is not an open store", hint="open it: store=st.open_store(FOLDER)")
    store = store or current_store()
    if resume is not None:
        return _resumed(store, resume, params, tags, on_error)
    parent = active.enclosing_run()
    origin = None if fork_from is None else _origin(store, fork_from)
    if origin is not None:
        experiment, kind = experiment or origin.experiment, kind or origin.kind
        group, job_type = group or origin.group, job_type or origin.job_type
        params, tags = {**origin.params, **to_params({} if params is None else params)}, {**origin.tags, **(tags or {})}
        parent = None if parent is not None and parent.id == origin.id else parent
    if experiment is None and parent is not None:
        experiment = parent.experiment
    if experiment is None:
        raise Misuse("a run needs an experiment", hint='write st.run("churn")')
    check_name("experiment", experiment)
    kind = "train" if kind is None else kind
    if kind not in KINDS:
        raise Misuse(f"{kind!r} is no kind of run", hint=f"choose one of: {', '.join(KINDS)}")
    user = store.actor().name
    captured = quick_capture(store) if store.settings.capture else None
    start, rest = shortened(Start(
        experiment=experiment, name=name, kind=kind, group=group, job_type=job_type, user=user,
        parent=parent.id if parent is not None and parent.store.folder == store.folder else None,
        params=to_params({} if params is None else params), capture=captured[1] if captured else {},
        tags={key: value for key, value in to_tags(tags or {}).items() if value is not None},
    ))  # fmt: skip
    id = new_id(store.clock) if origin is None else _forked(store, origin, start)
    made = Run(store, id, experiment, kind=kind, on_error=on_error)
    if origin is None:
        made._begin(start)
    for what, more in rest:
        made._tell(what, more)
    active.push(made)
    watch(made, begin=captured is None)  # else the capturing thread begins it, if the run is still there
    if captured:
        made.captured = captured[0]
        request_capture(made, captured[0])
    if note:
        made._tell(NOTE, Note(text=note, author=user))
    return made


def log(metrics: Mapping[str, object], *, step: int | None = None, time: datetime | float | None = None) -> None:
    """Log to the active run, as `Run.log` does. Raises Misuse if there is none."""
    current = active.active_run()
    if current is None:
        raise Misuse("no run is active", hint='start one: with st.run("churn"): ...')
    current.log(metrics, step=step, time=time)


def _origin(store: Store, fork_from: object) -> "Origin":
    from stratal.tracking.origins import find_origin  # it needs the database, as `resume` does

    if not isinstance(fork_from, tuple) or len(fork_from) != 2 or not isinstance(fork_from[0], str):
        raise Misuse(f"fork_from={fork_from!r:.80} is no run and step", hint='write fork_from=("run:7c41e09b", 50)')
    return find_origin(store, find_id(store, fork_from[0]), fork_from[1])


def _forked(store: Store, origin: "Origin", start: Start) -> RunId:
    from stratal.tracking.origins import insert_fork  # as above

    return insert_fork(store, origin, start, is_open=True)


def _resumed(store: Store, resume: str, params: object, tags: Mapping[str, str] | None, on_error: str | None) -> Run:
    from stratal.tracking.operations.deciding import RunDecisions  # the one telemetry verb that needs the database

    id = find_id(store, resume)
    store.writer.show()  # else the run would pass for lost until it logs something
    found = RunDecisions(store).resume(run=id)
    going_on = Run(store, id, found.experiment, epoch=found.epoch, kind=found.kind, on_error=on_error)
    going_on.is_joined = found.is_alive
    active.push(going_on)
    if not found.is_alive:
        watch(going_on)
    if params is not None and (said := to_params(params)):
        going_on.log_params(said)
    if tags:
        going_on.set_tags(tags)
    return going_on


def find_id(store: Store, text: str) -> RunId:
    """Give the whole id of a run by its id, short form or ref. Raises NotFound, or Misuse if several match."""
    from stratal.tracking.operations.reading import RunReads  # as above

    return RunReads(store).find(text=text)


def _end_open_runs() -> None:
    """At a normal exit: end what was never ended, as failed if an exception is what ends the process; say ends that could not be said."""
    crashed = getattr(sys, "last_type", None)
    if (shell := ipython_shell()) is not None and shell.last_execution_succeeded:
        crashed = None  # of a cell that people went on after
    for open_run in reversed(active.open_runs()):
        with contextlib.suppress(Exception):
            open_run.finish("failed" if crashed else "finished", error=crashed.__name__ if crashed else "")
    for ended, status, error in list(_unended.values()):
        with contextlib.suppress(Exception):
            ended.finish(status, error=error)


atexit.register(_end_open_runs)
os.register_at_fork(after_in_child=active.forget_all)
os.register_at_fork(after_in_child=_unended.clear)  # they are its parent's to end
