"""Rows of forks: what a run says that a fork inherits by value, and the fork's own row, which names the points it shares."""

from sqlalchemy import bindparam, update

from stratal.core.ids import RunId, new_id, to_bytes
from stratal.store.database import Transaction
from stratal.store.latest import rebuild
from stratal.store.names import ensure_run, find_run
from stratal.store.store import Store
from stratal.store.tables import run
from stratal.tracking.facts import EdgeFact, Scalar, Start, params_from_json, to_params
from stratal.tracking.store.runs import RunRecord, get_record, join
from stratal.tracking.store.settling import TrunkFacts, add_edge, merge_doc

# The role of the edge from a fork to the run that it goes on from.
ROLE = "fork"

_POINT_AT = (
    update(run)
    .where(run.c.no == bindparam("run_no"))
    .values(fork_of=bindparam("of_id"), fork_step=bindparam("at_step"), fork_epoch=bindparam("at_epoch"))
)
_WAIT = update(run).where(run.c.no == bindparam("run_no")).values(status="stopped", ended_ns=bindparam("at_ns"))


def said_of(tx: Transaction, record: RunRecord) -> tuple[dict[str, Scalar], dict[str, str]]:
    """Give the params and tags of a run as they were said."""
    params, tags = record.doc.get("params"), record.doc.get("tags")
    said = to_params(params_from_json(params if isinstance(params, dict) else {}))
    return said, dict(tags) if isinstance(tags, dict) else {}


def insert_fork(tx: Transaction, store: Store, start: Start, of: RunId, step: int, *, is_open: bool) -> RunId:
    """Make a run that goes on from another one's points before a step, as they count in its present epoch."""
    id = new_id(store.clock)
    made = ensure_run(tx, to_bytes(id))
    origin = get_record(tx, of)
    tx.run(_POINT_AT, run_no=made.no, of_id=to_bytes(of), at_step=step, at_epoch=origin.epoch)
    TrunkFacts().start(tx, made, start, at_ns=tx.now_ns, epoch=0, names=store.settler.names)
    if isinstance(definitions := origin.doc.get("definitions"), dict):  # of its metrics; what the fork says itself comes after
        merge_doc(tx, made.no, "definitions", {name: {**said, "epoch": 0, "at_ns": 0} for name, said in definitions.items()})
    add_edge(tx, made.no, EdgeFact(verb="used", target=f"run:{of}", role=ROLE), at_ns=tx.now_ns)
    if is_open:
        join(tx, store, id)
    else:
        tx.run(_WAIT, run_no=made.no, at_ns=tx.now_ns)
    row = find_run(tx, made.id)
    assert row is not None
    rebuild(tx, row)
    tx.emit("run", id)
    return id
