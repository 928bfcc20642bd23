"""What a store of MLflow holds, as sources: per run its state, its notes and its metrics; and its registered models."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from stratal.core.errors import Damaged
from stratal.interop.foreign import ForeignId, Remark
from stratal.interop.importing import Options
from stratal.interop.mlflow.database import SqliteStore
from stratal.interop.mlflow.experiments import deleted_experiments, find_experiments
from stratal.interop.mlflow.folder import FolderStore
from stratal.interop.mlflow.logged import ModelHome, sources_of
from stratal.interop.mlflow.meaning import NOTE, RunState, note_of
from stratal.interop.mlflow.models import find_models
from stratal.interop.mlflow.places import Places
from stratal.interop.mlflow.records import MlflowStore, RunRow
from stratal.interop.port import ForeignModel, Found, Source

# Folders that MLflow puts artifacts into, beside a database.
_BESIDE = ("", "mlruns", "mlartifacts", "artifacts")
PARENT = "mlflow.parentRunId"


def find(path: Path, options: Options) -> Found:
    """Find what a store holds. path: `mlruns/` or a folder with it or a database in it, or the database."""
    place = _store_in(path)
    if place is None:
        return Found([], [])
    store: MlflowStore = FolderStore(place) if place.is_dir() else SqliteStore(place)
    top = place if place.is_dir() else place.parent
    beside = [top / name for name in _BESIDE] + ([options.files] if options.files else [])
    places = Places(beside, options.artifact_roots)
    if place.is_dir() and (database := _database_beside(path)):
        store.remarks.append(Remark(f"{database} is another store, and was not read: import it by its own path"))
    rows = {row.id: row for row in store.runs()}
    gone = set[str]() if options.experiment else deleted_experiments(store)
    parents: dict[str, str] = {}
    sources: dict[str, list[Source]] = {}
    for row in rows.values():
        try:
            tags = store.tags(row)
            state = RunState(
                store, row, places, parent=_foreign(store, rows.get(tags.get(PARENT, ""))), experiment=options.experiment,
                goes_with_experiment=row.experiment in gone,
            )  # fmt: skip
            sources[row.id] = _sources(store, row, tags, state)
            parents[row.id] = tags.get(PARENT, "")
        except (Damaged, OSError) as error:
            store.remarks.append(Remark(f"run {row.id} cannot be read: {error}", is_loss=True))
    models: list[ForeignModel] = []
    loose: list[Source] = []
    try:
        loose += [ModelHome(store, model, places, options.experiment) for model in store.loose_models(rows)]
        models = find_models(store, rows, places, options.experiment)
    except (Damaged, OSError) as error:
        store.remarks.append(Remark(f"models cannot be read: {error}", is_loss=True))
    ordered = [source for id in parents_first(parents) for source in sources[id]]
    experiments = [] if options.experiment else find_experiments(store)  # one that the user names is their own
    return Found([*ordered, *loose], [*store.remarks, *_remark_missing(rows.values(), places)], models, experiments)


def parents_first(parents: Mapping[str, str]) -> list[str]:
    """Order ids so that each comes after its parent, and else as they are. parents: id to that of its parent, '' for none."""
    ordered: dict[str, None] = {}
    for id in parents:
        at, chain = id, dict[str, None]()
        while at in parents and at not in ordered and at not in chain:  # the last: a stranger may have made a ring
            chain[at] = None
            at = parents[at]
        ordered.update(dict.fromkeys(reversed(chain)))
    return list(ordered)


def _foreign(store: MlflowStore, row: RunRow | None) -> ForeignId | None:
    return None if row is None else row.foreign(store.kind)


def _sources(store: MlflowStore, row: RunRow, tags: Mapping[str, str], state: RunState) -> list[Source]:
    run = row.foreign(store.kind)
    notes = [note_of(run, tags[NOTE])] if tags.get(NOTE) else []
    return [state, *sources_of(store, row), *notes, *store.metrics(row)]


def _store_in(path: Path) -> Path | None:
    """Give the folder store or the database under a path, None if there is none."""
    if path.is_file():
        with path.open("rb") as file:
            return path if file.read(16) == b"SQLite format 3\0" else None
    for folder in (path, path / "mlruns"):
        if any((each / "meta.yaml").exists() for each in folder.glob("*") if each.is_dir()):
            return folder
    return _database_beside(path)


def _database_beside(path: Path) -> Path | None:
    database = path / "mlflow.db"
    return database if database.is_file() else None


def _remark_missing(rows: Iterable[RunRow], places: Places) -> list[Remark]:
    """Say for which experiments no artifacts were found, once for those that were to be at one place. A run without files has no folder,
    so one alone says nothing."""
    missing: dict[str, str] = {}
    found: set[str] = set()
    for row in rows:
        if places.find(row.artifact_uri, row.id) is not None:
            found.add(row.experiment)
        elif row.artifact_uri:
            missing.setdefault(row.experiment, row.artifact_uri)
    by_root: dict[str, dict[str, str]] = {}
    for experiment, place in missing.items():
        if experiment not in found:
            by_root.setdefault("/".join(place.split("/")[:-3]), {})[experiment] = place  # without NUMBER/RUN/artifacts
    return [
        Remark(
            f"no run of {_few(places)} has artifacts here; if any had some, they were to be at {next(iter(places.values())):.300}"
            " (--artifact-root OLD=NEW says where that is here)"
        )
        for places in by_root.values()
    ]


def _few(names: Collection[str]) -> str:
    some = ", ".join(f"{name!r:.60}" for name in list(names)[:3])
    return some if len(names) <= 3 else f"{some} and {len(names) - 3} more"
