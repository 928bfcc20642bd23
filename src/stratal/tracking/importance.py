"""Importance of params for a metric, over a set of runs, with its uncertainty. Pure: columns in, a value out.

A forest of extremely randomized trees (Geurts, Ernst and Wehenkel 2006) learns the rank of the metric from the params. The
importance of a param is how much the squared error grows, in variances of the ranks, when its values are shuffled over rows
that a tree has not seen (Breiman 2001). Ranks, so that a run that diverged counts as bad and not as everything. Standard errors by
the delete-d jackknife over random halves of the runs (Ishwaran and Lu 2019). Params that go together share their importance,
and what was never varied has none: it is about these runs, not about the model.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stratal.core.errors import Misuse
from stratal.core.records import Record

Floats = NDArray[np.float64]
Value = bool | int | float | str | None

FEWEST = 20  # runs; below that the intervals are wider than what they are about
MOST = 500  # runs that the forest is grown on; of more, a sample
_TREES, _HALVES, _HALF_TREES, _LEAF = 60, 16, 12, 3
_LEVELS = 10  # texts of a param that have a column of their own; rarer ones share one


class ParamImportance(Record, frozen=True, kw_only=True):
    """One param. loss: growth of the squared error without it, in variances of the metric's ranks: 0 is none, 1 is all that
    there is to know, up to 2. low, high: its 95 % interval.

    correlation: Spearman's rank correlation with the metric, None for texts."""

    name: str
    loss: float
    low: float
    high: float
    correlation: float | None


class Importance(Record, frozen=True, kw_only=True):
    """params: the most important first. explained: share of the variance of ranks that the params explain on unseen runs (R2);
    near 0 or below, the losses mean nothing. sampled: runs that the forest was grown on."""

    metric: str
    runs: int
    sampled: int
    explained: float
    params: tuple[ParamImportance, ...]

    @property
    def is_meaningful(self) -> bool:
        """Whether the params explain enough of the metric for the losses to be read."""
        return self.explained >= 0.1


class _Columns(NamedTuple):
    """Features (n, d), and which of them belong to which param."""

    features: Floats
    owners: tuple[NDArray[np.int64], ...]


def importance_of(metric: str, values: Sequence[float | None], params: Mapping[str, Sequence[Value]], *, seed: int = 0) -> Importance:
    """Say which params matter for a metric. values, params[name]: one per run; runs without a number are left out.

    Raises Misuse for fewer than 20 runs with a number, a metric that is the same in all, or params that never vary.
    Cost: about a second for 100 runs of 10 params, 4 s for 500 of 20."""
    known = np.array([value is not None and value == value for value in values], bool)
    runs = int(known.sum())
    if runs < FEWEST:
        raise Misuse(
            f"{runs} runs with a number for {metric!r} are too few to say what matters", hint=f"give {FEWEST} or more; compare them instead"
        )
    ranks = _ranks(np.array([value for value in values if value is not None and value == value], np.float64))
    if not ranks.std() > 0:
        raise Misuse(f"{metric!r} is the same in all {runs} runs", hint="choose another metric, or other runs")
    varying = {name: _known(column, known) for name, column in params.items()}
    varying = {name: column for name, column in varying.items() if len({(type(value) is bool, value) for value in column}) > 1}
    if not varying:
        raise Misuse("no param varies over these runs", hint="choose runs that differ in their params")
    dice = np.random.default_rng(seed)
    chosen = np.sort(dice.permutation(runs)[:MOST])
    target = (ranks[chosen] - ranks[chosen].mean()) / ranks[chosen].std()
    encoded = _encode({name: [column[at] for at in chosen.tolist()] for name, column in varying.items()})
    losses, explained = _grow(encoded, target, _TREES, dice)
    errors = _errors(encoded, target, dice)
    found = [
        ParamImportance(
            name=name, loss=float(loss), low=float(loss - 1.96 * error), high=float(loss + 1.96 * error),
            correlation=_spearman([column[at] for at in chosen.tolist()], target),
        )
        for (name, column), loss, error in zip(varying.items(), losses, errors, strict=True)
    ]  # fmt: skip
    ordered = tuple(sorted(found, key=lambda each: -each.loss))
    return Importance(metric=metric, runs=runs, sampled=len(chosen), explained=explained, params=ordered)


def _known(column: Sequence[Value], known: NDArray[np.bool_]) -> list[Value]:
    found = [value for value, is_known in zip(column, known.tolist(), strict=True) if is_known]
    return [None if isinstance(value, float) and value != value else value for value in found]


def _ranks(values: Floats) -> Floats:
    """Give mean ranks: equal values share theirs."""
    order = np.argsort(values, kind="stable")
    _, first, counts = np.unique(values[order], return_index=True, return_counts=True)
    ranks = np.empty(len(values), np.float64)
    ranks[order] = np.repeat(first + (counts - 1) / 2, counts)
    return ranks


def _encode(params: Mapping[str, Sequence[Value]]) -> _Columns:
    """Turn params into features: numbers as ranks, texts as one column a level, and a column for what is missing."""
    columns: list[Floats] = []
    owners: list[NDArray[np.int64]] = []
    for values in params.values():
        mine = _levels(values) if any(isinstance(value, str) for value in values) else _numbers(values)
        owners.append(np.arange(len(columns), len(columns) + len(mine)))
        columns += mine
    return _Columns(np.column_stack(columns), tuple(owners))


