"""Filters and orders over runs: MLflow's language, as conditions of ours.

What MLflow's clients call a tag may have a place of its own here (name, user, code, parent), and is looked for there.
"""

import re
from collections.abc import Callable, Sequence

from stratal.interop.mlflow.service.clauses import Clause, Words, asks_active, parse
from stratal.interop.mlflow.service.errors import invalid
from stratal.interop.mlflow.service.store.search import ARTIFACTS, ENDED_MS, HELD_IN, STARTED_MS, STATUS
from stratal.interop.mlflow.service.tags import HELD, NAME, PARENT, USER
from stratal.tracking.former_ids import TAG
from stratal.tracking.search import And, Compare, Condition, In, Key, Like, Null, Or, OrderKey
from stratal.tracking.search.grammar import MOST_VALUES

_WORDS = Words(
    texts=frozenset({"run_id", "run_name", "status", "user_id", "artifact_uri"}),
    numbers=frozenset({"start_time", "end_time"}),
    listed=frozenset({"run_id", "datasets.name", "datasets.digest", "datasets.context"}),
    entities={"params": False, "tags": False, "metrics": True, "datasets": False},
    names={
        "run name": "run_name", "Run name": "run_name", "Run Name": "run_name", "name": "run_name", "created": "start_time",
        "Created": "start_time",
    },
)  # fmt: skip
_COLUMNS = {
    "run_id": "id", "run_name": "name", "user_id": "user", "status": STATUS, "artifact_uri": ARTIFACTS, "start_time": STARTED_MS,
    "end_time": ENDED_MS,
}  # fmt: skip
# For orders: as they are stored, out of the index where there is one.
_SORTED = {**_COLUMNS, "start_time": "started", "end_time": "ended"}
_TRUTHS = {"True": True, "False": False}
_ORDER = re.compile(r"\s*(?:([A-Za-z]+)\s*\.\s*)?(`[^`]+`|\"[^\"]+\"|\S+)(?:\s+(ASC|DESC))?\s*", re.IGNORECASE | re.DOTALL)
_IN_URI = re.compile(r"[0-9a-f]{32}(?=/artifacts$)")
_DELETED = Key(entity="attributes", name="deleted")
MOST_CLAUSES, MOST_ORDERS = 50, 20


def read_filter(text: str | None, run_of: Callable[[str], str]) -> list[Condition]:
    """Read a filter, as conditions that all hold. run_of: gives our id of a run by any of its ids. Raises MlflowError that says what
    is wrong."""
    clauses = parse(text, _WORDS)
    if len(clauses) > MOST_CLAUSES:
        raise invalid(f"Invalid filter: it has {len(clauses)} clauses, and at most {MOST_CLAUSES} are read")
    values = sum(len(clause.value) for clause in clauses if isinstance(clause.value, tuple) and clause.key != "run_id")
    if values > MOST_VALUES:
        raise invalid(f"Invalid filter: its lists hold {values:,} values besides ids of runs, and at most {MOST_VALUES} are read")
    return [_condition(clause, run_of) for clause in clauses]


def read_order(order_by: Sequence[str] | None) -> tuple[OrderKey, ...]:
    """Read an order. Raises MlflowError that says what is wrong."""
    keys = [_order_key(text) for text in order_by or ()]
    if len(keys) > MOST_ORDERS:
        raise invalid(f"Invalid order_by: it has {len(keys)} keys, and at most {MOST_ORDERS} are read")
    newest = [OrderKey(key=Key(entity="attributes", name="started"), is_descending=True)]
    by_id = OrderKey(key=Key(entity="attributes", name="id"))
    return () if keys in (newest, [*newest, by_id]) else tuple(keys)  # which is the order that there is without one


def of_stage(view_type: str | int | None) -> list[Condition]:
    """Give the conditions of a view: runs that are active, deleted, or all."""
    active, deleted = asks_active(view_type, "run_view_type"), Null(key=_DELETED, is_negated=True)
    if active is None:
        return [Or(parts=(Null(key=_DELETED), deleted))]
    return [] if active else [deleted]


