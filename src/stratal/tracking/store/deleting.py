"""Rows of runs that are deleted, restored, or purged; and what still needs a run."""

from collections.abc import Collection, Sequence

from sqlalchemy import Text, and_, bindparam, delete, literal, select

from stratal.core.ids import RunId, short, to_bytes
from stratal.store.database import Transaction, insert
from stratal.store.files.blobs import Digest
from stratal.store.proofs import claims_of, is_claimed
from stratal.store.quotas.counting import count_purge
from stratal.store.tables import blob_use, block, chunk, deletion, epoch, kept_fact, lost_run, metric, participant, run, tombstone
from stratal.store.uses import drop_uses, holders_of, uses_of
from stratal.tracking.store.seeing import experiments_of, seen
from stratal.tracking.tables import artifact, edge, media, note, param, statement, tag, word

_DELETE = insert(deletion).on_conflict_do_nothing()
_RESTORE = delete(deletion).where(deletion.c.run == bindparam("run_no"))
_BURY = insert(tombstone).on_conflict_do_nothing()
_CHILDREN = select(run.c.id).where(run.c.parent == bindparam("of_id")).order_by(run.c.no)
_OF_EXPERIMENT = select(run.c.id).where(run.c.experiment == bindparam("of_experiment")).order_by(run.c.no)
_DELETED = (
    select(run.c.id).join_from(deletion, run, run.c.no == deletion.c.run).where(deletion.c.at_ns <= bindparam("before")).order_by(run.c.no)
)
_FORKS = select(run.c.id).where(run.c.fork_of == bindparam("of_id"))
_USERS = (
    select(run.c.id)
    .join_from(edge, run, run.c.no == edge.c.run)
    .where(edge.c.target == bindparam("at_ref"), edge.c.verb == "used")
    .distinct()
)
_other = blob_use.alias("other_use")
# Versions of models whose files this run saved, or of which it states something that gates read.
_MODELS_MADE = (
    select(_other.c.holder)
    .join_from(blob_use, _other, _other.c.digest == blob_use.c.digest)
    .where(blob_use.c.holder == bindparam("as_holder"), _other.c.holder.like("model:%"))
    .distinct()
)
_MODELS_JUDGED = (
    select(_other.c.holder)
    .join_from(
        statement, _other, and_(statement.c.subject == literal("sha256:", Text()) + _other.c.digest, _other.c.holder.like("model:%"))
    )
    .where(statement.c.run == bindparam("run_no"))
    .distinct()
)
_BY_NO = [
    delete(table).where(table.c.run == bindparam("run_no"))
    for table in (metric, block, chunk, epoch, deletion, param, tag, note, word, artifact, media, edge, statement)
]
_BY_ID = [delete(table).where(table.c.run == bindparam("run_id")) for table in (participant, kept_fact, lost_run)]
_EXPERIMENT = select(run.c.experiment).where(run.c.no == bindparam("run_no"))
_ROW = delete(run).where(run.c.no == bindparam("run_no"))


def mark_deleted(tx: Transaction, no: int, at_ns: int | None = None) -> bool:
    """Hide a run; False if it was hidden already. at_ns: when, None: now."""
    return tx.run(_DELETE, run=no, at_ns=tx.now_ns if at_ns is None else at_ns, actor=tx.actor.name) == 1


def unmark_deleted(tx: Transaction, no: int) -> bool:
    """Show a run again; False if it was not hidden."""
    return tx.run(_RESTORE, run_no=no) == 1


def with_descendants(tx: Transaction, ids: Sequence[RunId]) -> list[RunId]:
    """Give these runs and all that are part of them, each once."""
    found, waiting = dict.fromkeys(ids), list(ids)
    while waiting:
        for (child,) in tx.rows(seen(tx, _CHILDREN), of_id=to_bytes(waiting.pop())):
            if (id := RunId(bytes(child).hex())) not in found:
                found[id] = None
                waiting.append(id)
    return list(found)


def runs_of_experiment(tx: Transaction, name: str) -> list[RunId]:
    """List all runs of an experiment, deleted ones too."""
    return [RunId(bytes(id).hex()) for (id,) in tx.rows(seen(tx, _OF_EXPERIMENT), of_experiment=name)]


def deleted_before(tx: Transaction, at_ns: int) -> list[RunId]:
    """List the runs that were deleted at that time or before."""
    return [RunId(bytes(id).hex()) for (id,) in tx.rows(_DELETED, before=at_ns)]


def needed_by(tx: Transaction, id: RunId, no: int, *, besides: Collection[str]) -> list[str]:
    """Say who needs a run: forks, parts and users that are not among `besides`, and versions of models. What its reader may not view has
    no name."""
    needing: dict[str, str] = {}
    for statement_, value, says in (
        (_FORKS, {"of_id": to_bytes(id)}, "is a fork of it"),
        (_CHILDREN, {"of_id": to_bytes(id)}, "is part of it"),
        (_USERS, {"at_ref": f"run:{id}"}, "uses it"),  # forks do, too
    ):
        for (other,) in tx.rows(statement_, **value):
            needing.setdefault(bytes(other).hex(), says)
    others = [other for other in needing if other not in besides and other != id]
    reasons = [f"{_named(tx, f'run:{other}', f'run:{short(other)}')} {needing[other]}" for other in others]
    reasons += [f"{_named(tx, holder, holder)} holds its files" for (holder,) in tx.rows(_MODELS_MADE, as_holder=f"run:{id}")]
    reasons += [f"{_named(tx, holder, holder)} is judged by what it states" for (holder,) in tx.rows(_MODELS_JUDGED, run_no=no)]
    return reasons


def _named(tx: Transaction, ref: str, shown: str) -> str:
    """Give what a run or a version of a model is called, to who may view it."""
    kind, _, name = ref.partition(":")
    if tx.may_view is None:
        return shown
    on = {f"model:{name.rpartition('@')[0]}"} if kind == "model" else {f"experiment:{each}" for each in experiments_of(tx, [name])}
    return shown if all(map(tx.may_view, on)) else f"a {'version of a model' if kind == 'model' else 'run'} that you may not view"


def purge_run(tx: Transaction, id: RunId, no: int) -> None:
    """Drop all rows of a run and its claims to blobs, and keep its id from coming again."""
    experiment = str(tx.value(_EXPERIMENT, run_no=no) or "")
    for statement_ in _BY_NO:
        tx.run(statement_, run_no=no)
    for statement_ in _BY_ID:
        tx.run(statement_, run_id=to_bytes(id))
    tx.run(_ROW, run_no=no)
    tx.run(_BURY, run=to_bytes(id), at_ns=tx.now_ns, actor=tx.actor.name)
    holder = f"run:{id}"
    held = {*uses_of(tx, holder), *claims_of(tx, holder)}
    drop_uses(tx, holder)
    count_purge(tx, experiment, held)
    for digest in held:  # what a capture names is needed as long as somebody needs the capture
        if not holders_of(tx, Digest(digest)) and not is_claimed(tx, digest):
            drop_uses(tx, f"capture:{digest}")
