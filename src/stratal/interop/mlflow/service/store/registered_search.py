"""Searches over registered models and versions: filter, order and page in the database, so that one costs what its page holds."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, literal, not_, or_, select

from stratal.interop.mlflow.service.clauses import Clause
from stratal.interop.mlflow.service.store.registered import (
    CHANGED,
    NAMED,
    SELECT_VERSIONS,
    Head,
    VersionRow,
    heads_of,
    to_version_row,
)
from stratal.interop.tables import mlflow_model as shown
from stratal.interop.tables import mlflow_tag as tag
from stratal.interop.tables import mlflow_version as said
from stratal.registry.tables import model, standing, version
from stratal.store.database import Transaction
from stratal.tracking.store.dialects import among_texts, bytewise, latest, matches

Order = Sequence[tuple[str, bool]]

PROMPT = "mlflow.prompt.is_prompt"
_MS = 1_000_000
_other = shown.alias("other_model")
# Of two models of one name, clients see the one that they gave it to.
_SEEN = or_(shown.c.name.is_not(None), and_(shown.c.model.is_(None), ~exists().where(_other.c.name == model.c.name)))
_MODELS = select(model.c.name).join_from(model, shown, shown.c.model == model.c.name, isouter=True).where(_SEEN)
_VERSIONS = (
    SELECT_VERSIONS.join(model, model.c.name == version.c.model).join(shown, shown.c.model == model.c.name, isouter=True).where(_SEEN)
)
_source = func.coalesce(func.nullif(said.c.source, ""), literal("runs:/") + version.c.run + literal("/") + version.c.path)
_run = case((func.coalesce(said.c.source, "") != "", said.c.run), else_=version.c.run)
_updated = latest(version.c.at_ns, standing.c.since_ns, func.coalesce(said.c.updated_ns, 0))
_OF_MODELS: dict[str, ColumnElement[Any]] = {
    "name": bytewise(NAMED), "creation_timestamp": model.c.at_ns // _MS,
    "last_updated_timestamp": latest(model.c.at_ns, func.coalesce(shown.c.updated_ns, 0), func.coalesce(CHANGED, 0)) // _MS,
}  # fmt: skip
_OF_VERSIONS: dict[str, ColumnElement[Any]] = {
    "name": bytewise(NAMED), "run_id": bytewise(_run), "source_path": bytewise(_source), "version_number": version.c.number,
    "creation_timestamp": func.coalesce(said.c.stated_ns, version.c.at_ns) // _MS, "last_updated_timestamp": _updated // _MS,
}  # fmt: skip


def find_models(
    tx: Transaction, clauses: Sequence[Clause], order: Order, *, visible: Collection[str] | None, start: int, most: int
) -> list[Head]:
    """Give models that clauses let pass, from the `start`-th on, at most so many; ties by name."""
    statement = _MODELS.where(*_conditions(clauses, _OF_MODELS, model.c.name, literal(0)), *_among(model.c.name, visible))
    statement = statement.order_by(*_sorted([*order, ("name", True)], _OF_MODELS)).limit(most).offset(start)
    return heads_of(tx, [name for (name,) in tx.rows(statement)])


def find_versions(
    tx: Transaction, clauses: Sequence[Clause], order: Order, *, of: str | None, visible: Collection[str] | None, start: int, most: int
) -> list[tuple[str, VersionRow]]:
    """Give versions that clauses let pass, with their models' names, from the `start`-th on, at most so many; ties by name, newest first.

    of: only those of this model, by its name in the registry."""
    statement = _VERSIONS.add_columns(NAMED).where(
        *_conditions(clauses, _OF_VERSIONS, version.c.model, version.c.number), *_among(version.c.model, visible)
    )
    if of is not None:
        statement = statement.where(version.c.model == of)
    order = order or [("last_updated_timestamp", False)]
    statement = statement.order_by(*_sorted([*order, ("name", True), ("version_number", False)], _OF_VERSIONS)).limit(most).offset(start)
    return [(row[-1], to_version_row(row[:-1])) for row in tx.rows(statement)]


def _among(column: ColumnElement[str], visible: Collection[str] | None) -> list[ColumnElement[bool]]:
    return [] if visible is None else [among_texts(column, visible)]


def _sorted(order: Order, columns: dict[str, ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    keys: dict[str, ColumnElement[Any]] = {}
    for key, ascends in order:  # what is said again decides nothing
        keys.setdefault(key, columns[key].asc() if ascends else columns[key].desc())
    return list(keys.values())


def _conditions(
    clauses: Sequence[Clause], columns: dict[str, ColumnElement[Any]], of: ColumnElement[str], number: ColumnElement[int]
) -> list[ColumnElement[bool]]:
    return [_holds(clause, columns[clause.key]) if clause.entity == "attribute" else _of_tag(clause, of, number) for clause in clauses]


def _of_tag(clause: Clause, of: ColumnElement[str], number: ColumnElement[int]) -> ColumnElement[bool]:
    """A tag that is missing matches nothing but IS NULL; only that something is no prompt, nothing says of itself."""
    there = exists().where(tag.c.model == of, tag.c.number == number, tag.c.key == clause.key)
    if clause.operator == "IS NULL":
        return not_(there)
    if clause.operator == "IS NOT NULL":
        return there
    holds = there.where(_holds(clause, bytewise(tag.c.value)))
    if clause.key == PROMPT and (clause.operator, clause.value) in (("!=", "true"), ("=", "false")):
        return or_(holds, not_(there))
    return holds


def _holds(clause: Clause, column: ColumnElement[Any]) -> ColumnElement[bool]:
    value = clause.value
    match clause.operator:
        case "IN" | "NOT IN":
            assert isinstance(value, tuple)
            found = among_texts(column, value)
            return found if clause.operator == "IN" else not_(found)
        case "LIKE" | "ILIKE":
            return matches(column, str(value), has_case=clause.operator == "LIKE")
    related: ColumnElement[bool] = {
        "=": column.__eq__, "!=": column.__ne__, "<": column.__lt__, "<=": column.__le__, ">": column.__gt__, ">=": column.__ge__,
    }[clause.operator](value)  # fmt: skip
    return related
