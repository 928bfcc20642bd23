"""The active run: what module-level verbs and new runs' parents refer to.

Each thread and task sees the run that it entered last; one that entered none sees the process's newest open run.
"""

import contextlib
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Protocol

from stratal.core.errors import StoreDown
from stratal.core.ids import RunId
from stratal.store.store import Store
from stratal.tracking.facts import ArtifactFact


class OpenRun(Protocol):
    """A run that is being written, as rooms and background threads see it; `tracking.runs.Run` is the one there is.

    Laws: 1 each verb returns only after its fact is in the journal, or was counted as lost. 2 all verbs are safe for threads.
    """

    store: Store
    id: RunId
    experiment: str
    kind: str
    epoch: int
    is_open: bool
    is_joined: bool

    @property
    def short(self) -> str: ...

    @property
    def ref(self) -> str: ...

    def log(self, metrics: Mapping[str, object], *, step: int | None = None, time: datetime | float | None = None) -> None: ...

    def log_params(self, params: object) -> None: ...

    def set_tags(self, tags: Mapping[str, str | None]) -> None: ...

    def note(self, text: str) -> None: ...

    def save(self, path: str | Path, name: str | None = None) -> ArtifactFact | list[ArtifactFact]: ...

    def save_bytes(self, name: str, data: bytes) -> ArtifactFact: ...

    def edge(self, verb: str, target: str, role: str = "data", *, is_file: bool = True) -> None: ...

    def state(self, kind: str, body: Mapping[str, object], *, subject: str = "") -> None: ...

    def say(self, what: str, value: object) -> bool: ...

    def write(self, what: str, value: object) -> None: ...

    def lose(self, what: str, error: StoreDown) -> None: ...

    def before_end(self, action: Callable[[], None]) -> None: ...

    def finish(self, status: str = "finished", *, error: str = "") -> None: ...


_entered: ContextVar[tuple[OpenRun, ...]] = ContextVar("stratal_active_runs", default=())
_open: list[OpenRun] = []


def push(run: OpenRun) -> None:
    """Make a run the active one."""
    _entered.set((*(other for other in _entered.get() if other.is_open), run))  # some may have ended in other threads
    _open.append(run)


def pop(run: OpenRun) -> None:
    """Forget a run that has ended."""
    _entered.set(tuple(other for other in _entered.get() if other is not run))
    with contextlib.suppress(ValueError):
        _open.remove(run)


def active_run() -> OpenRun | None:
    """Give the active run, None if there is none."""
    for run in reversed(_entered.get()):
        if run.is_open:
            return run
    return next(reversed(_open), None)


def enclosing_run() -> OpenRun | None:
    """Give the run that a new one is part of, None if there is none.

    A task of asyncio has the runs that were entered where it was made; those of tasks beside it are none of its own.
    """
    for run in reversed(_entered.get()):
        if run.is_open:
            return run
    running_loop = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)  # None: it is not imported whole, so nothing runs in it
    in_task = running_loop is not None and running_loop() is not None
    return None if in_task else next(reversed(_open), None)


def open_runs() -> list[OpenRun]:
    """List the runs of this process that have not ended."""
    return list(_open)


def forget_all() -> None:
    """Forget all runs: a forked child does not own its parent's."""
    _open.clear()
    _entered.set(())
