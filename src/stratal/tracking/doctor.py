"""The doctor: what may be wrong with a store, and what to do."""

from stratal.core.errors import Misuse
from stratal.store.examining import BAD, GOOD, NOTE, Check
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.operations.upkeep import Upkeep

__all__ = ["BAD", "GOOD", "NOTE", "Check", "doctor"]


def doctor(*, deep: bool = False, store: Store | None = None) -> list[Check]:
    """Examine a store where it lies: database, journals, files, disk, clock, runs that were lost, quotas. Mends nothing.

    deep: read each file, and compare it with its digest; only on the machine where the store lies.
    """
    opened = store or current_store()
    if deep and opened.remote:
        raise Misuse(
            f"{opened.remote} does not read each file while somebody waits for the answer",
            hint="do it on the server's machine: stratal doctor --deep --store FOLDER",
        )
    return Upkeep(opened).examine(deep=deep)