def _numbers(values: Sequence[Value]) -> list[Floats]:
    missing = np.array([value is None for value in values])
    numbers = np.array([0.0 if value is None else float(value) for value in values], np.float64)
    ranks = np.zeros(len(numbers))
    ranks[~missing] = _ranks(numbers[~missing])
    ranks[missing] = np.median(ranks[~missing])
    return [ranks, missing.astype(np.float64)] if missing.any() else [ranks]


def _levels(values: Sequence[Value]) -> list[Floats]:
    texts = ["" if value is None else str(value) for value in values]
    counts = {text: texts.count(text) for text in set(texts)}
    common = sorted(counts, key=lambda text: (-counts[text], text))[:_LEVELS]
    return [np.array([text == level for text in texts], np.float64) for level in common]


def _spearman(column: Sequence[Value], target: Floats) -> float | None:
    if any(isinstance(value, str) for value in column):
        return None
    has = np.array([value is not None for value in column])
    ranks = _ranks(np.array([float(value) for value in column if value is not None and not isinstance(value, str)], np.float64))
    if len(ranks) < 3 or not ranks.std() > 0 or not target[has].std() > 0:
        return None
    return float(np.corrcoef(ranks, _ranks(target[has]))[0, 1])


def _errors(columns: _Columns, target: Floats, dice: np.random.Generator) -> Floats:
    half = len(target) // 2
    found = []
    for _ in range(_HALVES):
        chosen = dice.permutation(len(target))[:half]
        found.append(_grow(columns._replace(features=columns.features[chosen]), target[chosen], _HALF_TREES, dice)[0])
    # r / d of the jackknife is 1 for halves.
    losses = np.array(found)
    spread: Floats = losses.std(axis=0)
    return spread


def _grow(columns: _Columns, target: Floats, trees: int, dice: np.random.Generator) -> tuple[Floats, float]:
    """Grow a forest; give the loss per param, and the share explained, both on rows that trees have not seen."""
    x, n = columns.features, len(target)
    lost = np.zeros(len(columns.owners))
    total, counts = np.zeros(n), np.zeros(n)
    for _ in range(trees):
        drawn = dice.integers(0, n, n)
        unseen = np.setdiff1d(np.arange(n), drawn)
        if not len(unseen):
            continue
        tree = _Tree(x[drawn], target[drawn], dice)
        said = tree.predict(x[unseen])
        total[unseen] += said
        counts[unseen] += 1
        error = np.mean((said - target[unseen]) ** 2)
        for at, mine in enumerate(columns.owners):
            shuffled = x[unseen].copy()
            shuffled[:, mine] = shuffled[dice.permutation(len(unseen))][:, mine]
            lost[at] += np.mean((tree.predict(shuffled) - target[unseen]) ** 2) - error
    variance = float(target.var()) or 1.0
    seen = counts > 0
    explained = 1 - float(np.mean((total[seen] / counts[seen] - target[seen]) ** 2)) / variance if seen.any() else 0.0
    return lost / trees / variance, explained


class _Tree:
    """One extremely randomized regression tree: at each node one random cut per feature, the best of them is taken."""

    def __init__(self, x: Floats, y: Floats, dice: np.random.Generator) -> None:
        self._feature: list[int] = []
        self._cut: list[float] = []
        self._left: list[int] = []
        self._right: list[int] = []
        self._value: list[float] = []
        waiting = [(np.arange(len(y)), -1, False)]
        while waiting:
            rows, parent, is_right = waiting.pop()
            node = self._add(float(y[rows].mean()))
            if parent >= 0:
                (self._right if is_right else self._left)[parent] = node
            cut = _best_cut(x[rows], y[rows], dice) if len(rows) >= 2 * _LEAF else None
            if cut is None:
                continue
            self._feature[node], self._cut[node] = cut
            goes_left = x[rows, cut[0]] < cut[1]
            waiting += [(rows[goes_left], node, False), (rows[~goes_left], node, True)]

    def _add(self, value: float) -> int:
        for column, empty in ((self._feature, -1), (self._cut, 0.0), (self._left, -1), (self._right, -1), (self._value, value)):
            column.append(empty)  # type: ignore[arg-type]  # each its own type
        return len(self._value) - 1

    def predict(self, x: Floats) -> Floats:
        """Give what the tree says, (n,), all rows going down together."""
        feature, cut = np.array(self._feature), np.array(self._cut)
        left, right, value = np.array(self._left), np.array(self._right), np.array(self._value)
        at = np.zeros(len(x), np.int64)
        rows = np.arange(len(x))
        while (inner := feature[at] >= 0).any():
            here = at[inner]
            at[inner] = np.where(x[rows[inner], feature[here]] < cut[here], left[here], right[here])
        return value[at]


def _best_cut(x: Floats, y: Floats, dice: np.random.Generator) -> tuple[int, float] | None:
    low, high = x.min(axis=0), x.max(axis=0)
    cuts = low + (high - low) * dice.uniform(1e-9, 1.0, x.shape[1])
    below = x < cuts
    n_left = below.sum(axis=0)
    n_right = len(y) - n_left
    allowed = (n_left >= _LEAF) & (n_right >= _LEAF)
    if not allowed.any():
        return None
    sum_left = y @ below
    gain = np.where(allowed, sum_left**2 / np.maximum(n_left, 1) + (y.sum() - sum_left) ** 2 / np.maximum(n_right, 1), -np.inf)
    best = int(np.argmax(gain))
    return best, float(cuts[best])
