"""Sessions: rows of who is signed in by a browser. Ids are secrets, kept as digests; they change at each sign-in and by the hour."""

from sqlalchemy import bindparam, delete, select, update

from stratal.core.clock import SECOND_NS
from stratal.core.records import Record
from stratal.store.access.rows import note_change
from stratal.store.access.secrets import SESSION, digest, new_secret
from stratal.store.access.tables import session
from stratal.store.database import Transaction, insert

# How long one sign-in lasts at most, after how long its id is changed, and how long the one before stays good for requests under way.
LIFE_S, ROTATE_S, GRACE_S = 12 * 3600, 3600, 60

_ADD = insert(session)
_FIND = select(session.c.person, session.c.created_ns, session.c.signed_in_ns, session.c.expires_ns).where(
    session.c.digest == bindparam("of")
)
_END = delete(session).where(session.c.digest == bindparam("of"))
_END_ALL = delete(session).where(session.c.person == bindparam("who"))
_LAPSE = (
    update(session).where(session.c.digest == bindparam("of"), session.c.expires_ns > bindparam("at")).values(expires_ns=bindparam("at"))
)
_DROP_OLD = delete(session).where(session.c.expires_ns <= bindparam("now"))


class Session(Record, frozen=True, kw_only=True):
    """Who is signed in, since when, and how long."""

    person: str
    created_ns: int
    signed_in_ns: int
    expires_ns: int


def open_session(tx: Transaction, person: str) -> str:
    """Sign somebody in, and give the secret of their session; expired ones of everybody go."""
    tx.run(_DROP_OLD, now=tx.now_ns)
    note_change(tx, "sign in", person, {})
    return _add(tx, person, signed_in_ns=tx.now_ns)


def find_session(tx: Transaction, secret_digest: bytes) -> Session | None:
    """Give a session, None for one that is not there or has expired."""
    found = tx.row(_FIND, of=secret_digest)
    if found is None or found[3] <= tx.now_ns:
        return None
    return Session(person=found[0], created_ns=found[1], signed_in_ns=found[2], expires_ns=found[3])


def is_due(tx: Transaction, secret_digest: bytes) -> bool:
    """Tell whether a session's secret has served long enough, and the session does not end anyway."""
    found = find_session(tx, secret_digest)
    if found is None:
        return False
    return tx.now_ns - found.created_ns >= ROTATE_S * SECOND_NS and found.expires_ns - tx.now_ns > GRACE_S * SECOND_NS


def rotate(tx: Transaction, secret_digest: bytes) -> str | None:
    """Give a session a new secret if it is due; the old one stays good for a moment. None: it stays."""
    found = find_session(tx, secret_digest)
    if found is None or not is_due(tx, secret_digest):
        return None
    tx.run(_LAPSE, of=secret_digest, at=tx.now_ns + GRACE_S * SECOND_NS)
    return _add(tx, found.person, signed_in_ns=found.signed_in_ns)


def end_session(tx: Transaction, secret_digest: bytes, *, everywhere: bool = False) -> None:
    """Sign somebody out, here or wherever they are signed in; idempotent."""
    found = find_session(tx, secret_digest)
    if found is not None:
        note_change(tx, "sign out", found.person, {"everywhere": everywhere})
        if everywhere:
            tx.run(_END_ALL, who=found.person)
    tx.run(_END, of=secret_digest)


def _add(tx: Transaction, person: str, *, signed_in_ns: int) -> str:
    secret = new_secret(SESSION)
    tx.run(
        _ADD, digest=digest(secret), person=person, created_ns=tx.now_ns, signed_in_ns=signed_in_ns,
        expires_ns=signed_in_ns + LIFE_S * SECOND_NS,
    )  # fmt: skip
    return secret
