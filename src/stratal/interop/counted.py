"""Counts between edges that another tool made, as a histogram of ours where they are one."""

from typing import TypeGuard

from stratal.core.errors import Misuse
from stratal.tracking.media.histograms import Histogram, histogram

# Above this, counts are no longer whole in 64-bit floats.
_MOST = 2**53


def counted(counts: object, edges: object) -> Histogram | None:
    """Give a histogram; None for densities, buckets without width, and what is not made of numbers."""
    if not _are_numbers(counts) or not _are_numbers(edges):
        return None
    try:
        return histogram(counts=counts, edges=edges)
    except Misuse:
        return None


def is_figure(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is a number that a float holds to the last digit before its point: no NaN, no infinity, nothing huge."""
    return isinstance(value, int | float) and abs(value) < _MOST


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(map(is_figure, values))
