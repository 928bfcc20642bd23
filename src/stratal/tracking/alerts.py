"""Alerts as they are read: what runs told people to look at."""

from collections.abc import Sequence

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.alerting import LEVELS
from stratal.tracking.opening import current_store
from stratal.tracking.operations.searching import RunSearch
from stratal.tracking.runs import find_id
from stratal.tracking.store.alerts import ToldAlert


def find_alerts(
    *, experiment: str | None = None, level: str = "info", run: str | None = None, limit: int = 100, store: Store | None = None
) -> Sequence[ToldAlert]:
    """List alerts, the newest first. level: the least one. run: only of this one, by its id, short form or ref."""
    if level not in LEVELS:
        raise Misuse(f"{level!r} is no level of an alert", hint=f"choose one of: {', '.join(LEVELS)}")
    if limit < 1:
        raise Misuse(f"limit = {limit} is not possible", hint="give 1 or more")
    store = store or current_store()
    id = None if run is None else find_id(store, run)
    return RunSearch(store).alerts(levels=list(LEVELS[LEVELS.index(level) :]), experiment=experiment, run=id, limit=limit)


alerts = find_alerts  # as users call it: st.alerts(level="warning")
