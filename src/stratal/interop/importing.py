"""The verb: import what another tool has recorded, once and completely, and say what became of it."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from stratal.core.errors import Conflict, Damaged, Forbidden, Misuse, NotFound, Refused
from stratal.core.ids import short
from stratal.core.progress import Progress, silent
from stratal.core.records import Record
from stratal.interop.applying import Applied, Standings, apply_source
from stratal.interop.foreign import Remark
from stratal.interop.port import ForeignExperiment, ForeignModel, Found, Source
from stratal.interop.report import ImportedRun, ImportReport, Tally, words_of
from stratal.store.store import Store
from stratal.tracking.facts import check_name
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import current_store

# Tool to the module whose `find` says which sources lie under a path.
READERS = {
    "mlflow": "stratal.interop.mlflow.finding",
    "neptune": "stratal.interop.neptune.finding",
    "tensorboard": "stratal.interop.tensorboard.finding",
    "wandb": "stratal.interop.wandb.finding",
}


# Runs that a remark names.
MOST_NAMED = 10


class Options(Record, frozen=True, kw_only=True):
    """What a user may say about an import. experiment: '' for the one that the tool names; files: where artifacts lie, None: beside.

    artifact_roots: beginnings of the places that the tool wrote down, and what they are here."""

    experiment: str = ""
    files: Path | None = None
    artifact_roots: dict[str, Path] = {}


Finder = Callable[[Path, Options], Found]


def import_runs(
    tool: str,
    path: str | Path,
    *,
    experiment: str | None = None,
    files: str | Path | None = None,
    artifact_roots: Mapping[str, str | Path] | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import the runs that another tool has recorded under a path. tool: "mlflow", "neptune", "tensorboard" or "wandb".

    Repeat it as often as you like, and after any crash: what is here already is not added again, a source that has grown adds what is
    new, and one that was rewritten is refused and named among the losses.
    experiment: where the runs go, instead of the experiment that the tool names. files: the folder of artifacts, where it does not lie
    beside the path; artifact_roots: {OLD: NEW} for tools that wrote down whole places. progress: called with (source, bytes done, bytes).
    A store behind a URL is brought what was read here, batch by batch.
    Raises NotFound if there is nothing of the tool at the path, Misuse for a tool that cannot be imported, Forbidden if a server lets
    none of it in, StoreDown if it is lost: import again, and it goes on.
    """
    if tool not in READERS:
        raise Misuse(f"{tool!r} cannot be imported", hint=f"choose one of: {', '.join(sorted(READERS))}")
    if experiment is not None:
        check_name("experiment", experiment)
    store = store or current_store()
    top = Path(path).expanduser()
    if not top.exists():
        raise NotFound(f"there is nothing at {top}", hint="give the file or folder that the tool wrote")
    options = Options(
        experiment=experiment or "",
        files=None if files is None else Path(files).expanduser(),
        artifact_roots={old: Path(new).expanduser() for old, new in (artifact_roots or {}).items()},
    )
    if not store.remote:
        store.settle()  # before anything is read: a store that only takes what is logged cannot import
    find: Finder = import_module(READERS[tool]).find
    found = find(top.resolve(), options)
    if not any(found):
        raise NotFound(f"{top} holds nothing that {tool} wrote", hint="docs/importing.md says what each tool's files look like")
    applied = [_keep(store, experiment) for experiment in found.experiments]  # first: a client that asks for its runs makes it a new one
    applied += _apply_all(store, found.sources, progress or silent)
    applied += [_register(store, model, progress or silent) for model in found.models]
    if not store.remote:
        store.settler.catch_up()
    return _report(tool, str(top), applied, [*found.remarks, *_hidden(store, applied)])


def _keep(store: Store, experiment: ForeignExperiment) -> Applied:
    tally, remarks = Tally(), list[Remark]()
    try:
        experiment.keep(store, tally, remarks)
    except (Misuse, Conflict, Refused) as error:
        remarks.append(Remark(f"tags and number of the experiment {experiment.name!r:.60}: {error}", is_loss=True))
    is_new = any(counts.imported for counts in tally.counts.values())
    return Applied(None, tally, remarks, is_unchanged=not is_new and not any(remark.is_loss for remark in remarks))


def _apply_all(store: Store, sources: Sequence[Source], progress: Progress) -> list[Applied]:
    """Apply sources in order; one that cannot be read must not stop those of other runs. Raises Forbidden if none may be imported."""
    applied = []
    left: dict[str, str] = {}  # runs of which a source was not applied, whose sources must come in order; and why
    forbidden: list[Forbidden] = []
    standings = Standings(store, sources)
    for number, source in enumerate(sources):
        run = source.run.digest
        try:
            if run in left:
                raise Conflict(f"{left[run]}: {source.name} was left to it")
            applied.append(apply_source(store, source, progress, standings.of(number)))
        except (Misuse, NotFound, Damaged, Conflict, Refused) as error:
            applied.append(_lost(f"{source.name}: {error if isinstance(error, Forbidden | Refused) else error.message}"))
            if isinstance(error, Conflict):
                left.setdefault(run, "another import is at this run")
            elif isinstance(error, Forbidden | Refused):
                left.setdefault(run, "the next import of this run goes on where it was refused")
            if isinstance(error, Forbidden):
                forbidden.append(error)
        except OSError as error:
            applied.append(_lost(f"{source.name} cannot be read: {error.strerror or error}"))
    if forbidden and all(one.run is None and not one.is_unchanged for one in applied):
        raise forbidden[0]
    return applied


def _lost(text: str) -> Applied:
    return Applied(None, Tally(), [Remark(text, is_loss=True)])


def _register(store: Store, model: ForeignModel, progress: Progress) -> Applied:
    from stratal.interop.registering import register_model  # the registry: only for those who bring models

    tally, remarks = Tally(), list[Remark]()
    try:
        done = register_model(store, model, tally, remarks, progress)
    except (Misuse, NotFound, Damaged, Conflict, Refused) as error:
        return Applied(None, tally, [*remarks, Remark(f"model {model.name}: {error.message}", is_loss=True)])
    except OSError as error:
        return Applied(None, tally, [*remarks, Remark(f"model {model.name} cannot be read: {error.strerror or error}", is_loss=True)])
    tally.add(done.tally)
    return done._replace(tally=tally, remarks=[*remarks, *done.remarks])


def _hidden(store: Store, applied: list[Applied]) -> list[Remark]:
    """Say which of the runs are deleted, there or here, and so are not seen, however complete they are."""
    deleted = set(find_runs("deleted is not null", select="id", store=store).column("id"))
    hidden = list(dict.fromkeys(short(one.run.id) for one in applied if one.run is not None and one.run.id in deleted))
    if not hidden:
        return []
    more = f" and {len(hidden) - MOST_NAMED:,} more" if len(hidden) > MOST_NAMED else ""
    return [Remark(f"deleted, there or here, and so hidden: {', '.join(hidden[:MOST_NAMED])}{more}; stratal restore RUN brings one back")]


def _report(tool: str, path: str, applied: list[Applied], remarks: list[Remark]) -> ImportReport:
    tally = Tally()
    runs: dict[str, ImportedRun] = {}
    for one in applied:
        tally.add(one.tally)
        remarks = remarks + one.remarks
        if one.run is not None:
            runs.setdefault(one.run.id, one.run)
    return ImportReport(
        tool=tool,
        path=path,
        runs=list(runs.values()),
        sources=len(applied),
        unchanged=sum(one.is_unchanged for one in applied),
        counts=dict(sorted(tally.counts.items())),
        remarks=words_of(remarks, losses=False),
        losses=words_of(remarks, losses=True),
    )
