"""Edges as they are stored, and which runs hold a file of some content."""

from sqlalchemy import Text, and_, bindparam, literal, select

from stratal.core.ids import RunId, is_id, to_bytes
from stratal.store.database import Transaction
from stratal.store.tables import run
from stratal.tracking.lineage import Edge
from stratal.tracking.store.runs import find_record
from stratal.tracking.store.seeing import seen
from stratal.tracking.tables import artifact, edge

_EDGES = select(run.c.id, edge.c.verb, edge.c.target, edge.c.role).join_from(edge, run, run.c.no == edge.c.run)
_PARENT = select(run.c.parent).where(run.c.id == bindparam("run_id"))
_OF_RUN = _EDGES.where(run.c.id == bindparam("run_id")).order_by(edge.c.at_ns, edge.c.target)
_AT_TARGET = _EDGES.where(edge.c.target == bindparam("at")).order_by(edge.c.at_ns, run.c.id)
_HOLDING = (
    select(run.c.id, artifact.c.path)
    .join_from(artifact, run, run.c.no == artifact.c.run)
    .where(artifact.c.digest == bindparam("of_digest"))
    .order_by(artifact.c.at_ns, run.c.id)
    .limit(20)
)
_used = edge.alias("used_edge")
_FILES_USED = (
    select(artifact.c.digest, artifact.c.path)
    .distinct()
    .join_from(artifact, run, run.c.no == artifact.c.run)
    .join(_used, and_(_used.c.target == literal("sha256:", Text()) + artifact.c.digest, _used.c.verb == "used", _used.c.run != run.c.no))
    .where(run.c.id == bindparam("run_id"))
    .order_by(artifact.c.path)
)
_FOLDERS_USED = (
    select(edge.c.target)
    .distinct()
    .where(edge.c.target > bindparam("first"), edge.c.target < bindparam("past"), edge.c.verb == "used")
    .order_by(edge.c.target)
)


def edges_of_run(tx: Transaction, run_id: str) -> list[Edge]:
    """List what a run used and produced, in order of time."""
    return [_edge(row) for row in tx.rows(seen(tx, _OF_RUN), run_id=to_bytes(run_id))]


def used_artifacts_of(tx: Transaction, run_id: str) -> list[Edge]:
    """List, as produced by this run, those of its files and folders that other runs use."""
    files = [(f"sha256:{digest}", path) for digest, path in tx.rows(seen(tx, _FILES_USED), run_id=to_bytes(run_id))]
    folders = [(target, "folder") for (target,) in tx.rows(_FOLDERS_USED, first=f"artifact:{run_id}/", past=f"artifact:{run_id}0")]
    return [Edge(run=run_id, verb="produced", target=target, role=f"artifact {path}") for target, path in files + folders]


def parent_of(tx: Transaction, run_id: str) -> RunId | None:
    """Give the run that a run is part of."""
    parent = tx.value(seen(tx, _PARENT), run_id=to_bytes(run_id))
    return RunId(bytes(parent).hex()) if parent else None


def edges_at(tx: Transaction, target: str) -> list[Edge]:
    """List the edges that name a target, as it is written."""
    return [_edge(row) for row in tx.rows(seen(tx, _AT_TARGET), at=target)]


def runs_holding(tx: Transaction, digest: str) -> list[tuple[RunId, str]]:
    """List at most 20 (run, path) of artifacts with that content, the oldest first."""
    return [(RunId(bytes(id).hex()), path) for id, path in tx.rows(seen(tx, _HOLDING), of_digest=digest)]


def may_name(tx: Transaction, target: str) -> bool:
    """Tell whether whoever reads may be told of a target. Runs and what is theirs, and models, have rights of their own; of others'
    data the name only is told, by whoever used it."""
    kind, _, name = target.partition(":")
    if kind in ("run", "artifact"):
        id = name.partition("/")[0]
        return tx.sees is None or not is_id(id) or find_record(tx, id) is not None
    return kind != "model" or tx.may_view is None or tx.may_view(f"model:{name.partition('@')[0]}")


def _edge(row: tuple[bytes, str, str, str]) -> Edge:
    id, verb, target, role = row
    return Edge(run=bytes(id).hex(), verb=verb, target=target, role=role)
