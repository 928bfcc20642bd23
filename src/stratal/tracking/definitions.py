"""Definitions of metrics: what a metric is drawn against, and which of its values stands for it. Pure rules."""

import math
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from stratal.core.errors import Misuse
from stratal.core.records import Record
from stratal.tracking.facts import MetricDefinition, check_name

Goal = Literal["minimize", "maximize"]
Summary = Literal["last", "first", "min", "max", "mean", "best"]
STEP, TIME = "step", "time"


class SummaryValue(Record, frozen=True, kw_only=True):
    """The value that stands for a metric. how: last, first, min, max, mean. step: where it was reached first, None of a mean."""

    value: float
    step: int | None
    how: str


class Curve(NamedTuple):
    """A metric against another: x, values (n,) float64 and the steps (n,) int64 that they share, in order of step."""

    x: NDArray[np.float64]
    values: NDArray[np.float64]
    steps: NDArray[np.int64]


def define(name: str, x: str | None, summary: str | None, goal: str | None) -> MetricDefinition:
    """Check a definition. Raises Misuse."""
    check_name("metric", name)
    if x is not None:
        check_name("x of a metric", x)
        if x == name:
            raise Misuse(f"{name!r} cannot be drawn against itself", hint="x is another metric, 'step' or 'time'")
    if goal not in (None, *get_args(Goal)):
        raise Misuse(f"{goal!r} is no goal", hint=f"choose one of: {', '.join(get_args(Goal))}")
    summary = summary or ("last" if goal is None else "best")
    if summary not in get_args(Summary):
        raise Misuse(f"{summary!r} is no summary", hint=f"choose one of: {', '.join(get_args(Summary))}")
    if summary == "best" and goal is None:
        raise Misuse(f"nobody knows what is best of {name!r}", hint="say goal='minimize' or goal='maximize'")
    return MetricDefinition(name=name, x=x, summary=summary, goal=goal)


def definition_of(name: str, definitions: Mapping[str, MetricDefinition]) -> MetricDefinition | None:
    """Give the definition of a metric: the one of its own name, else the longest pattern that matches ('*' is any text)."""
    if name in definitions:
        return definitions[name]
    matching = [pattern for pattern in definitions if "*" in pattern and _matches(pattern, name)]
    return definitions[max(matching, key=lambda pattern: (len(pattern), pattern))] if matching else None


def summarize(definition: MetricDefinition, steps: NDArray[np.int64], values: NDArray[np.float64]) -> SummaryValue:
    """Give the value that stands for a series of at least one point. NaN counts only where there is nothing else."""
    how = definition.summary
    if how == "best":
        how = "min" if definition.goal == "minimize" else "max"
    real = np.flatnonzero(~np.isnan(values))
    if how == "mean":
        with np.errstate(over="ignore", invalid="ignore"):
            return SummaryValue(value=float(values[real].mean()) if real.size else math.nan, step=None, how=how)
    if how in ("min", "max") and real.size:
        at = int(real[np.argmin(values[real]) if how == "min" else np.argmax(values[real])])
    else:
        at = 0 if how == "first" else len(values) - 1
    return SummaryValue(value=float(values[at]), step=int(steps[at]), how=how)


def align(steps: NDArray[np.int64], x_steps: NDArray[np.int64], x: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Give, for each step, the last x at or before it: which steps have one, and these x. Both kinds of steps ascend."""
    at = np.searchsorted(x_steps, steps, side="right") - 1
    has = at >= 0
    return has, x[at[has]]


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None
