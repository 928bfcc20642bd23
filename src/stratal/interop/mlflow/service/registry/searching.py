"""Searches over registered models and their versions."""

from collections.abc import Mapping, Sequence

from stratal.interop.mlflow.service.calls import Answer, Call, Request, reads
from stratal.interop.mlflow.service.clauses import Clause, Value, Words, in_order, page, parse, parse_order
from stratal.interop.mlflow.service.registry.models import PROMPT
from stratal.interop.mlflow.service.registry.records import ModelVersion, RegisteredModel, to_model, to_version
from stratal.interop.mlflow.service.store import registered as rows
from stratal.interop.mlflow.service.store.registered import Head, VersionRow

MOST_MODELS, MOST_VERSIONS = 1000, 200_000
NOTHING = rows.Words({}, {}, {})
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
    visible, words = call.visible("model"), rows.words(call.tx)
    heads = [
        head
        for head in rows.heads(call.tx)
        if (visible is None or head.model in visible)
        and all(_holds(clause, _of_head(head, clause.key), words.tags.get((head.model, 0), {})) for clause in clauses)
    ]
    found, token = page(
        in_order(heads, [*order, ("name", True)], _of_head), max_results=request.max_results, most=MOST_MODELS, token=request.page_token
    )
    models = [to_model(head, rows.newest_by_stage(call.tx, head.model), words) for head in found]
    return FoundModels(registered_models=models, next_page_token=token)


@reads
def search_versions(call: Call, request: SearchVersions) -> FoundVersions:
    """Find versions. Without an order, those that changed last come first."""
    clauses, order = parse(request.filter, _OF_VERSIONS), parse_order(request.order_by, _OF_VERSIONS)
    visible, named = call.visible("model"), _named(clauses)
    heads = {head.model: head for head in _heads(call, named) if visible is None or head.model in visible}
    only = next(iter(heads)) if len(heads) == 1 else None
    asked = [clause for clause in clauses if clause is not named]
    words = rows.words(call.tx, only) if any(clause.entity == "tags" and clause.key != PROMPT for clause in asked) else NOTHING

    def value(row: VersionRow, key: str) -> Value:
        return _of_version(row, heads[row.model].name, key)

    matching = [
        row
        for row in (rows.all_versions(call.tx) if only is None else rows.versions_of(call.tx, only))
        if row.model in heads
        and all(_holds(clause, value(row, clause.key), words.tags.get((row.model, row.number), {})) for clause in asked)
    ]
    matching.sort(key=lambda row: (-(row.updated_ns // 1_000_000), heads[row.model].name, -row.number))
    found, token = page(in_order(matching, order, value), max_results=request.max_results, most=MOST_VERSIONS, token=request.page_token)
    words = rows.words(call.tx, only, [row.number for row in found] if len(found) <= MOST_MODELS else None)
    return FoundVersions(model_versions=[to_version(heads[row.model].name, row, words) for row in found], next_page_token=token)


def _named(clauses: Sequence[Clause]) -> Clause | None:
    """Give the clause that names the one model, if there is one."""
    return next((clause for clause in clauses if (clause.entity, clause.key, clause.operator) == ("attribute", "name", "=")), None)


def _heads(call: Call, named: Clause | None) -> list[Head]:
    """Give the models that may hold what is asked for: the one that is named, else all."""
    if named is None:
        return rows.heads(call.tx)
    head = rows.find_head(call.tx, str(named.value))
    return [] if head is None else [head]


def _holds(clause: Clause, attribute: Value, tags: Mapping[str, str]) -> bool:
    if clause.entity == "attribute":
        return clause.holds(attribute)
    if clause.key == PROMPT and PROMPT not in tags:  # every client asks for what is no prompt, and models do not say that they are none
        return (clause.operator, clause.value) in (("!=", "true"), ("=", "false"), ("IS NULL", None))
    return clause.holds(tags.get(clause.key))


def _of_head(head: Head, key: str) -> Value:
    match key:
        case "creation_timestamp":
            return head.at_ns // 1_000_000
        case "last_updated_timestamp":
            return head.updated_ns // 1_000_000
        case _:
            return head.name


def _of_version(row: VersionRow, name: str, key: str) -> Value:
    match key:
        case "version_number":
            return row.number
        case "creation_timestamp":
            return row.at_ns // 1_000_000
        case "last_updated_timestamp":
            return row.updated_ns // 1_000_000
        case "run_id":
            return row.run if row.source else row.home
        case "source_path":
            return row.source or f"runs:/{row.home}/{row.path}"
        case _:
            return name
