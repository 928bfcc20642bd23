"""Who needs which blob. The garbage collector asks here, and nobody else needs to know what a blob is for."""

from sqlalchemy import bindparam, delete, select

from stratal.store.blobs import Digest
from stratal.store.database import Transaction, insert
from stratal.store.tables import blob_use as t

_ADD = insert(t).on_conflict_do_nothing()
_DROP = delete(t).where(t.c.holder == bindparam("holder"))
_HOLDERS = select(t.c.holder).where(t.c.digest == bindparam("digest")).order_by(t.c.holder)


def add_use(tx: Transaction, digest: str, holder: str) -> None:
    """Say that `holder` needs a blob. Idempotent by (digest, holder)."""
    tx.run(_ADD, digest=digest, holder=holder)


def drop_uses(tx: Transaction, holder: str) -> int:
    """Say that `holder` needs none of its blobs any more; give how many those were."""
    return tx.run(_DROP, holder=holder)


def holders_of(tx: Transaction, digest: Digest) -> list[str]:
    """List who needs a blob."""
    return [str(holder) for (holder,) in tx.rows(_HOLDERS, digest=digest)]
