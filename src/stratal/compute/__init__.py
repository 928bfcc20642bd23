"""Where work runs: warm local worker processes today.

May live here: the port that rooms submit work through, its adapters, and what this machine has to give.
May not: what the work is about. A worker gets a function, arguments and slots.
"""

from typing import TYPE_CHECKING

from stratal.compute.port import WorkerDied, Workers, WorkerTraceback, WorkFailed

if TYPE_CHECKING:
    from stratal.compute.local import LocalWorkers as LocalWorkers
    from stratal.compute.resources import machine_slots as machine_slots

_HOMES = {"LocalWorkers": "stratal.compute.local", "machine_slots": "stratal.compute.resources"}

__all__ = ["LocalWorkers", "WorkFailed", "WorkerDied", "WorkerTraceback", "Workers", "machine_slots"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
