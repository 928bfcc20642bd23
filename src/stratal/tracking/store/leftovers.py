"""What a store cannot ship by frames: runs whose journals are deleted, and what commands decided."""

from sqlalchemy import func, select

from stratal.core.ids import RunId
from stratal.store.database import Transaction
from stratal.store.tables import participant, run, segment

_DELETED = (
    select(participant.c.run)
    .distinct()
    .join(segment, func.substr(segment.c.name, 1, 16) == participant.c.writer)
    .where(segment.c.state == "done")
    .order_by(participant.c.run)
)
_COMMANDED = select(run.c.id).where(run.c.epoch > 0).order_by(run.c.id)


def runs_without_journals(tx: Transaction) -> list[RunId]:
    """List runs of whose writers a segment was settled and deleted before any server had it: parts of them may have been in it."""
    return [RunId(bytes(id).hex()) for (id,) in tx.rows(_DELETED)]


def runs_by_command(tx: Transaction) -> list[RunId]:
    """List runs that commands began, ended or took over: trials, steps, jobs, resumed runs."""
    return [RunId(bytes(id).hex()) for (id,) in tx.rows(_COMMANDED)]
