"""The module's own functions: `wandb.init`, and what speaks to the run of the moment."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from stratal.core.errors import Misuse, NotFound
from stratal.interop.wandb.script.artifacts import Artifact, UsedArtifact
from stratal.interop.wandb.script.config import Config, Summary, settings_in
from stratal.interop.wandb.script.missing import refuse
from stratal.interop.wandb.script.nothing import NoRun
from stratal.interop.wandb.script.running import Run
from stratal.interop.wandb.script.settings import AlertLevel, Error, Said, Settings
from stratal.tracking.facts import SYSTEM, to_params
from stratal.tracking.finding import find_runs
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.runs import run as start

log_ = logging.getLogger(__name__)

_current: list[Run] = []  # wandb.run, if it is open
_made: list[Run] = []  # all that this process began, in order; those that have ended are forgotten
os.register_at_fork(after_in_child=_made.clear)  # a child's `init` begins a run of its own; until then it logs to its parent's
ID_TAG, ENTITY_TAG = "wandb.id", "wandb.entity"


class Words(NamedTuple):
    """What a run is told of itself when it begins."""

    name: str
    notes: str
    group: str
    job_type: str
    entity: str


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: str | Path | None = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    config: object = None,
    config_exclude_keys: Sequence[str] | None = None,
    config_include_keys: Sequence[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: bool | str | None = None,
    resume: bool | str | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    tensorboard: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: Settings | Mapping[str, object] | None = None,
) -> Run:
    """Start a run, or go on with one, and make it wandb.run.

    project becomes the experiment. mode: online, offline and shared are one here, the local store; disabled writes nothing.
    resume: a run of this id is gone on with. fork_from: 'ID?_step=N'. dir, force and save_code say nothing here: the store is where
    STRATAL_STORE says, and code is captured. Raises Error for what cannot be honoured, and then no run begins.
    """
    if resume_from is not None:
        refuse("resume_from", "fork_from='ID?_step=N' keeps both histories; st.run(resume=ID) goes on with one")
    if tensorboard or sync_tensorboard:
        refuse("tensorboard", "import what was written: stratal import tensorboard FOLDER")
    if monitor_gym:
        refuse("monitor_gym", "log the video: run.log({'play': wandb.Video(path)})")
    said = Said(settings)
    again, going_on, mode = said.reinit(reinit), said.resume(resume), said.mode(mode)
    chosen = _chosen(config, config_exclude_keys, config_include_keys)
    if open_ones := [run for run in _made if run.ours.is_open]:
        if again == "return_previous" and going_on != "must":
            return open_ones[-1]
        if again == "return_previous":
            raise Error("a run is open, so none can be gone on with", hint="run.finish() it first, or say reinit='create_new'")
        for run in open_ones if again == "finish_previous" else ():
            run.finish()
    if mode == "disabled":
        made: Run = NoRun()
    else:
        words = Words(
            name=said.text(name, "name", "NAME"), notes=said.text(notes, "notes", "NOTES"), group=said.text(group, "group", "RUN_GROUP"),
            job_type=said.text(job_type, "job_type", "JOB_TYPE"), entity=said.text(entity, "entity", "ENTITY"),
        )  # fmt: skip
        made = _started(
            project=said.text(project, "project", "PROJECT") or "uncategorized", id=said.text(id, "id", "RUN_ID"), resume=going_on,
            fork_from=fork_from, tags=said.tags(tags), words=words, may_change=bool(allow_val_change),
        )  # fmt: skip
    made.config.update(chosen, allow_val_change=made.resumed or fork_from is not None or allow_val_change)
    _made[:] = [*(run for run in _made if run.ours.is_open), made]
    if again != "create_new":  # W&B, too, leaves wandb.run as it is then
        _current[:] = [made]
    return made


def current_run() -> Run | None:
    """Give wandb.run: None before init and after finish."""
    return _current[-1] if _current and _current[-1].ours.is_open else None


def current_config() -> Config:
    """Give wandb.config. Raises Error before init."""
    return _needed("wandb.config").config


def current_summary() -> Summary:
    """Give wandb.summary. Raises Error before init."""
    return _needed("wandb.summary").summary


def log(data: Mapping[str, object], step: int | None = None, commit: bool | None = None) -> None:
    """See `Run.log`."""
    _needed("wandb.log").log(data, step=step, commit=commit)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """End the run; nothing happens if there is none."""
    if (run := current_run()) is not None:
        run.finish(exit_code)


def define_metric(name: str, step_metric: object = None, **said: object) -> None:
    """See `Run.define_metric`."""
    _needed("wandb.define_metric").define_metric(name, step_metric, **said)  # type: ignore[arg-type]  # its names and types are checked there


def alert(title: str, text: str = "", level: AlertLevel | str | None = None, wait_duration: object = None) -> None:
    """See `Run.alert`."""
    _needed("wandb.alert").alert(title, text, level, wait_duration)


def save(glob_str: str | Path | None = None, base_path: str | Path | None = None, policy: str = "live", glob: bool = True) -> list[str]:
    """See `Run.save`."""
    return _needed("wandb.save").save(glob_str, base_path, policy, glob)


def log_artifact(
    artifact_or_path: Artifact | str | Path, name: str | None = None, type: str | None = None, aliases: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
) -> Artifact:  # fmt: skip
    """See `Run.log_artifact`."""
    return _needed("wandb.log_artifact").log_artifact(artifact_or_path, name, type, aliases, tags)


def use_artifact(artifact_or_name: Artifact | str, type: str | None = None, aliases: object = None) -> UsedArtifact:
    """See `Run.use_artifact`."""
    return _needed("wandb.use_artifact").use_artifact(artifact_or_name, type, aliases)


def log_model(path: str | Path, name: str | None = None, aliases: Sequence[str] | None = None) -> Artifact:
    """See `Run.log_model`."""
    return _needed("wandb.log_model").log_model(path, name, aliases)


def use_model(name: str) -> str:
    """See `Run.use_model`."""
    return _needed("wandb.use_model").use_model(name)


def link_model(path: str | Path, registered_model_name: str, name: str | None = None, aliases: object = None) -> None:
    """See `Run.link_model`."""
    _needed("wandb.link_model").link_model(path, registered_model_name, name, aliases)


def log_code(root: str | None = ".", name: str | None = None, **filters: object) -> None:
    """See `Run.log_code`."""
    _needed("wandb.log_code").log_code(root, name)


def watch(models: object, criterion: object = None, log: str | None = "gradients", log_freq: int = 1000, **ignored: object) -> None:
    """See `Run.watch`."""
    _needed("wandb.watch").watch(models, criterion, log, log_freq)


def unwatch(models: object = None) -> None:
    """See `Run.unwatch`."""
    _needed("wandb.unwatch").unwatch(models)


def mark_preempting() -> None:
    """See `Run.mark_preempting`."""
    _needed("wandb.mark_preempting").mark_preempting()


def login(key: str | None = None, **ignored: object) -> bool:
    """There is nobody to log in to."""
    return True


def setup(settings: object = None) -> None:
    """Nothing is to be set up: no service runs."""


def teardown(exit_code: int | None = None) -> None:
    """End the run, if there is one."""
    finish(exit_code)


def termlog(text: str = "", repeat: bool = True) -> None:
    """Say something to whoever reads the log."""
    log_.info("%s", text)


def termwarn(text: str, repeat: bool = True) -> None:
    """Warn whoever reads the log."""
    log_.warning("%s", text)


def termerror(text: str, repeat: bool = True) -> None:
    """Tell whoever reads the log of an error."""
    log_.error("%s", text)


def _started(*, project: str, id: str, resume: str, fork_from: str | None, tags: list[str], words: Words, may_change: bool) -> Run:
    earlier = find_earlier(project, id) if id and resume else None
    if resume == "must" and earlier is None:
        raise Error(f"there is no run {id!r} to resume in project {project!r}", hint="list runs: stratal runs; or say resume='allow'")
    if resume == "never" and earlier is not None:
        raise Error(f"run {id!r} is there already", hint="choose another id, or say resume='allow'")
    origin, step = (None, 0) if fork_from is None or earlier is not None else _origin(project, fork_from)
    marks = {**dict.fromkeys(tags, "true"), **({ID_TAG: id} if id else {}), **({ENTITY_TAG: words.entity} if words.entity else {})}
    if earlier is not None:
        ours = start(resume=earlier.id, tags=marks)
    else:
        ours = start(
            project, name=words.name, tags=marks, group=words.group, job_type=words.job_type, note=words.notes,
            fork_from=None if origin is None else (origin.id, step + 1),  # W&B's forks have the step itself, ours end before it
        )  # fmt: skip
    if origin is not None and not id and ID_TAG in origin.tags:
        ours.set_tags({ID_TAG: None})  # it stays the origin's
    before = earlier if earlier is not None else origin
    all_tags = list(dict.fromkeys([*(true_tags(before) if before is not None else ()), *tags]))
    name = words.name or (earlier.name if earlier is not None else "") or id or ours.short
    group, job_type = words.group, words.job_type
    if before is not None:  # what a fork is told goes over what it inherits; a run that goes on keeps what it has
        group = (group if earlier is None else "") or before.group
        job_type = (job_type if earlier is None else "") or before.job_type
    made = Run(
        ours, id=id or ours.short, project=project, name=name, tags=all_tags, entity=words.entity, notes=words.notes, may_change=may_change,
        group=group, job_type=job_type,
    )  # fmt: skip
    made.resumed = earlier is not None
    if before is not None:
        made.config.inherit(before.params)
    if earlier is not None:
        made.summary.inherit({name: said.value for name, said in earlier.summary.items() if not name.startswith(SYSTEM)})
        steps = [summary.step for summary in earlier.summaries if not summary.name.startswith(SYSTEM)]
        made.go_on_at(max(steps, default=-1) + 1)
    elif origin is not None:
        made.go_on_at(step + 1)
    return made


def find_earlier(project: str | None, id: str) -> ReadRun | None:
    """Give the newest run of a project that was given this id, or has it from us; None if there is none."""
    if found := find_runs(f"tags.`{ID_TAG}` = {_quoted(id)}", experiment=project, limit=1):
        return found[0]
    try:
        run = get_run(id)
    except (NotFound, Misuse):
        return None
    return run if project in (None, run.experiment) else None


def true_tags(run: ReadRun) -> list[str]:
    """List the tags that W&B's scripts set: those without a value of their own."""
    return [name for name, value in run.tags.items() if value == "true"]


