"""What runs say of the sizes of their files: what quotas count."""

from sqlalchemy import func, select

from stratal.store.database import Transaction
from stratal.store.tables import run
from stratal.tracking.tables import artifact

_SIZES = (
    select(run.c.experiment, artifact.c.digest, func.max(artifact.c.size_bytes))
    .join_from(artifact, run, run.c.no == artifact.c.run)
    .group_by(run.c.experiment, artifact.c.digest)
)


def sizes_said(tx: Transaction) -> dict[tuple[str, str], int]:
    """Give the size of each file by experiment and digest, as its runs say it."""
    return {(experiment, digest): int(size) for experiment, digest, size in tx.rows(_SIZES)}
