"""Gradients over ranks: what one process would have computed on the whole global batch.

Our own sums instead of DistributedDataParallel: shares may be uneven or empty, a parameter that no rank used keeps no gradient
(an optimizer with weight decay would move it otherwise), and the model stays the user's object.
"""

from collections.abc import Iterator, Sequence

import torch

from stratal.core.errors import Misuse
from stratal.training.group import Group

# torch's DistributedDataParallel sums in buckets of this size.
_BUCKET_BYTES = 25 * 1024 * 1024


def sum_gradients(group: Group, parameters: Sequence[torch.nn.Parameter], loss: float) -> float:
    """Add up the gradients over the ranks, in place, and give the sum of their losses.

    Each rank has weighted its mean loss by its share of the global batch before the backward pass.
    """
    if group.world_size == 1:
        return loss
    # The loss, and which parameters were used, travel in front of the first gradients: a small model costs one exchange.
    device = parameters[0].device if parameters else None
    header = torch.tensor([loss, *(parameter.grad is not None for parameter in parameters)], dtype=_header_type(parameters), device=device)
    for bucket in _buckets([header, *(_gradient(parameter) for parameter in parameters)]):
        flat = torch.cat([part.reshape(-1) for part in bucket])
        group.add_up(flat)
        for part, total in zip(bucket, torch.split(flat, [part.numel() for part in bucket]), strict=True):
            part.copy_(total.view_as(part))
    total_loss, *used = header.tolist()
    for parameter, ranks in zip(parameters, used, strict=True):
        if not ranks:
            parameter.grad = None
    return float(total_loss)


def _header_type(parameters: Sequence[torch.nn.Parameter]) -> torch.dtype:
    first = parameters[0].dtype if parameters else torch.float64
    return first if first in (torch.float32, torch.float64) else torch.float64  # half a float cannot count ranks


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if parameter.grad.layout != torch.strided:
        raise Misuse("sparse gradients are not available yet in this version", hint="make the embedding with sparse=False")
    return parameter.grad


def _buckets(parts: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    size_bytes = 0
    for part in parts:
        if bucket and ((part.dtype, part.device) != (bucket[0].dtype, bucket[0].device) or size_bytes >= _BUCKET_BYTES):
            yield bucket
            bucket, size_bytes = [], 0
        bucket.append(part)
        size_bytes += part.numel() * part.element_size()
    if bucket:
        yield bucket
