"""Proofs: who has shown to have all bytes of a blob, and what waits for that. Naming a digest grants nothing.

A server notes a proof when it has verified all bytes that somebody sent, or has told somebody, who may read the blob, that they need not
send it. Uses that commands name without one are refused (uses.py). Those that facts name wait as claims: nobody reads by a claim,
and it becomes a use when its sender has a proof. Whoever has the store itself, embedded, is never asked.

Laws (tested): 1 a use is written for a sender who may read the blob, or has a proof. 2 facts and bytes may come in any order, and none
is lost: what is claimed is no garbage. 3 a proof lasts long enough for the facts that are on their way when it is noted.
"""

from sqlalchemy import bindparam, delete, select

from stratal.core.clock import SECOND_NS
from stratal.store import tables
from stratal.store.database import Transaction, insert

# How long a proof is kept at least, and how old it may be when somebody is told that they need not send: between a blob and the last
# fact that names it lies one pass of a shipper, which an outage may stretch to days.
KEPT_S, FRESH_S = 30 * 86_400, 15 * 86_400

_new = insert(tables.blob_proof)
_PROVE = _new.on_conflict_do_update(index_elements=["digest", "sender"], set_={"at_ns": _new.excluded.at_ns})
_AT = select(tables.blob_proof.c.at_ns).where(
    tables.blob_proof.c.digest == bindparam("of_digest"), tables.blob_proof.c.sender == bindparam("of_sender")
)
_DROP_OLD = delete(tables.blob_proof).where(tables.blob_proof.c.at_ns < bindparam("before"))
_CLAIM = insert(tables.blob_claim).on_conflict_do_nothing()
_mine = tables.blob_claim.c.digest == bindparam("of_digest"), tables.blob_claim.c.sender == bindparam("of_sender")
_HOLDERS = select(tables.blob_claim.c.holder).where(*_mine)
_SETTLE = delete(tables.blob_claim).where(*_mine)
_ADD_USE = insert(tables.blob_use).on_conflict_do_nothing()
_DIGESTS = select(tables.blob_claim.c.digest).where(tables.blob_claim.c.holder == bindparam("of_holder")).distinct()
_IS_CLAIMED = select(tables.blob_claim.c.digest).where(tables.blob_claim.c.digest == bindparam("of_digest")).limit(1)
_IS_CLAIMED_FOR = _IS_CLAIMED.where(tables.blob_claim.c.holder == bindparam("of_holder"))
_RUNS = select(tables.blob_claim.c.digest, tables.blob_claim.c.holder).where(tables.blob_claim.c.holder.like("run:%")).distinct()
_DROP = delete(tables.blob_claim).where(tables.blob_claim.c.holder == bindparam("of_holder"))
_OLD = (
    select(tables.blob_claim.c.digest, tables.blob_claim.c.holder, tables.blob_claim.c.sender)
    .where(tables.blob_claim.c.at_ns < bindparam("before"))
    .order_by(tables.blob_claim.c.sender, tables.blob_claim.c.holder, tables.blob_claim.c.digest)
)
_ALL = select(tables.blob_claim.c.digest).distinct()


def prove(tx: Transaction, digest: str, sender: str) -> None:
    """Note that somebody has all bytes of a blob; what they claim of it counts from now on. Idempotent by (digest, sender)."""
    tx.run(_PROVE, digest=digest, sender=sender, at_ns=tx.now_ns)
    claimed = tx.rows(_HOLDERS, of_digest=digest, of_sender=sender)
    tx.many(_ADD_USE, [{"digest": digest, "holder": holder} for (holder,) in claimed])
    if claimed:
        tx.run(_SETTLE, of_digest=digest, of_sender=sender)


def is_proved(tx: Transaction, digest: str, sender: str) -> bool:
    """Tell whether somebody has shown to have all bytes of a blob."""
    return tx.value(_AT, of_digest=digest, of_sender=sender) is not None


def is_proved_lately(tx: Transaction, digest: str, sender: str) -> bool:
    """Tell whether a proof will be there for as long as facts that come now may take, and nothing waits for it."""
    at_ns = tx.value(_AT, of_digest=digest, of_sender=sender)
    if at_ns is None or at_ns < tx.now_ns - FRESH_S * SECOND_NS:
        return False
    return not tx.rows(_HOLDERS, of_digest=digest, of_sender=sender)


def claim(tx: Transaction, digest: str, holder: str, sender: str) -> None:
    """Say that `holder` needs a blob, if its sender has it. Idempotent by (digest, sender, holder)."""
    tx.run(_CLAIM, digest=digest, sender=sender, holder=holder, at_ns=tx.now_ns)


def claims_of(tx: Transaction, holder: str) -> list[str]:
    """List the digests that are claimed for a holder."""
    return [str(digest) for (digest,) in tx.rows(_DIGESTS, of_holder=holder)]


def is_claimed(tx: Transaction, digest: str) -> bool:
    """Tell whether anybody claims a blob."""
    return tx.value(_IS_CLAIMED, of_digest=digest) is not None


def is_claimed_for(tx: Transaction, digest: str, holder: str) -> bool:
    """Tell whether anybody claims a blob for a holder."""
    return tx.value(_IS_CLAIMED_FOR, of_digest=digest, of_holder=holder) is not None


def claims_of_runs(tx: Transaction) -> set[tuple[str, str]]:
    """Give what is claimed for runs: digests and holders."""
    return {(str(digest), str(holder)) for digest, holder in tx.rows(_RUNS)}


def claimed_blobs(tx: Transaction) -> set[str]:
    """Give all digests that are claimed."""
    return {str(digest) for (digest,) in tx.rows(_ALL)}


def old_claims(tx: Transaction, *, before_ns: int) -> list[tuple[str, str, str]]:
    """List (digest, holder, sender) of what has waited since before a time."""
    return [(str(digest), str(holder), str(sender)) for digest, holder, sender in tx.rows(_OLD, before=before_ns)]


def drop_claims(tx: Transaction, holder: str) -> None:
    """Give up all claims for a holder."""
    tx.run(_DROP, of_holder=holder)


def drop_old_proofs(tx: Transaction) -> int:
    """Forget proofs that are older than any fact on its way; give their number."""
    return tx.run(_DROP_OLD, before=tx.now_ns - KEPT_S * SECOND_NS)
