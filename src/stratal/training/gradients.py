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
    header = torch.tensor([loss, *(parameter.grad is not None for parameter in parameters)], dtype=torch.float64)
    group.add_up(header)
    used = [parameter for parameter, ranks in zip(parameters, header[1:].tolist(), strict=True) if ranks]
    for bucket in _buckets([_gradient(parameter) for parameter in used]):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        group.add_up(flat)
        for gradient, total in zip(bucket, torch.split(flat, [gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(total.view_as(gradient))
    return float(header[0])


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if parameter.grad.layout != torch.strided:
        raise Misuse("sparse gradients are not available yet in this version", hint="make the embedding with sparse=False")
    return parameter.grad


def _buckets(gradients: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    size_bytes = 0
    for gradient in gradients:
        if bucket and (gradient.dtype != bucket[0].dtype or size_bytes >= _BUCKET_BYTES):
            yield bucket
            bucket, size_bytes = [], 0
        bucket.append(gradient)
        size_bytes += gradient.numel() * gradient.element_size()
    if bucket:
        yield bucket
