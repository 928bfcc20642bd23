"""Experiments of MLflow: the numbers by which its clients know them, their tags, and whether they lie in the bin."""

from functools import partial

from stratal.interop.foreign import Remark
from stratal.interop.mlflow.operations import MOST_NUMBER, MovedExperiments, texts_to_keep
from stratal.interop.mlflow.records import ExperimentRow, MlflowStore, to_ns
from stratal.interop.mlflow.service.experiments import to_number
from stratal.interop.port import ForeignExperiment
from stratal.interop.report import Tally
from stratal.store.store import Store

DEFAULT = ("0", "Default")  # every store of MLflow has it, and every one of ours: it is worth a word only if somebody tagged it


def find_experiments(store: MlflowStore) -> list[ForeignExperiment]:
    """Give the experiments of which something is to be kept."""
    rows = list(store.experiments())
    last = max((_number_of(row) or 0 for row in rows), default=0)
    return [ForeignExperiment(row.name, partial(_keep, row, last)) for row in rows if (row.id, row.name) != DEFAULT or row.tags]


def deleted_experiments(store: MlflowStore) -> set[str]:
    """Give the names of experiments that are deleted, with all of their runs."""
    rows = list(store.experiments())
    return {row.name for row in rows if row.is_deleted} - {row.name for row in rows if not row.is_deleted}  # of several workspaces


def _number_of(row: ExperimentRow) -> int | None:
    number = to_number(row.id)
    return None if number is None or number > MOST_NUMBER else number


def _keep(row: ExperimentRow, last: int, store: Store, tally: Tally, remarks: list[Remark]) -> None:
    kept = MovedExperiments(store).keep_experiment(
        experiment=row.name, number=_number_of(row), last=last, tags=texts_to_keep(row.tags),
        created_ns=to_ns(row.created_ms, 0), changed_ns=to_ns(row.changed_ms, 0), is_deleted=row.is_deleted,
    )  # fmt: skip
    tally.imported("experiments") if kept.is_new else tally.met("experiments")
    if str(kept.number) != row.id:
        remarks.append(
            Remark(
                f"the experiment {row.name!r:.60} has the number {kept.number} here: {row.id:.30}, which it had there, was taken, or it"
                f" had one here already. Scripts that say {row.id:.30} must say {kept.number}, or the name"
            )
        )
    if row.is_deleted and not kept.is_deleted:
        remarks.append(Remark(f"the experiment {row.name!r:.60} is deleted there, and is not here: nothing was changed"))
