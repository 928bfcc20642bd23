"""The sequence of events: what live readers follow. An event stands in the transaction of the change that it tells.

Laws (tested): 1 `seq` rises without end, and no reader that goes on from the last one that it saw misses or doubles any. 2 the newest
event is never dropped, so that a reader who is too late is told so.
"""

import re
import time
from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, delete, func, select

from stratal.core.errors import Misuse
from stratal.core.ids import is_id
from stratal.core.people import Identity
from stratal.core.records import Record
from stratal.store.database import Database, Transaction
from stratal.store.tables import event as t
from stratal.store.tables import run

_MODEL = re.compile(r"model:(.+?)(?:@[^@]*)?")


class Event(Record, frozen=True, kw_only=True):
    """A change: `kind` (run, version, ...), `subject` (its ref), `body` (JSON text). `seq` rises without end."""

    seq: int
    at_ns: int
    kind: str
    subject: str
    actor: str
    body: str


class Told(Record, frozen=True, kw_only=True):
    """An event as live readers get it. on: the experiment or model that it belongs to ('experiment:x', 'model:x'), '' for none."""

    seq: int
    at_ns: int
    kind: str
    subject: str
    actor: str
    on: str
    body: dict[str, object]


def checked_on(said: str) -> str:
    """Give an experiment or a model that events can belong to. Raises Misuse."""
    kind, _, name = said.partition(":")
    if kind not in ("experiment", "model") or not name:
        raise Misuse(f"{said!r:.100} is neither an experiment nor a model", hint="write experiment:NAME or model:NAME")
    return said


def checked_subject(said: str) -> str:
    """Give a ref that an event can be about; a run may be said by its id alone. Raises Misuse."""
    ref = f"run:{said}" if is_id(said) else said
    if ref.startswith("run:") and not is_id(ref.removeprefix("run:")):
        raise Misuse(f"{said!r:.100} is no whole id of a run", hint="write all 32 digits: stratal runs --json has them")
    return ref


_SINCE = (
    select(t.c.seq, t.c.at_ns, t.c.kind, t.c.subject, t.c.actor, t.c.body)
    .where(t.c.seq > bindparam("seq"))
    .order_by(t.c.seq)
    .limit(bindparam("limit"))
)
_LATEST = select(func.coalesce(func.max(t.c.seq), 0))
_OLDEST = select(func.coalesce(func.min(t.c.seq), 0))
_EXPERIMENT = select(run.c.experiment).where(run.c.id == bindparam("run_id"))
_OLD = (t.c.at_ns < bindparam("before")) | (t.c.seq <= bindparam("up_to")), t.c.seq < select(func.max(t.c.seq)).scalar_subquery()
_COUNT_OLD = select(func.count()).select_from(t).where(*_OLD)
_DROP_OLD = delete(t).where(*_OLD)


def events_since(tx: Transaction, seq: int, *, limit: int = 1000) -> list[Event]:
    """List events after `seq`, oldest first."""
    names = Event.__struct_fields__
    return [Event(**dict(zip(names, row, strict=True))) for row in tx.rows(_SINCE, seq=seq, limit=limit)]


def latest_seq(tx: Transaction) -> int:
    """Give the newest event's number, 0 if there is none."""
    return int(tx.value(_LATEST))


def wait(database: Database, seq: int, *, timeout_s: float) -> int:
    """Wait for an event after `seq`, in whichever process, and give the newest one's number; after `timeout_s` the one there is.

    PostgreSQL tells of it at once; SQLite is asked twenty times a second. For threads of their own: it blocks. Raises StoreDown.
    """
    until_s = time.monotonic() + timeout_s
    while True:
        heard = database.heard  # before the look: what comes after it is waited for
        with database.read(Identity(name="stratal")) as tx:
            latest = latest_seq(tx)
        left_s = until_s - time.monotonic()
        if latest > seq or left_s <= 0:
            return latest
        database.wait_for_events(left_s, heard=heard)


def oldest_seq(tx: Transaction) -> int:
    """Give the oldest event's number, 0 if there is none: those before it were dropped."""
    return int(tx.value(_OLDEST))


def told(tx: Transaction, events: Sequence[Event]) -> list[Told]:
    """Give events as live readers get them: subjects as refs, and what each belongs to."""
    homes: dict[str, str] = {}
    found = []
    for event in events:
        subject = f"run:{event.subject}" if is_id(event.subject) else event.subject
        if subject not in homes:
            homes[subject] = _home(tx, subject)
        body = msgspec.json.decode(event.body)
        found.append(
            Told(
                seq=event.seq, at_ns=event.at_ns, kind=event.kind, subject=subject, actor=event.actor, on=homes[subject],
                body=body if isinstance(body, dict) else {},
            )
        )  # fmt: skip
    return found


def count_old_events(tx: Transaction, *, before_ns: int, keep: int) -> int:
    """Count what `drop_old_events` would drop."""
    return int(tx.value(_COUNT_OLD, before=before_ns, up_to=latest_seq(tx) - keep))


def drop_old_events(tx: Transaction, *, before_ns: int, keep: int) -> int:
    """Drop events from before a time, and all but the newest `keep`; the newest one stays. Gives how many went."""
    return tx.run(_DROP_OLD, before=before_ns, up_to=latest_seq(tx) - keep)


def _home(tx: Transaction, subject: str) -> str:
    kind, _, name = subject.partition(":")
    if kind == "run" and is_id(name):
        experiment = tx.value(_EXPERIMENT, run_id=bytes.fromhex(name))
        return f"experiment:{experiment}" if experiment else ""
    if kind == "study" and name:  # a study's trials are runs of the experiment of its name
        return f"experiment:{name.partition('@')[0]}"
    if kind == "experiment" and name:
        return subject
    found = _MODEL.fullmatch(subject)
    return f"model:{found[1]}" if found else ""
