"""Rows of artifacts: which files a folder holds, and files that are taken away."""

from typing import NamedTuple

from sqlalchemy import bindparam, delete, exists, select

from stratal.store.database import Transaction
from stratal.store.quotas.counting import uncount_file
from stratal.store.tables import blob_claim, blob_use, run
from stratal.tracking.tables import artifact

_FILE = select(artifact.c.path, artifact.c.digest, artifact.c.size_bytes).where(artifact.c.run == bindparam("run_no"))
_ONE = _FILE.where(artifact.c.path == bindparam("at_path"))
# Everything below a folder: '0' comes after '/'.
_BELOW = _FILE.where(artifact.c.path >= bindparam("first"), artifact.c.path < bindparam("last")).order_by(artifact.c.path)
_ALL = _FILE.order_by(artifact.c.path)
_DROP = delete(artifact).where(artifact.c.run == bindparam("run_no"), artifact.c.path == bindparam("at_path"))
_DROP_USE = delete(blob_use).where(
    blob_use.c.digest == bindparam("of_digest"),
    blob_use.c.holder == bindparam("of_holder"),
    ~exists().where(artifact.c.run == bindparam("run_no"), artifact.c.digest == bindparam("of_digest")),
)
_DROP_CLAIM = delete(blob_claim).where(
    blob_claim.c.digest == bindparam("of_digest"),
    blob_claim.c.holder == bindparam("of_holder"),
    ~exists().where(artifact.c.run == bindparam("run_no"), artifact.c.digest == bindparam("of_digest")),
)
_EXPERIMENT = select(run.c.experiment).where(run.c.no == bindparam("run_no"))


class File(NamedTuple):
    """A file: its path, and what it holds."""

    path: str
    digest: str
    size_bytes: int


def find_file(tx: Transaction, no: int, path: str) -> File | None:
    """Give an artifact of a run, None if there is none."""
    row = tx.row(_ONE, run_no=no, at_path=path)
    return File(*row) if row else None


def files_below(tx: Transaction, no: int, folder: str) -> list[File]:
    """List the artifacts of a run below a folder, '' for all, by path."""
    if not folder:
        return [File(*row) for row in tx.rows(_ALL, run_no=no)]
    return [File(*row) for row in tx.rows(_BELOW, run_no=no, first=f"{folder}/", last=f"{folder}0")]


def drop_file(tx: Transaction, no: int, run_id: str, file: File) -> None:
    """Take an artifact of a run away; its bytes go when nobody needs them."""
    tx.run(_DROP, run_no=no, at_path=file.path)
    dropped = [tx.run(statement, run_no=no, of_digest=file.digest, of_holder=f"run:{run_id}") for statement in (_DROP_USE, _DROP_CLAIM)]
    if any(dropped):
        uncount_file(tx, str(tx.value(_EXPERIMENT, run_no=no)), file.digest)