def _origin(project: str, text: str) -> tuple[ReadRun, int]:
    id, mark, step = text.partition("?_step=")
    if not mark or not step.isdigit():
        raise Error(f"fork_from={text!r} names no step", hint="write fork_from='ID?_step=100'")
    found = find_earlier(project, id)
    if found is None:
        raise Error(f"there is no run {id!r} to fork in project {project!r}", hint="list runs: stratal runs")
    return found, int(step)


def _quoted(text: str) -> str:
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    raise Error(f"id {text!r} cannot be looked for", hint="an id has letters, digits, '-' and '_'")


def _chosen(config: object, without: Sequence[str] | None, only: Sequence[str] | None) -> dict[str, object]:
    if isinstance(config, str | Path):
        raise Error("config is a path", hint="read the file: config=json.loads(Path(...).read_text()); or run.ours.save_config(path)")
    if without and only:
        raise Error("config_exclude_keys and config_include_keys were both said", hint="say one of them")
    chosen = {name: value for name, value in settings_in(config).items() if (name in only if only else name not in (without or ()))}
    to_params(chosen)  # what it refuses begins no run
    return chosen


def _needed(what: str) -> Run:
    run = current_run()
    if run is None:
        raise Error(f"{what} needs a run", hint="call wandb.init(project=...) first")
    return run
