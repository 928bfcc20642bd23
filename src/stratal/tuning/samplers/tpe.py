"""TPE: propose where good results are dense and bad ones are not. Multivariate, as Optuna 5 does it by default.

The best tenth (at most 25) of the rows is `below`, the rest and all that is being tried (constant liar) is `above`; of some
candidates drawn from the density of `below`, the one with the largest ratio of densities is proposed.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stratal.core.errors import Misuse
from stratal.core.records import Record, to_json
from stratal.tracking.values import Params
from stratal.tuning.samplers.parzen import Parzen
from stratal.tuning.samplers.port import Row, Sampler, generator
from stratal.tuning.samplers.random import draw
from stratal.tuning.space import Space


class TPE(Record, frozen=True, kw_only=True, tag="tpe"):
    """Plan of TPE. startup: results to wait for, searching at random until then. candidates: drawn per proposal. Both Optuna's."""

    startup: int = 10
    candidates: int = 24

    def __post_init__(self) -> None:
        if self.startup < 1 or self.candidates < 1:
            raise Misuse(f"TPE(startup={self.startup}, candidates={self.candidates}): both must be 1 or more")

    def describe(self) -> str:
        return to_json(self)

    def build(self, space: Space, seed: int) -> Sampler:
        return TPESampler(space, seed, self)


class TPESampler:
    """Keeps the rows as columns; everything else is computed per proposal, in O(rows x (dimensions + candidates))."""

    def __init__(self, space: Space, seed: int, plan: TPE) -> None:
        self._space = space
        self._seed = seed
        self._plan = plan
        self._told = 0
        self._rows: list[Row] = []
        self._columns = np.empty((0, len(space.ranges)))
        self._codes = np.empty((0, len(space.choices)), dtype=np.int64)

    def tell(self, rows: Sequence[Row]) -> None:
        self._told += len(rows)
        useful = [row for row in rows if row.status != "failed"]
        if not useful:
            return
        columns, codes = self._space.encode([row.params for row in useful])
        self._rows += useful
        self._columns = np.vstack([self._columns, columns])
        self._codes = np.vstack([self._codes, codes])

    def ask(self, k: int, pending: Sequence[Row]) -> list[Params]:
        tried, proposals = list(pending), []
        for number in range(self._told + len(pending), self._told + len(pending) + k):
            params = self._propose(generator(self._seed, number), tried)
            proposals.append(params)
            tried.append(Row(number=number, params=params, status="running"))
        return proposals

    def _propose(self, random: np.random.Generator, pending: Sequence[Row]) -> Params:
        if len(self._rows) < self._plan.startup:
            return draw(self._space, random)
        columns, codes = self._space.encode([row.params for row in pending])
        rows = [*self._rows, *pending]
        columns, codes = np.vstack([self._columns, columns]), np.vstack([self._codes, codes])
        order = np.argsort([row.number for row in rows], kind="stable")
        is_below = split([rows[i] for i in order])
        below = Parzen(self._space, columns[order][is_below], codes[order][is_below])
        above = Parzen(self._space, columns[order][~is_below], codes[order][~is_below])
        points, point_codes = below.sample(random, self._plan.candidates)
        gain = below.log_density(points, point_codes) - above.log_density(points, point_codes)
        best = int(np.argmax(gain))
        return self._space.decode(points[best], point_codes[best])


def split(rows: Sequence[Row]) -> NDArray[np.bool_]:
    """Mark the best tenth of the ended rows, at most 25: finished ones by loss, then stopped ones, the furthest first."""
    ended = [i for i, row in enumerate(rows) if row.status != "running"]
    best = sorted(ended, key=lambda i: _rank(rows[i]))[: min(math.ceil(0.1 * len(ended)), 25)]
    mark = np.zeros(len(rows), dtype=bool)
    mark[best] = True
    return mark


def _rank(row: Row) -> tuple[int, float, float, int]:
    loss = math.inf if row.loss is None or math.isnan(row.loss) else row.loss
    if row.status == "finished":
        return (0, 0.0, loss, row.number)
    return (1, math.inf if row.step is None else -float(row.step), loss, row.number)
