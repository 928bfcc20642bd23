"""The sequence of events: what live readers follow. An event stands in the transaction of the change that it tells."""

from sqlalchemy import bindparam, func, select

from stratal.core.records import Record
from stratal.store.database import Transaction
from stratal.store.tables import event as t


class Event(Record, frozen=True, kw_only=True):
    """A change: `kind` (run, version, ...), `subject` (its ref), `body` (JSON text). `seq` rises without end."""

    seq: int
    at_ns: int
    kind: str
    subject: str
    actor: str
    body: str


_SINCE = (
    select(t.c.seq, t.c.at_ns, t.c.kind, t.c.subject, t.c.actor, t.c.body)
    .where(t.c.seq > bindparam("seq"))
    .order_by(t.c.seq)
    .limit(bindparam("limit"))
)
_LATEST = select(func.coalesce(func.max(t.c.seq), 0))


def events_since(tx: Transaction, seq: int, *, limit: int = 1000) -> list[Event]:
    """List events after `seq`, oldest first."""
    names = Event.__struct_fields__
    return [Event(**dict(zip(names, row, strict=True))) for row in tx.rows(_SINCE, seq=seq, limit=limit)]


def latest_seq(tx: Transaction) -> int:
    """Give the newest event's number, 0 if there is none."""
    return int(tx.value(_LATEST))
