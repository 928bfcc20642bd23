"""The active run: what module-level verbs and new runs' parents refer to.

Each thread and task sees the run that it entered last; one that entered none sees the process's newest open run.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratal.tracking.runs import Run

_entered: ContextVar[tuple["Run", ...]] = ContextVar("stratal_active_runs", default=())
_open: list["Run"] = []


def push(run: "Run") -> None:
    """Make a run the active one."""
    _entered.set((*_entered.get(), run))
    _open.append(run)


def pop(run: "Run") -> None:
    """Forget a run that has ended."""
    _entered.set(tuple(other for other in _entered.get() if other is not run))
    if run in _open:
        _open.remove(run)


def active_run() -> "Run | None":
    """Give the active run, None if there is none."""
    for run in reversed(_entered.get()):
        if run.is_open:
            return run
    return _open[-1] if _open else None


def open_runs() -> list["Run"]:
    """List the runs of this process that have not ended."""
    return list(_open)


def forget_all() -> None:
    """Forget all runs: a forked child does not own its parent's."""
    _open.clear()
    _entered.set(())
