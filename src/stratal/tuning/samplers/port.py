"""What a sampler is: the port, and the rows that it is told."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from stratal.core.records import Record
from stratal.tracking.values import Params
from stratal.tuning.space import Space

RowStatus = Literal["running", "finished", "stopped", "failed"]


class Row(Record, frozen=True, kw_only=True):
    """A trial as a sampler sees it. Less loss is better. A stopped trial has the loss and step of its last report, if it made one."""

    number: int
    params: Params
    status: RowStatus
    loss: float | None = None
    step: int | None = None


class Sampler(Protocol):
    """Proposes params.

    Laws
    1 Proposals lie in the space, and have its types.
    2 The j-th proposal of `ask` is that of trial number (rows told) + (rows pending) + j.
    3 It is a function of the seed, that number, and the *sets* of rows told and pending: the order of telling does not matter.
    4 `ask` does not change the sampler: asked again, it says the same.
    """

    def tell(self, rows: Sequence[Row]) -> None:
        """Take in trials that have ended, each once."""
        ...

    def ask(self, k: int, pending: Sequence[Row]) -> list[Params]:
        """Propose k params, knowing that those of `pending` are being tried."""
        ...


@runtime_checkable
class SamplerPlan(Protocol):
    """How to make a sampler: a small value that travels to workers. `describe` is kept with the study, and a change opens a version."""

    def describe(self) -> str: ...

    def build(self, space: Space, seed: int) -> Sampler: ...


def generator(seed: int, number: int) -> np.random.Generator:
    """Give the random numbers of one proposal: nothing that was drawn for another one can shift them."""
    return np.random.default_rng((seed, number))
