"""The verb: export runs into a folder, as tables or as a store of MLflow."""

from collections.abc import Sequence
from pathlib import Path

from stratal.core.clock import to_utc
from stratal.core.errors import Misuse, NotFound
from stratal.core.records import Record
from stratal.interop.exporting.choosing import choosing
from stratal.interop.exporting.mlflow import MlflowWriting
from stratal.interop.exporting.placing import Manifest, check_place, placed, write_manifest
from stratal.interop.exporting.writing import TABLE_FORMATS, Progress, TableWriting
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.version import __version__

FORMATS = (*TABLE_FORMATS, "mlflow")


class Export(Record, frozen=True, kw_only=True):
    """What was exported. tables: name to number of rows. artifact_files: None if they were not asked for.

    losses: what has no place in the format, and how often; nothing is lost in tables."""

    path: str
    format: str
    runs: int
    tables: dict[str, int]
    artifact_files: int | None
    losses: dict[str, int]


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
    """Export runs into a new folder: tables as Parquet, CSV or JSON lines, with all that is known of them; or a store of MLflow.

    st.export_runs("out", "metrics.auc > 0.9", experiment="churn", format="csv")

    artifacts: copy the files of artifacts too. force: replace an older export at that place. The folder appears when all of it
    is written; memory does not grow with it. What is exported of a store that lies here is one moment of it; of a server's store it is what
    you may view, and what came while it was read may be in it or not.
    Raises Misuse for a filter, format or place that cannot be, NotFound if no run passes the filter, StoreDown if a server is lost."""
    store = store or current_store()
    if format not in FORMATS:
        raise Misuse(f"there is no format {format!r}", hint=f"choose one of: {', '.join(FORMATS)}")
    target = Path(path).resolve()
    check_place(target, force=force)
    experiments = [experiment] if isinstance(experiment, str) else None if experiment is None else list(experiment)
    made = to_utc(store.clock.now_ns()).isoformat()
    with choosing(store, where, experiments) as chosen:
        if not chosen.count:
            what = "no run passes the filter" if where or experiments else f"there is no run in {store.url}"
            raise NotFound(f"{what}; nothing was written", hint="see what is there with `stratal runs`")
        with placed(target, force=force) as folder:
            if format == "mlflow":
                written = MlflowWriting(chosen, folder, target, artifacts=artifacts).run(progress or _quietly)
            else:
                written = TableWriting(chosen, folder, format, artifacts=artifacts).run(progress or _quietly)
            manifest = Manifest(
                format=format, stratal=__version__, made=made, where=where, experiments=experiments,
                runs=written.tables["runs"], tables=written.tables, artifact_files=written.artifact_files, losses=written.losses,
            )  # fmt: skip
            write_manifest(folder, manifest)
    return Export(
        path=str(path), format=format, runs=written.tables["runs"], tables=written.tables, artifact_files=written.artifact_files,
        losses=written.losses,
    )  # fmt: skip


def _quietly(_done: int, _all: int) -> None:
    """Tell nobody."""
