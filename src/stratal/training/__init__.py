"""Training: a job of one or many ranks around a loop that belongs to the user.

May live here: the mesh, the order of samples, steps across ranks, checkpoints, the supervisor that starts ranks and recovers them.
May not: models, losses, loops (the user's), metrics and their meaning (evaluation), what a run is (tracking).
Importing this package pulls no torch; only a process that trains does.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratal.training.batches import Batch
    from stratal.training.failures import JobFailed, RankLost
    from stratal.training.jobs import Job
    from stratal.training.launch import job, run_script
    from stratal.training.mesh import Mesh, parse_mesh
    from stratal.training.order import indices
    from stratal.training.records import Checkpoint
    from stratal.training.store import CheckpointStore

__all__ = [
    "Batch",
    "Checkpoint",
    "CheckpointStore",
    "Job",
    "JobFailed",
    "Mesh",
    "RankLost",
    "indices",
    "job",
    "parse_mesh",
    "run_script",
]

_HOMES = {
    "Batch": "batches",
    "Checkpoint": "records",
    "CheckpointStore": "store",
    "Job": "jobs",
    "JobFailed": "failures",
    "Mesh": "mesh",
    "RankLost": "failures",
    "indices": "order",
    "job": "launch",
    "parse_mesh": "mesh",
    "run_script": "launch",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
