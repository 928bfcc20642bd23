"""Searches: runs out of the indexes, experiments, and the datasets that runs used."""

from collections.abc import Sequence
from functools import partial

from stratal.core.errors import Misuse
from stratal.interop.mlflow.service.calls import Answer, Call, Request, Unnumbered, reads
from stratal.interop.mlflow.service.clauses import Words, asks_active, in_order, page, parse, parse_order, size_asked
from stratal.interop.mlflow.service.errors import invalid, required
from stratal.interop.mlflow.service.experiments import Experiment, shown, to_number
from stratal.interop.mlflow.service.filters import of_stage, read_filter, read_order
from stratal.interop.mlflow.service.heads import run_of
from stratal.interop.mlflow.service.names import ms_of
from stratal.interop.mlflow.service.records import Run
from stratal.interop.mlflow.service.runs import shown as shown_runs
from stratal.interop.mlflow.service.store import experiments as rows
from stratal.interop.mlflow.service.store.experiments import ExperimentRow
from stratal.interop.mlflow.service.store.runs import datasets_of
from stratal.interop.mlflow.service.store.search import MlflowSearching
from stratal.tracking.search import And
from stratal.tracking.store.search import pick_runs

MOST, DEFAULT_RUNS, MOST_EXPERIMENTS, MOST_DATASETS = 50_000, 1000, 20, 1000
_WORDS = Words(
    texts=frozenset({"name", "experiment_id"}),
    numbers=frozenset({"creation_time", "last_update_time"}),
    listed=frozenset({"name", "experiment_id"}),
    entities={"tags": False},
    names={},
)


class SearchRuns(Request, frozen=True, kw_only=True):
    experiment_ids: list[str] | None = None
    filter: str | None = None
    run_view_type: str | int | None = None
    max_results: int | None = None
    order_by: list[str] | None = None
    page_token: str | None = None


class RunsFound(Answer, frozen=True, kw_only=True):
    runs: list[Run] = []
    next_page_token: str | None = None


class SearchExperiments(Request, frozen=True, kw_only=True):
    max_results: int | None = None
    filter: str | None = None
    order_by: list[str] | None = None
    view_type: str | int | None = None
    page_token: str | None = None


class ExperimentsFound(Answer, frozen=True, kw_only=True):
    experiments: list[Experiment] = []
    next_page_token: str | None = None


class SearchDatasets(Request, frozen=True, kw_only=True):
    experiment_ids: list[str] | None = None


class DatasetSummary(Answer, frozen=True, kw_only=True):
    experiment_id: str
    name: str
    digest: str
    context: str = ""


class DatasetsFound(Answer, frozen=True, kw_only=True):
    dataset_summaries: list[DatasetSummary] = []


@reads
def search_runs(call: Call, request: SearchRuns) -> RunsFound:
    """Find runs of experiments that the caller may view."""
    limit = size_asked(request.max_results, DEFAULT_RUNS, MOST)
    conditions = [*read_filter(request.filter, partial(run_of, call)), *of_stage(request.run_view_type)]
    order = read_order(request.order_by)
    viewed = _viewed(call, request.experiment_ids or ())
    if not viewed:
        return RunsFound()
    try:
        found = pick_runs(
            call.tx,
            And(parts=tuple(conditions)),
            order,
            experiments=[row.name for row in viewed],
            limit=limit,
            page=request.page_token or None,
            kind=MlflowSearching,
        )
    except Misuse as error:  # a token that is none
        raise invalid(f"Invalid page token: {error.message}") from None
    return RunsFound(runs=shown_runs(call, found.numbers, viewed), next_page_token=found.next)


@reads
def search_experiments(call: Call, request: SearchExperiments) -> ExperimentsFound:
    """Find experiments that the caller may view."""
    if request.max_results is None:
        raise required("max_results")
    clauses, order = parse(request.filter, _WORDS), parse_order(request.order_by, _WORDS)
    if not call.tx.is_write and (lacking := rows.unnumbered(call.tx)):
        raise Unnumbered(lacking)
    found, visible = rows.every(call.tx), call.visible("experiment")
    active = asks_active(request.view_type, "view_type")
    found = [row for row in found if (visible is None or row.name in visible) and active in (None, row.deleted_ns is None)]
    tags = rows.tags_of(call.tx, [row.id for row in found]) if any(clause.entity == "tags" for clause in clauses) else {}
    for clause in clauses:
        found = [
            row for row in found if clause.holds(tags[row.id].get(clause.key) if clause.entity == "tags" else _attribute(row, clause.key))
        ]
    found = in_order(found, [*order, ("creation_time", False), ("experiment_id", True)], _attribute)
    chosen, token = page(found, max_results=size_asked(request.max_results, MOST, MOST), most=MOST, token=request.page_token)
    return ExperimentsFound(experiments=shown(call, chosen), next_page_token=token)


@reads
def search_datasets(call: Call, request: SearchDatasets) -> DatasetsFound:
    """Say which datasets the runs of experiments used, that the caller may view."""
    ids = request.experiment_ids or ()
    if not 0 < len(ids) <= MOST_EXPERIMENTS:
        said = f"cannot specify more than {MOST_EXPERIMENTS} experiment_ids" if ids else "must specify at least one experiment_id"
        raise invalid(f"SearchDatasets request {said}.")
    return DatasetsFound(
        dataset_summaries=[
            DatasetSummary(experiment_id=str(row.id), name=name, digest=digest, context=context)
            for row in _viewed(call, ids)
            for name, digest, context in datasets_of(call.tx, row.name, MOST_DATASETS)
        ]
    )


def _viewed(call: Call, ids: Sequence[str]) -> list[ExperimentRow]:
    """Give those of these experiments that are there, and that the caller may view."""
    visible = call.visible("experiment")
    found = [rows.by_id(call.tx, number) for number in dict.fromkeys(map(to_number, ids)) if number is not None]
    return [row for row in found if row is not None and (visible is None or row.name in visible)]


def _attribute(row: ExperimentRow, name: str) -> str | int:
    match name:
        case "name":
            return row.name
        case "creation_time":
            return ms_of(row.created_ns)
        case "last_update_time":
            return ms_of(row.changed_ns)
        case _:
            return row.id
