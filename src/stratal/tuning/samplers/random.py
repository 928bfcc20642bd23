"""Random search: each proposal independent of all others."""

from collections.abc import Sequence

import numpy as np

from stratal.core.records import Record, to_json
from stratal.tracking.values import Params
from stratal.tuning.samplers.port import Row, Sampler, generator
from stratal.tuning.space import Space


class Random(Record, frozen=True, kw_only=True, tag="random"):
    """Plan of random search."""

    def describe(self) -> str:
        return to_json(self)

    def build(self, space: Space, seed: int) -> Sampler:
        return RandomSampler(space, seed)


class RandomSampler:
    """Draw each dimension uniformly on its own scale."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._told = 0

    def tell(self, rows: Sequence[Row]) -> None:
        self._told += len(rows)

    def ask(self, k: int, pending: Sequence[Row]) -> list[Params]:
        first = self._told + len(pending)
        return [draw(self._space, generator(self._seed, number)) for number in range(first, first + k)]


def draw(space: Space, random: np.random.Generator) -> Params:
    """Draw params uniformly."""
    columns = random.random(len(space.ranges))
    codes = np.array([int(random.integers(len(d.options))) for _, d in space.choices], dtype=np.int64)
    return space.decode(columns, codes)
