"""Who this process is among the ranks: said by our supervisor, by a launcher's variables, or alone.

Torch-free: the supervisor's side and the user's side both read it.
"""

import mmap
import struct
from dataclasses import dataclass
from typing import Protocol

from stratal.core.records import Record
from stratal.core.settings import launched_ranks

NONE = -1
_CELL = struct.Struct("<qq")


class Recovery(Record, frozen=True, kw_only=True):
    """Why a generation after the first was started. Times are monotonic seconds of this machine."""

    cause: str
    rank: int | None
    steps_reached: int
    died_at_s: float


class Board:
    """Memory shared by the supervisor and its ranks: per rank the steps done, and the step of the last checkpoint."""

    def __init__(self, world_size: int) -> None:
        self._cells = mmap.mmap(-1, _CELL.size * world_size)
        self._world_size = world_size
        for rank in range(world_size):
            self.write(rank, steps=0, checkpoint=NONE)

    def write(self, rank: int, *, steps: int, checkpoint: int) -> None:
        """Say how far a rank is. `checkpoint` NONE: there is none."""
        _CELL.pack_into(self._cells, rank * _CELL.size, steps, checkpoint)

    def start_again(self) -> None:
        """Forget the steps, keep the last checkpoint: a new generation begins."""
        checkpoint = self.checkpoint()
        for rank in range(self._world_size):
            self.write(rank, steps=0, checkpoint=checkpoint if rank == 0 else NONE)

    def steps(self) -> int:
        """Give the furthest step done."""
        return max(cell[0] for cell in self._read())

    def checkpoint(self) -> int:
        """Give the step of the last durable checkpoint, or NONE."""
        return max(cell[1] for cell in self._read())

    def _read(self) -> list[tuple[int, int]]:
        return [_CELL.unpack_from(self._cells, rank * _CELL.size) for rank in range(self._world_size)]


class OpenedJob(Record, frozen=True, kw_only=True):
    """A job that a program has opened: its run, and the store that holds it."""

    run: str
    store: str


class Reports(Protocol):
    """What a rank tells its supervisor."""

    def opened(self, job: OpenedJob) -> None:
        """Say that the program has opened a job."""


@dataclass(frozen=True, kw_only=True)
class Membership:
    """The place of this process among the ranks of one generation."""

    rank: int = 0
    world_size: int = 1
    # 1 for the first start, one more after each recovery.
    generation: int = 1
    # File through which the ranks of this generation meet. None: a launcher's variables say where.
    meeting_file: str | None = None
    # Whether ranks were started by a launcher or by us. False: this is a plain process.
    is_launched: bool = False
    # What earlier generations opened, in order: the first job of the program takes the first, and so on.
    opened: tuple[OpenedJob, ...] = ()
    recovery: Recovery | None = None
    # The run that the job becomes part of, unless another one is active here.
    parent: str | None = None
    board: Board | None = None
    # Tells the supervisor about a job that was opened.
    reports: Reports | None = None


_here: Membership | None = None


def enter(membership: Membership) -> None:
    """Say who this process is. Called once, in a rank, before the user's program."""
    global _here
    _here = membership


def current_membership() -> Membership:
    """Give the place of this process among the ranks."""
    if _here is not None:
        return _here
    ranks = launched_ranks()
    if ranks is None:
        return Membership()
    return Membership(rank=ranks.rank, world_size=ranks.world_size, is_launched=True)
