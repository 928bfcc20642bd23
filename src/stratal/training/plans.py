"""What a user asks of a job's run, before any rank or store is opened."""

from dataclasses import dataclass, field
from pathlib import Path

from stratal.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The run of a job."""

    experiment: str = "job"
    # For people. None: the run has none.
    name: str | None = None
    params: dict[str, object] = field(default_factory=dict)
    # The store, or its URL or folder. None: the current one of this process.
    store: Store | Path | str | None = None
    # Id of a run to go on with. None: a new run.
    resume: str | None = None
