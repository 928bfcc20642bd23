"""Reach: what a request would touch, and what its sender may do there now; read in the transaction that it reads or writes with."""

from collections.abc import Iterable

from sqlalchemy import bindparam, func, select

from stratal.core.people import Grant
from stratal.core.records import Record
from stratal.store.access.rows import grants_of
from stratal.store.access.tables import person, session, token
from stratal.store.database import Transaction
from stratal.store.tables import participant, remote_writer, run

_PERSON = select(person.c.is_disabled, person.c.valid_from_ns).where(person.c.name == bindparam("who"))
_TOKEN = select(token.c.expires_ns, token.c.revoked_ns).where(token.c.id == bindparam("token_id"))
_SESSION = select(session.c.expires_ns).where(session.c.digest == bindparam("of"))
_EXPERIMENT = select(run.c.experiment).where(run.c.id == bindparam("run_id"))
_OTHERS = (
    select(func.count())
    .select_from(participant)
    .outerjoin(remote_writer, remote_writer.c.writer == participant.c.writer)
    .where(participant.c.run == bindparam("run_id"), func.coalesce(remote_writer.c.owner, "") != bindparam("who"))
)


class Standing(Record, frozen=True, kw_only=True):
    """Whether a sign-in counts now, and what its person holds."""

    is_valid: bool
    grants: tuple[Grant, ...] = ()


def standing(tx: Transaction, name: str, *, valid_from_ns: int, token_id: str, session_digest: bytes) -> Standing:
    """Tell how somebody stands who signed in when their row said `valid_from_ns`, by a token or a session if these are given."""
    found = tx.row(_PERSON, who=name)
    if found is None or found[0] or (found[1] != valid_from_ns and not token_id):  # a new password ends no token
        return Standing(is_valid=False)
    if token_id:
        life = tx.row(_TOKEN, token_id=token_id)
        if life is None or life[1] is not None or (life[0] is not None and life[0] <= tx.now_ns):
            return Standing(is_valid=False)
    if session_digest and int(tx.value(_SESSION, of=session_digest) or 0) <= tx.now_ns:
        return Standing(is_valid=False)
    return Standing(is_valid=True, grants=grants_of(tx, name))


def experiments_of(tx: Transaction, runs: Iterable[bytes]) -> dict[bytes, str]:
    """Give the experiments of runs, '' where no start has come yet; runs that were never seen are left out."""
    found = {id: tx.row(_EXPERIMENT, run_id=id) for id in runs}
    return {id: str(row[0]) for id, row in found.items() if row is not None}


def has_others(tx: Transaction, id: bytes, who: str) -> bool:
    """Tell whether a run has writers that are not `who`'s."""
    return bool(tx.value(_OTHERS, run_id=id, who=who))
