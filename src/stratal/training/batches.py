"""Batches: lazy handles on a stretch of the order. A rank takes only its own share of the data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import numpy as np
import torch

from stratal.core.errors import Misuse
from stratal.training.order import Indices, indices, share


class Indexed(Protocol):
    """Data that gives many samples at once: `data[array of indices]`. Arrays, tensors and frames do."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: Indices, /) -> object: ...


# Samples whose order is computed in one go: enough that a small batch does not pay for NumPy's calls.
_AHEAD = 8192


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A global batch: which samples, not yet the samples. `job.step` takes this rank's share of it."""

    dataset: object
    # The samples of the whole batch, in order: (n,) int64.
    indices: Indices
    # The epoch of this batch, from 0.
    epoch: int
    # Samples that the job has consumed, over all ranks, when this batch is done.
    consumed: int
    # Whether this batch is the last of its epoch.
    ends_epoch: bool

    def __len__(self) -> int:
        return len(self.indices)

    def part(self, rank: int, world_size: int) -> tuple[object, int]:
        """Give a rank's share of the data, and how many samples it holds (0: there is nothing for this rank)."""
        mine = self.indices[share(len(self.indices), rank, world_size)]
        return take(self.dataset, mine), len(mine)


def batches_of(dataset: object, *, size: int, seed: int, epoch: int, position: int, consumed: int) -> Iterator[Batch]:
    """Give the batches of one epoch from `position` on; the last may be short, nothing is dropped.

    consumed: samples that the job has consumed before `position`.
    """
    rows = count_samples(dataset)
    ahead = np.empty(0, dtype=np.int64)
    while position < rows:
        if len(ahead) < size:
            found = indices(seed=seed, epoch=epoch, position=position + len(ahead), count=max(size, _AHEAD), size=rows)
            ahead = np.concatenate([ahead, found])
        chosen, ahead = ahead[:size], ahead[size:]
        position += len(chosen)
        consumed += len(chosen)
        yield Batch(dataset=dataset, indices=chosen, epoch=epoch, consumed=consumed, ends_epoch=position == rows)


def count_samples(dataset: object) -> int:
    """Count the samples. Raises Misuse if parts have different lengths, or if there are none."""
    lengths = dict(_lengths(dataset, "the data set"))
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise Misuse(f"the parts of the data set have different lengths ({told})", hint="each part holds one entry per sample")
    count = next(iter(lengths.values()), 0)
    if count == 0:
        raise Misuse("the data set is empty", hint="a job needs at least one sample")
    return count


def take(dataset: object, chosen: Indices) -> object:
    """Take samples, keeping the shape of the data set. Numeric arrays become tensors; other results are left as they are."""
    if isinstance(dataset, Mapping):
        return {name: take(part, chosen) for name, part in dataset.items()}
    if isinstance(dataset, tuple):
        return _like(dataset, [take(part, chosen) for part in dataset])
    if isinstance(dataset, torch.Tensor):
        return dataset[torch.from_numpy(chosen)]
    if not _is_indexed(dataset):
        raise Misuse(
            f"{type(dataset).__name__} is not a data set",
            hint="give arrays, tensors, a dict or tuple of them, or an object with len() and []",
        )
    try:
        return _as_tensors(dataset[chosen])
    except TypeError as error:
        raise Misuse(
            f"{type(dataset).__name__} does not give many samples at once: {error}",
            hint="a data set is indexed by an array of sample numbers: data[np.array([4, 2, 7])]",
        ) from error


def _lengths(dataset: object, name: str) -> Iterator[tuple[str, int]]:
    if isinstance(dataset, Mapping):
        for key, part in dataset.items():
            yield from _lengths(part, str(key))
    elif isinstance(dataset, tuple):
        for number, part in enumerate(dataset):
            yield from _lengths(part, f"{name}[{number}]")
    elif _is_indexed(dataset):
        yield name, len(dataset)
    else:
        raise Misuse(
            f"{name} is a {type(dataset).__name__}, which is not a data set", hint="give arrays, tensors, or an object with len() and []"
        )


def _is_indexed(value: object) -> TypeGuard[Indexed]:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def _as_tensors(value: object) -> object:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.from_numpy(value)
    if isinstance(value, Mapping):
        return {name: _as_tensors(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return _like(value, [_as_tensors(part) for part in value])
    return value


def _like(shape: tuple[object, ...], parts: list[object]) -> object:
    """Give a tuple of the parts; a named one if the shape is named."""
    make = getattr(type(shape), "_make", tuple)
    made: object = make(parts)
    return made
