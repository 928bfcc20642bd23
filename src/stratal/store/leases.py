"""Leases: who may work on a run now. A claim raises the run's epoch, and the epoch is the fencing token.

Laws (tested): 1 at any time at most one token of a run is accepted. 2 a token that was taken over is refused for ever.
3 what a takeover rewound is hidden, not dropped. 4 all of this happens inside the caller's transaction, or not at all.
"""

from sqlalchemy import bindparam, select, update

from stratal.core.clock import SECOND_NS, to_utc
from stratal.core.errors import Conflict, StaleLease
from stratal.core.ids import short, to_bytes
from stratal.core.records import Record
from stratal.store.database import Transaction, insert
from stratal.store.latest import rebuild
from stratal.store.names import RunRow, ensure_run, find_run, join_runs
from stratal.store.tables import epoch, run

_LEASE = select(run.c.epoch, run.c.holder, run.c.expires_ns, run.c.status).where(run.c.id == bindparam("run_id"))
_RAISE = (
    update(run)
    .where(run.c.no == bindparam("run_no"))
    .values(epoch=bindparam("token"), holder=bindparam("who"), expires_ns=bindparam("until"))
)
_ADD_EPOCH = insert(epoch)
_RENEW = (
    update(run)
    .where(run.c.id == bindparam("run_id"), run.c.epoch == bindparam("token"), run.c.holder.is_not(None))
    .values(expires_ns=bindparam("until"))
)
_RELEASE = update(run).where(run.c.id == bindparam("run_id"), run.c.epoch == bindparam("token")).values(holder=None, expires_ns=None)
_EXPIRED = select(run.c.id).where(run.c.expires_ns < bindparam("now"), run.c.kind == bindparam("of_kind")).order_by(run.c.expires_ns)


class Lease(Record, frozen=True, kw_only=True):
    """The lease of a run. holder: None if it is free."""

    token: int
    holder: str | None
    expires_ns: int | None

    def is_held(self, now_ns: int) -> bool:
        return self.holder is not None and self.expires_ns is not None and self.expires_ns > now_ns


def read_lease(tx: Transaction, run_id: str) -> Lease:
    """Give the lease of a run; of one that nobody ever claimed, a free one with token 0."""
    found = tx.row(_LEASE, run_id=to_bytes(run_id))
    return Lease(token=found[0], holder=found[1], expires_ns=found[2]) if found else Lease(token=0, holder=None, expires_ns=None)


def claim(tx: Transaction, run_id: str, holder: str, *, ttl_s: float, from_step: int | None = None) -> int:
    """Take a free or expired lease, and give its token.

    from_step: points of earlier epochs from this step on are hidden (0: all of them; None: none).
    Raises Conflict if somebody holds it.
    """
    lease = read_lease(tx, run_id)
    if lease.is_held(tx.now_ns):
        until = to_utc(lease.expires_ns or 0).strftime("%H:%M:%S")
        raise Conflict(f"run {short(run_id)} is held by {lease.holder} until {until} UTC", hint="wait for it, or stop that process")
    return take_over(tx, run_id, holder, from_step=from_step, expires_ns=tx.now_ns + int(ttl_s * SECOND_NS))


def take_over(tx: Transaction, run_id: str, holder: str, *, from_step: int | None, expires_ns: int | None = None) -> int:
    """Raise the epoch whoever holds it, and give the new token. What the old holder still does is refused or hidden."""
    row = ensure_run(tx, to_bytes(run_id))
    token = _raise_epoch(tx, row, holder, from_step, expires_ns)
    if from_step is not None and not row.is_new:
        fresh = find_run(tx, row.id)
        assert fresh is not None
        rebuild(tx, fresh)
    return token


def claim_new(tx: Transaction, row: RunRow, holder: str, *, ttl_s: float) -> int:
    """Take the lease of a run whose row was made in this transaction, and give its token."""
    return _raise_epoch(tx, row, holder, None, tx.now_ns + int(ttl_s * SECOND_NS))


def join(tx: Transaction, run_id: str, writer: str) -> None:
    """Register a writer of a run: commands about the run drain its journal."""
    join_runs(tx, [(to_bytes(run_id), writer)])


def renew(tx: Transaction, run_id: str, token: int, ttl_s: float) -> None:
    """Hold the lease for another `ttl_s` seconds; one that was given back stays free. Raises StaleLease if it was taken over."""
    if tx.run(_RENEW, run_id=to_bytes(run_id), token=token, until=tx.now_ns + int(ttl_s * SECOND_NS)) != 1:
        guard(tx, run_id, token)


def guard(tx: Transaction, run_id: str, token: int) -> None:
    """Refuse to go on with an old token. Raises StaleLease; the transaction is then rolled back whole."""
    if (now := read_lease(tx, run_id).token) != token:
        raise stale(run_id, token, now)


def release(tx: Transaction, run_id: str, token: int) -> None:
    """Give the lease back. Raises StaleLease if it was taken over."""
    if tx.run(_RELEASE, run_id=to_bytes(run_id), token=token) != 1:
        raise stale(run_id, token)


def expired_runs(tx: Transaction, kind: str) -> list[str]:
    """List runs of a kind whose lease has run out, the longest ago first."""
    return [bytes(id).hex() for (id,) in tx.rows(_EXPIRED, now=tx.now_ns, of_kind=kind)]


def stale(run_id: str, token: int, now: int | None = None) -> StaleLease:
    """Make the error that tells a zombie to stop."""
    newer = f", it is at {now} now" if now is not None else ""
    return StaleLease(
        f"run {short(run_id)} was taken over: token {token} is old{newer}",
        hint="stop this work; whoever took it over goes on from its last checkpoint",
    )


def _raise_epoch(tx: Transaction, row: RunRow, holder: str, from_step: int | None, expires_ns: int | None) -> int:
    token = row.epoch + 1
    tx.run(_RAISE, run_no=row.no, token=token, who=holder, until=expires_ns)
    tx.run(_ADD_EPOCH, run=row.no, epoch=token, from_step=from_step, at_ns=tx.now_ns, holder=holder)
    return token
