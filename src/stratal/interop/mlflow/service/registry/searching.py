"""Searches over registered models and their versions."""

from stratal.interop.mlflow.service.calls import Answer, Call, Request, reads
from stratal.interop.mlflow.service.clauses import Words, page_at, parse, parse_order, write_token
from stratal.interop.mlflow.service.registry.records import ModelVersion, RegisteredModel, to_model, to_version
from stratal.interop.mlflow.service.store import registered as rows
from stratal.interop.mlflow.service.store import registered_search as finding

MOST_MODELS, MOST_VERSIONS = 1000, 200_000
_TIMES = frozenset(("creation_timestamp", "last_updated_timestamp"))
_OF_MODELS = Words(
    texts=frozenset(("name",)), numbers=_TIMES, listed=frozenset(("name",)), entities={"tags": False},
    names={"timestamp": "last_updated_timestamp"},
)  # fmt: skip
_OF_VERSIONS = Words(
    texts=frozenset(("name", "run_id", "source_path")), numbers=_TIMES | {"version_number"}, listed=frozenset(("name", "run_id")),
    entities={"tags": False}, names={"timestamp": "last_updated_timestamp", "version": "version_number"},
)  # fmt: skip


class SearchModels(Request, frozen=True, kw_only=True):
    filter: str | None = None
    max_results: int = 100
    order_by: list[str] | None = None
    page_token: str | None = None


class SearchVersions(Request, frozen=True, kw_only=True):
    filter: str | None = None
    max_results: int = MOST_VERSIONS
    order_by: list[str] | None = None
    page_token: str | None = None


class FoundModels(Answer, frozen=True, kw_only=True):
    registered_models: list[RegisteredModel] = []
    next_page_token: str | None = None


class FoundVersions(Answer, frozen=True, kw_only=True):
    model_versions: list[ModelVersion] = []
    next_page_token: str | None = None


@reads
def search_models(call: Call, request: SearchModels) -> FoundModels:
    """Find models. Without an order, by name."""
    clauses, order = parse(request.filter, _OF_MODELS), parse_order(request.order_by, _OF_MODELS)
    start, most = page_at(request.page_token, request.max_results, MOST_MODELS)
    found = finding.find_models(call.tx, clauses, order, visible=call.visible("model"), start=start, most=most + 1)
    heads, names = found[:most], [head.model for head in found[:most]]
    newest = rows.newest_by_stage(call.tx, names)
    words = rows.words(call.tx, names, [0, *(row.number for each in newest.values() for row in each)])
    models = [to_model(head, newest[head.model], words) for head in heads]
    return FoundModels(registered_models=models, next_page_token=write_token(start + most) if len(found) > most else None)


@reads
def search_versions(call: Call, request: SearchVersions) -> FoundVersions:
    """Find versions. Without an order, those that changed last come first."""
    clauses, order = parse(request.filter, _OF_VERSIONS), parse_order(request.order_by, _OF_VERSIONS)
    start, most = page_at(request.page_token, request.max_results, MOST_VERSIONS)
    named = next((clause for clause in clauses if (clause.entity, clause.key, clause.operator) == ("attribute", "name", "=")), None)
    head = None if named is None else rows.find_head(call.tx, str(named.value))
    if named is not None and head is None:
        return FoundVersions()
    asked = [clause for clause in clauses if clause is not named]
    only, visible = None if head is None else head.model, call.visible("model")
    found = finding.find_versions(call.tx, asked, order, of=only, visible=visible, start=start, most=most + 1)
    words = rows.words(call.tx, {row.model for _, row in found[:most]}, {row.number for _, row in found[:most]})
    versions = [to_version(name, row, words) for name, row in found[:most]]
    return FoundVersions(model_versions=versions, next_page_token=write_token(start + most) if len(found) > most else None)