def _condition(clause: Clause, run_of: Callable[[str], str]) -> Condition:
    match clause.entity:
        case "attribute" if clause.key == "run_id":
            return _of_run(clause, run_of)
        case "attribute" if clause.key == "artifact_uri" and clause.operator in ("=", "!="):
            uri = _IN_URI.sub(lambda found: run_of(found[0]), str(clause.value))
            return _compare(Key(entity="attributes", name=ARTIFACTS), clause._replace(value=uri))
        case "attribute":
            return _compare(Key(entity="attributes", name=_COLUMNS[clause.key]), clause)
        case "datasets":
            if clause.key not in ("name", "digest", "context") or clause.operator.startswith("IS"):
                raise invalid(f"Invalid dataset clause: {clause.key[:60]!r} {clause.operator}. Valid keys are name, digest, context")
            return _compare(Key(entity="datasets", name=clause.key), clause)
        case "tags":
            return _of_tag(clause, run_of)
        case "metrics" if clause.operator.startswith("IS"):
            raise invalid(f"Invalid comparator '{clause.operator}' for the metric {clause.key[:60]!r}")
        case _:
            return _compare(Key(entity=clause.entity, name=clause.key), clause)


def _of_run(clause: Clause, run_of: Callable[[str], str]) -> Condition:
    """Of what is alike only, the id that a run had in MLflow is another text than ours."""
    ours = _compare(Key(entity="attributes", name="id"), _ours(clause, run_of))
    if clause.operator in ("LIKE", "ILIKE"):
        return Or(parts=(ours, _compare(Key(entity="tags", name=TAG), clause)))
    return ours


def _ours(clause: Clause, run_of: Callable[[str], str]) -> Clause:
    """Give a clause on our ids."""
    if isinstance(clause.value, tuple):
        return clause._replace(value=tuple(map(run_of, clause.value)))
    return clause._replace(value=run_of(str(clause.value))) if clause.operator in ("=", "!=") else clause


def _of_tag(clause: Clause, run_of: Callable[[str], str]) -> Condition:
    tag = Key(entity="tags", name=clause.key)
    if clause.key == PARENT:
        parent = Key(entity="attributes", name="parent")
        both = (_compare(tag, clause), _compare(parent, _ours(clause, run_of)))
        return And(parts=both) if clause.operator == "IS NULL" else Or(parts=both)
    own = {NAME: "name", USER: "user", **{name: f"{HELD_IN}{member}" for name, member in HELD.items()}}
    return _compare(Key(entity="attributes", name=own[clause.key]) if clause.key in own else tag, clause)


def _compare(key: Key, clause: Clause) -> Condition:
    value = clause.value
    match clause.operator:
        case "IS NULL" | "IS NOT NULL":
            return Null(key=key, is_negated=clause.operator == "IS NOT NULL")
        case "IN" | "NOT IN":
            assert isinstance(value, tuple)
            return In(key=key, values=value, is_negated=clause.operator == "NOT IN")
        case "LIKE" | "ILIKE":
            return Like(key=key, pattern=str(value), has_case=clause.operator == "LIKE")
    assert isinstance(value, str | int | float)
    if key.entity == "params" and isinstance(value, str):
        value = _TRUTHS.get(value, value)
    return Compare(key=key, op=clause.operator, value=value)


def _order_key(text: str) -> OrderKey:
    found = _ORDER.fullmatch(text)
    if found is None or not text.strip():
        raise invalid(f"Invalid order_by clause {text[:200]!r}: write a key, and ASC or DESC behind it")
    entity, name = (found[1] or "attribute").lower(), found[2].strip()
    name = name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in '`"' else name
    is_descending = (found[3] or "ASC").upper() == "DESC"
    if entity in ("attribute", "attributes", "attr", "run"):
        name = _WORDS.names.get(name, name)
        if name not in _SORTED:
            raise invalid(f"Invalid order_by key {name[:200]!r} specified. Valid keys are {', '.join(sorted(_SORTED))}, and metrics.NAME")
        return OrderKey(key=Key(entity="attributes", name=_SORTED[name]), is_descending=is_descending)
    entity = {"metric": "metrics", "param": "params", "parameter": "params", "parameters": "params", "tag": "tags"}.get(entity, entity)
    if entity not in ("metrics", "params", "tags"):
        raise invalid(f"Invalid order_by clause {text[:200]!r}: {entity[:60]!r} is no entity; use metrics, params, tags or attributes")
    if entity == "tags" and name in (NAME, USER):
        return OrderKey(key=Key(entity="attributes", name={NAME: "name", USER: "user"}[name]), is_descending=is_descending)
    return OrderKey(key=Key(entity=entity, name=name), is_descending=is_descending)
