"""Who needs which blob. Garbage collections and backups ask here, and nobody else needs to know what a blob is for."""

import re

from sqlalchemy import bindparam, delete, select

from stratal.core.errors import Refused
from stratal.store import tables
from stratal.store.database import Transaction, insert
from stratal.store.files.blobs import Digest
from stratal.store.proofs import claim, claimed_blobs, drop_claims, is_claimed_for, is_proved

_ADD = insert(tables.blob_use).on_conflict_do_nothing()
_DROP = delete(tables.blob_use).where(tables.blob_use.c.holder == bindparam("holder"))
_DIGESTS = select(tables.blob_use.c.digest).where(tables.blob_use.c.holder == bindparam("holder")).order_by(tables.blob_use.c.digest)
_HOLDERS = select(tables.blob_use.c.holder).where(tables.blob_use.c.digest == bindparam("digest")).order_by(tables.blob_use.c.holder)
_HOLDS = select(tables.blob_use.c.digest).where(
    tables.blob_use.c.holder == bindparam("holder"), tables.blob_use.c.digest == bindparam("digest")
)
_USED = select(tables.blob_use.c.digest).distinct()
_KEPT = select(tables.kept_fact.c.body)
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}")  # whatever follows: in a list that may be a number, whose byte is a digit


def blob_use(tx: Transaction, digest: str, holder: str) -> bool:
    """Say that `holder` needs a blob; False if it was said before. Idempotent by (digest, holder). Raises Refused where a server asks,
    and nothing proves that who acts has its bytes."""
    check_named(tx, digest)
    return tx.run(_ADD, digest=digest, holder=holder) == 1 and not is_claimed_for(tx, digest, holder)


def may_name(tx: Transaction, digest: str) -> bool:
    """Tell whether who acts may use a blob by its digest: where a server asks, if they may read it, or have sent its bytes."""
    return tx.may_read is None or _is_theirs(tx, digest, tx.actor.name)


def check_named(tx: Transaction, digest: str) -> None:
    """Raise Refused if a blob may not be used by its digest, whether it is there or not: for who looks for it before `blob_use`."""
    if not may_name(tx, digest):
        raise Refused(
            f"blob {digest[:12]}… is nothing that {tx.actor.name} may read, and they have not sent its bytes",
            hint=f"to name a file is not to have it: send all of it first, PUT /ingest/v1/blobs/{digest[:12]}…",
        )


def use_or_claim(tx: Transaction, digest: str, holder: str, sender: str) -> bool:
    """Say that `holder` needs a blob, as a fact says that somebody sent; False if it was said before. Idempotent. It waits as a claim
    while nothing proves that they have its bytes. sender: '' for who has the store itself."""
    if not sender or _is_theirs(tx, digest, sender):
        return tx.run(_ADD, digest=digest, holder=holder) == 1 and not is_claimed_for(tx, digest, holder)
    is_new = not holds(tx, holder, digest) and not is_claimed_for(tx, digest, holder)
    claim(tx, digest, holder, sender)
    return is_new


def _is_theirs(tx: Transaction, digest: str, sender: str) -> bool:
    return is_proved(tx, digest, sender) or (tx.may_read is not None and tx.may_read(tx, digest))


def drop_uses(tx: Transaction, holder: str) -> int:
    """Say that `holder` needs none of its blobs any more; give how many those were."""
    drop_claims(tx, holder)
    return tx.run(_DROP, holder=holder)


def holds(tx: Transaction, holder: str, digest: str) -> bool:
    """Tell whether `holder` holds a blob; what waits as a claim it does not hold."""
    return tx.value(_HOLDS, holder=holder, digest=digest) is not None


def uses_of(tx: Transaction, holder: str) -> list[Digest]:
    """List what `holder` needs."""
    return [Digest(digest) for (digest,) in tx.rows(_DIGESTS, holder=holder)]


def holders_of(tx: Transaction, digest: Digest) -> list[str]:
    """List who needs a blob."""
    return [str(holder) for (holder,) in tx.rows(_HOLDERS, digest=digest)]


def used_blobs(tx: Transaction) -> set[str]:
    """Give the digests that rows of uses name."""
    return {str(digest) for (digest,) in tx.rows(_USED)}


def kept_blobs(tx: Transaction) -> set[str]:
    """Give what may be a digest in facts that this release does not understand or count, and what is claimed."""
    return {found.decode() for (body,) in tx.rows(_KEPT) for found in _DIGEST.findall(body)} | claimed_blobs(tx)
