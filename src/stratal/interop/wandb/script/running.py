"""`wandb.Run`: W&B's rows, config, summary and artifacts over one run of ours.

W&B gathers a row and writes it when the next one begins. Here each call is in the journal when it returns, at the step that its
row has; so a kill loses nothing, and lower steps are kept, which W&B drops.
"""

import glob as globs
import os
from collections.abc import Mapping, Sequence
from operator import index
from pathlib import Path
from types import TracebackType

from stratal.interop.wandb.script.artifacts import Artifact, UsedArtifact, log_artifact, use_artifact
from stratal.interop.wandb.script.config import Config, Summary
from stratal.interop.wandb.script.missing import refuse
from stratal.interop.wandb.script.settings import AlertLevel, Error, Settings
from stratal.interop.wandb.script.values import Wrapped, number, unwrapped
from stratal.tracking.definitions import define
from stratal.tracking.facts import MetricDefinition, flatten
from stratal.tracking.runs import Run as OurRun

_LEVELS = {"INFO": "info", "WARN": "warning", "ERROR": "error"}


class Run:
    """A run as W&B's scripts see it. `ours` is the run that is written."""

    def __init__(
        self, ours: OurRun, *, id: str, project: str, name: str, tags: Sequence[str] = (), entity: str = "", group: str = "",
        job_type: str = "", notes: str = "", may_change: bool = False,
    ) -> None:  # fmt: skip
        """Scripts get one from `init`."""
        self.ours = ours
        self.id, self.project, self.entity, self.group, self.job_type = id, project, entity, group, job_type
        self.sweep_id = None
        self.resumed = False
        self.starting_step = 0
        self._step = 0
        self._name, self._notes, self._tags = name, notes, tuple(tags)
        self._definitions: dict[str, MetricDefinition] = {}
        self.config = Config(ours.log_params, may_change=may_change)
        self.summary = Summary(self._tell_summary)

    def go_on_at(self, step: int) -> None:
        """Begin at a step: after those of an earlier part, or of the run that it is a fork of."""
        self.starting_step = self._step = step

    @property
    def step(self) -> int:
        """The step of the row that is open, or of the next one."""
        return self._step

    @property
    def name(self) -> str:
        """The name; its id, if it was given none. It cannot be changed later."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        refuse("a new name for a run that has begun", f"name it when it begins: wandb.init(name={name!r}), or the variable WANDB_NAME")

    @property
    def notes(self) -> str:
        """The notes; setting them adds a note."""
        return self._notes

    @notes.setter
    def notes(self, notes: str) -> None:
        self.ours.note(notes)
        self._notes = notes

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags; setting them replaces them."""
        return self._tags

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        gone: dict[str, str | None] = {tag: None for tag in self._tags if tag not in tags}
        self.ours.set_tags({**gone, **dict.fromkeys(tags, "true")})
        self._tags = tuple(tags)

    @property
    def settings(self) -> Settings:
        """What `init` was told."""
        return Settings(run_id=self.id, run_name=self.name, project=self.project, entity=self.entity, run_group=self.group)

    @property
    def dir(self) -> str:
        """A folder in the store: a script may put files there, and `save` them."""
        folder = self.ours.store.folder / "wandb" / self.ours.id
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    @property
    def path(self) -> str:
        """project/id, with the entity before if there is one."""
        return "/".join(part for part in (self.entity, self.project, self.id) if part)

    @property
    def url(self) -> str:
        """How to look at it."""
        return f"stratal show {self.ours.short}"

    def log(self, data: Mapping[str, object], step: int | None = None, commit: bool | None = None) -> None:
        """Log a row, or a part of one: without a step, or with commit, the row ends. Nested names are joined by '/'.

        A step below that of the row is kept, and does not move the row."""
        values = _row(data)
        if step is not None and not hasattr(step, "__index__"):
            raise Error(f"step {step!r} is no whole number", hint="log what it counts: define_metric(NAME, step_metric='epoch')")
        at = self._step if step is None else index(step)
        if values:
            self.ours.log(values, step=at)
            self.summary.take(_numbers(values), self._definitions)
        self._step = max(self._step, at)
        if commit if commit is not None else step is None:
            self._step += 1

    def define_metric(
        self, name: str, step_metric: object = None, step_sync: bool | None = None, hidden: bool | None = None,
        summary: str | None = None, goal: str | None = None, overwrite: bool | None = None,
    ) -> None:  # fmt: skip
        """Say against what a metric is drawn, and which value stands for it.

        summary: one of min, max, mean, first, last, best (with a goal), none. Raises Error for several."""
        words = [word.strip() for word in (summary or "").split(",") if word.strip() not in ("", "none", "copy")]
        if len(words) > 1:
            refuse(f"summary={summary!r}", "say the one that stands for the metric; st.get(RUN).summaries has low, high and last of each")
        x = getattr(step_metric, "name", step_metric)
        said = define(name, None if x is None else str(x), words[0] if words else None, goal)
        self.ours.define_metric(name, x=said.x, summary=said.summary, goal=said.goal)
        self._definitions[name] = said

    def alert(self, title: str, text: str = "", level: AlertLevel | str | None = None, wait_duration: object = None) -> None:
        """Tell people to look. wait_duration: seconds or a timedelta; None: a minute, as W&B has it."""
        word = level.value if isinstance(level, AlertLevel) else str(level or "INFO").upper()
        if word not in _LEVELS:
            raise Error(f"level={level!r} is unknown", hint="choose one of wandb.AlertLevel.INFO, WARN, ERROR")
        self.ours.alert(title, text, level=_LEVELS[word], wait_s=_seconds(wait_duration))

    def save(
        self, glob_str: str | Path | None = None, base_path: str | Path | None = None, policy: str = "live", glob: bool = True
    ) -> list[str]:
        """Save files under their path below base_path; None: the working folder, for absolute paths the folder above theirs.

        They are saved as they are now, whatever the policy says. Raises Error if there is none."""
        if glob_str is None:
            return []  # run.save() of old scripts
        text = str(glob_str)
        found = [Path(name) for name in sorted(globs.glob(text, recursive=True))] if glob else [Path(text)]  # noqa: PTH207  # absolute ones, too
        files = [file for file in found if file.is_file()]
        if not files:
            raise Error(f"no file is at {text}", hint="save files when they are written; st.active_run().save(FOLDER) takes a folder")
        base = Path(base_path) if base_path is not None else Path(text).parent.parent if Path(text).is_absolute() else Path()
        for file in files:
            inside = Path(os.path.relpath(file, base))
            if ".." in inside.parts:
                raise Error(f"{file} is not below {base}", hint="say the folder above it: base_path=...")
            self.ours.save(file, inside.as_posix())
        return [str(file) for file in files]

    def log_artifact(
        self, artifact_or_path: "Artifact | str | Path", name: str | None = None, type: str | None = None,
        aliases: Sequence[str] | None = None, tags: Sequence[str] | None = None,
    ) -> Artifact:  # fmt: skip
        """Save an artifact as the next version of its name; one with the same files is the version that it was."""
        return log_artifact(self.ours, self.project, artifact_or_path, name=name, type=type, aliases=aliases, tags=tags)

    def use_artifact(self, artifact_or_name: "Artifact | str", type: str | None = None, aliases: object = None) -> UsedArtifact:
        """Give a version of an artifact ('name:latest', 'name:v2', 'name:ALIAS'), and record that the run uses it."""
        return use_artifact(self.ours, self.project, artifact_or_name, type=type)

    def log_model(self, path: str | Path, name: str | None = None, aliases: Sequence[str] | None = None) -> Artifact:
        """Save the files of a model as an artifact of the type model."""
        return self.log_artifact(path, name=name, type="model", aliases=aliases)

    def use_model(self, name: str) -> str:
        """Give the path of a model's file, or of the folder of its files."""
        used = self.use_artifact(name)
        return used.file() if len(used.files()) == 1 else used.download()

    def link_model(self, path: str | Path, registered_model_name: str, name: str | None = None, aliases: object = None) -> None:
        """W&B links files into its registry; ours takes models that it can load."""
        refuse("link_model", "run.ours.log_model('model', model), then st.register(NAME, model): a version with gates and lineage")

    def log_code(self, root: str | None = ".", name: str | None = None, **filters: object) -> None:
        """Nothing is left to do: the project's sources were captured when the run began (docs/capture.md)."""

    def watch(
        self, models: object, criterion: object = None, log: str | None = "gradients", log_freq: int = 1000, idx: object = None,
        log_graph: bool = False,
    ) -> None:  # fmt: skip
        """Log gradients and params of torch modules every `log_freq` steps of their optimizer, whichever of both `log` names."""
        for model in models if isinstance(models, list | tuple) else [models]:
            if log is not None:
                self.ours.watch(model, every=log_freq, histograms=True)

    def unwatch(self, models: object = None) -> None:
        """Modules are watched until the run ends."""
        refuse("unwatch", "leave the line out: watching ends with the run")

    def mark_preempting(self) -> None:
        """Nothing is left to do: what was logged is kept, and a run that is killed is seen to be lost, and may be resumed."""

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run: as failed if the exit code is not 0."""
        self.ours.finish("failed" if exit_code else "finished", error=f"exit code {exit_code}" if exit_code else "")

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.ours.__exit__(kind, error, trace)

    def _tell_summary(self, values: Mapping[str, object]) -> None:
        """Numbers are points at the present step; other words are tags."""
        plain = flatten(values)
        logged = {name: unwrapped(value) for name, value in plain.items() if isinstance(value, Wrapped) or number(value) is not None}
        if logged:
            self.ours.log(logged, step=self._step)
        if texts := {name: str(value) for name, value in plain.items() if name not in logged}:
            self.ours.set_tags(texts)


def _row(data: Mapping[str, object]) -> dict[str, object]:
    """Give what our runs log of a row. None is left out: W&B draws nothing for it."""
    if not isinstance(data, Mapping):
        raise Error(f"log takes a dict, not {data!r:.60}", hint="run.log({'loss': 0.3})")
    return {name: unwrapped(value) for name, value in flatten(data).items() if value is not None}


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    return {name: plain for name, value in values.items() if (plain := number(value)) is not None}


def _seconds(wait_duration: object) -> float:
    if wait_duration is None:
        return 60.0
    seconds = number(getattr(wait_duration, "total_seconds", lambda: wait_duration)())
    if seconds is None:
        raise Error(f"wait_duration={wait_duration!r} is no time", hint="give seconds, or a datetime.timedelta")
    return seconds
