"""Lost runs: a run that never ended and whose process is gone is told of once, as the end that it could not say itself."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from stratal.core.ids import RunId, to_bytes
from stratal.store.database import Transaction, insert
from stratal.store.tables import lost_run
from stratal.tracking.store.settling import tell_end

_IS_TOLD = select(lost_run.c.at_ns).where(lost_run.c.run == bindparam("run_id"))
_TELL = insert(lost_run).on_conflict_do_nothing()


def untold(tx: Transaction, ids: Sequence[RunId]) -> list[RunId]:
    """Give those of these runs of which was not told yet."""
    return [id for id in ids if tx.value(_IS_TOLD, run_id=to_bytes(id)) is None]


def tell_lost(tx: Transaction, id: RunId) -> None:
    """Tell that a run is lost, unless somebody did so. Key: the run."""
    if tx.run(_TELL, run=to_bytes(id), at_ns=tx.now_ns):
        tell_end(tx, id, "lost", "its process is gone")
