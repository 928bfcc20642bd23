"""Parallel coordinates: for each param and metric an axis, for each run its height on each. Pure: values in, heights out."""

import math
from collections.abc import Mapping, Sequence

from stratal.core.records import Record

Value = bool | int | float | str | None
MOST_LEVELS = 12  # texts with a height of their own; rarer ones share the lowest


class Axis(Record, frozen=True, kw_only=True):
    """One axis. ticks: (height, label), heights 0 (below) to 1. heights: one per run, None where it has no value.

    is_log: numbers that are all positive and span a factor of 100 or more stand by their logarithm."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    heights: tuple[float | None, ...]
    is_log: bool = False


def axes_of(columns: Mapping[str, Sequence[Value]]) -> tuple[Axis, ...]:
    """Give an axis per column, in order. Numbers by their size, texts and booleans as levels; NaN and infinities have no height."""
    return tuple(
        _levels(name, values) if any(isinstance(value, str | bool) for value in values) else _numbers(name, values)
        for name, values in columns.items()
    )


def _numbers(name: str, values: Sequence[Value]) -> Axis:
    finite = [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    is_log = low > 0 and high / low >= 100

    def height(value: float) -> float:
        if not high > low:
            return 0.5
        return math.log(value / low) / math.log(high / low) if is_log else (value - low) / (high - low)

    heights = tuple(height(float(value)) if isinstance(value, int | float) and math.isfinite(value) else None for value in values)
    marks = [low, high] if high > low else [low]
    if high > low:
        marks += [math.sqrt(low * high)] if is_log else [(low + high) / 2]
    ticks = tuple((height(mark), f"{mark:.4g}") for mark in sorted(marks)) if finite else ()
    return Axis(name=name, ticks=ticks, heights=heights, is_log=is_log)


def _levels(name: str, values: Sequence[Value]) -> Axis:
    texts = [None if value is None else str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    counts: dict[str, int] = {}
    for text in texts:
        if text is not None:
            counts[text] = counts.get(text, 0) + 1
    named = sorted(sorted(counts, key=lambda text: -counts[text])[:MOST_LEVELS], reverse=True)
    rest = len(counts) > MOST_LEVELS
    levels = [*(["(others)"] if rest else []), *named]
    at = {level: number / max(1, len(levels) - 1) if len(levels) > 1 else 0.5 for number, level in enumerate(levels)}
    heights = tuple(None if text is None else at.get(text, at.get("(others)", 0.0)) for text in texts)
    return Axis(name=name, ticks=tuple((height, level) for level, height in at.items()), heights=heights)
