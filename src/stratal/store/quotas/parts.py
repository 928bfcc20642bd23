"""Parts of files that come by parts, whose digest nobody knows before they are whole: each counts, so that uploads that never finish fill
nothing beyond a quota. They stand among the files that are on their way, and are forgotten with those.
"""

from sqlalchemy import bindparam, delete, func, select

from stratal.store.database import Transaction
from stratal.store.quotas.counting import add_use, count_asked, uncount_file
from stratal.store.quotas.holding import check_file
from stratal.store.quotas.tables import blob

_of_upload = (blob.c.experiment == bindparam("of"), blob.c.digest >= bindparam("first"), blob.c.digest < bindparam("last"))
_BYTES = select(func.sum(blob.c.size_bytes)).where(*_of_upload)
_DROP = delete(blob).where(*_of_upload)


def count_part(tx: Transaction, experiment: str, upload: str, number: int, size_bytes: int) -> None:
    """Count a part that is about to be kept, in the place of one that came before. Raises OverQuota without room, where quotas are held."""
    name = f"upload:{upload}:{number}"
    uncount_file(tx, experiment, name)
    check_file(tx, experiment, name, size_bytes)
    count_asked(tx, experiment, name, size_bytes, is_waiting=False)


def parts_bytes(tx: Transaction, experiment: str, upload: str) -> int | None:
    """Give what the parts of an upload count, None if none does."""
    found = tx.value(_BYTES, of=experiment, **_names(upload))
    return None if found is None else int(found)


def uncount_parts(tx: Transaction, experiment: str, upload: str) -> None:
    """Give back the room of all parts of an upload."""
    if (size := parts_bytes(tx, experiment, upload)) is not None:
        tx.run(_DROP, of=experiment, **_names(upload))
        add_use(tx, experiment, size=-size)


def _names(upload: str) -> dict[str, str]:
    return {"first": f"upload:{upload}:", "last": f"upload:{upload};"}  # ';' comes after ':'
