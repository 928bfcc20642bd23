"""The ranks of a job as one group: form it, add up and hand round tensors, take it down."""

from datetime import timedelta
from itertools import count
from typing import TypeVar

import torch
from torch import distributed
from torch._C._distributed_c10d import FileStore, PrefixStore

from stratal.training.failures import RankLost
from stratal.training.ranks import Membership

T = TypeVar("T")

# torch's own default for gloo. A dead rank is noticed at once by its torn connection; this is for a silent network.
_TIMEOUT = timedelta(minutes=30)
_number = count()
# Holds something while a group that was formed here waits for its end.
_left_over: list[bool] = []


class Group:
    """All ranks of a job. With one rank every verb is free."""

    def __init__(self, membership: Membership) -> None:
        self.rank = membership.rank
        self.world_size = membership.world_size
        if _left_over:  # of an earlier job of these ranks, all of which are here now
            _left_over.clear()
            distributed.destroy_process_group()
        self._is_ours = self.world_size > 1 and not distributed.is_initialized()
        self._is_launched = membership.meeting_file is not None
        if self._is_ours:
            _form(membership)

    def add_up(self, tensor: torch.Tensor) -> None:
        """Replace the tensor by its sum over the ranks, the same bits on each."""
        if self.world_size > 1:
            try:
                distributed.all_reduce(tensor)
            except RuntimeError as error:
                raise _told(error) from error

    def hand_round(self, tensor: torch.Tensor) -> None:
        """Replace the tensor by that of rank 0."""
        if self.world_size > 1:
            box = tensor.contiguous()  # gloo takes no other
            try:
                distributed.broadcast(box, src=0)
            except RuntimeError as error:
                raise _told(error) from error
            if box is not tensor:
                tensor.copy_(box)

    def tell(self, value: T) -> T:
        """Give rank 0's value on every rank. For small values."""
        if self.world_size == 1:
            return value
        box: list[T] = [value]
        try:
            distributed.broadcast_object_list(box, src=0)
        except RuntimeError as error:
            raise _told(error) from error
        return box[0]

    def tell_bytes(self, data: bytes) -> bytes:
        """Give rank 0's bytes on every rank."""
        if self.world_size == 1:
            return data
        size = torch.tensor([len(data)])
        self.hand_round(size)
        box = torch.frombuffer(bytearray(data), dtype=torch.uint8) if self.rank == 0 else torch.empty(int(size), dtype=torch.uint8)
        self.hand_round(box)
        return box.numpy().tobytes()

    def close(self) -> None:
        """Take the group down, if it was formed here.

        A rank that we launched leaves it to the end of its process, or to its next job: gloo can wait for ever for a peer that
        has closed and gone in the same moment.
        """
        if self._is_ours and self._is_launched:
            _left_over.append(True)
        elif self._is_ours:
            distributed.destroy_process_group()


def _form(membership: Membership) -> None:
    """Form torch's default group under keys of this generation only, so that a dead generation's addresses are never met."""
    try:
        if membership.meeting_file is None:  # torchrun and its like: their variables say where
            distributed.init_process_group("gloo", timeout=_TIMEOUT)
            return
        meeting = FileStore(f"{membership.meeting_file}-{next(_number)}", membership.world_size)
        distributed.init_process_group(
            "gloo",
            store=PrefixStore(f"generation-{membership.generation}/", meeting),
            rank=membership.rank,
            world_size=membership.world_size,
            timeout=_TIMEOUT,
        )
    except RuntimeError as error:
        raise _told(error) from error


def _told(error: RuntimeError) -> Exception:
    """Give what the program should see: a lost rank if the network said so, else torch's own error."""
    if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
        return error
    return RankLost(f"another rank is gone: {str(error).splitlines()[0]}", hint="the rank that failed first says why")
