"""Who needs which blob. Garbage collections and backups ask here, and nobody else needs to know what a blob is for."""

import re

from sqlalchemy import bindparam, delete, select

from stratal.store import tables
from stratal.store.blobs import Digest
from stratal.store.database import Transaction, insert

_ADD = insert(tables.blob_use).on_conflict_do_nothing()
_DROP = delete(tables.blob_use).where(tables.blob_use.c.holder == bindparam("holder"))
_DIGESTS = select(tables.blob_use.c.digest).where(tables.blob_use.c.holder == bindparam("holder")).order_by(tables.blob_use.c.digest)
_HOLDERS = select(tables.blob_use.c.holder).where(tables.blob_use.c.digest == bindparam("digest")).order_by(tables.blob_use.c.holder)
_USED = select(tables.blob_use.c.digest).distinct()
_KEPT = select(tables.kept_fact.c.body)
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}")  # whatever follows: in a list that may be a number, whose byte is a digit


def blob_use(tx: Transaction, digest: str, holder: str) -> None:
    """Say that `holder` needs a blob. Idempotent by (digest, holder)."""
    tx.run(_ADD, digest=digest, holder=holder)


def drop_uses(tx: Transaction, holder: str) -> int:
    """Say that `holder` needs none of its blobs any more; give how many those were."""
    return tx.run(_DROP, holder=holder)


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
    """Give what may be a digest in facts that this release does not understand or count."""
    return {found.decode() for (body,) in tx.rows(_KEPT) for found in _DIGEST.findall(body)}
