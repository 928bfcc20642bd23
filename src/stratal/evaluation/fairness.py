"""Group fairness: does the model treat the groups of a sensitive attribute alike?

Definitions follow Fairlearn, so results compare equal. Differences are largest minus smallest over the groups, ratios
smallest over largest. Where Fairlearn puts 0 for a rate that has no rows, this says that the number is undefined, and why.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stratal.core.records import Record
from stratal.evaluation.estimates import Estimate, Terms, made, missing
from stratal.evaluation.intervals import DRAWS, Interval, drawn_counts, generator, percentile_interval, wilson
from stratal.evaluation.metrics import METRICS, Counts
from stratal.evaluation.sample import Floats, Sample, sums
from stratal.evaluation.slices import Partition

# Below this many rows a group's rates are shown with a warning: a Wilson interval is wider than ±0.18 at 0.5.
TINY = 30
# Draws × groups at a time: bounds memory at about 300 MB with 10,000 groups.
AT_ONCE = 2_000_000
FEWEST_DRAWS = 200
# Groups that are listed, the largest ones; all are compared.
LISTED = 100
RATES = ("selection_rate", "recall", "false_positive_rate", "accuracy", "precision")


class GroupRates(Record, frozen=True, kw_only=True):
    """One group: how many rows, how many are positive, how many are called so, and the rates with their intervals."""

    name: str
    n: int
    positives: int
    selected: int
    is_tiny: bool
    rates: dict[str, Estimate]


class Attribute(Record, frozen=True, kw_only=True):
    """A sensitive attribute: its groups (the largest ones are listed) and the gaps between all of them.

    `left_out` names groups smaller than the caller's limit: listed, not compared."""

    name: str
    groups: tuple[GroupRates, ...]
    group_count: int
    gaps: dict[str, Estimate]
    left_out: tuple[str, ...]
    left_out_count: int


@dataclass(frozen=True)
class Gap:
    """A fairness gap: the rates it compares, and whether by difference or ratio. Of several rates the worst counts."""

    name: str
    title: str
    meaning: str
    rates: tuple[str, ...]
    is_ratio: bool = False


_GAPS = (
    Gap("demographic_parity_difference", "Demographic parity", "how much more often one group is called positive", ("selection_rate",)),
    Gap(
        "demographic_parity_ratio", "Demographic parity, ratio", "smallest over largest selection rate", ("selection_rate",), is_ratio=True
    ),
    Gap("equal_opportunity_difference", "Equal opportunity", "how much more often positives of one group are found", ("recall",)),
    Gap("equal_opportunity_ratio", "Equal opportunity, ratio", "smallest over largest recall", ("recall",), is_ratio=True),
    Gap(
        "equalized_odds_difference",
        "Equalized odds",
        "the larger of the gaps in recall and in false alarms",
        ("recall", "false_positive_rate"),
    ),
    Gap(
        "equalized_odds_ratio",
        "Equalized odds, ratio",
        "the smaller of the ratios of recall and of false alarms",
        ("recall", "false_positive_rate"),
        is_ratio=True,
    ),
    Gap(
        "false_positive_rate_difference",
        "False alarms",
        "how much more often negatives of one group are called positive",
        ("false_positive_rate",),
    ),
    Gap("accuracy_difference", "Accuracy", "how much more often one group is called right", ("accuracy",)),
)
GAPS: dict[str, Gap] = {gap.name: gap for gap in _GAPS}


def measure_fairness(rows: Sample, groups: Partition, terms: Terms, *, smallest_group: int = 1) -> Attribute:
    """Compare the groups of one attribute. Groups of fewer than `smallest_group` rows are listed, but not compared."""
    counts = group_counts(rows, groups, terms.threshold)
    total = counts.total
    is_compared = total >= max(smallest_group, np.finfo(np.float64).tiny)
    compared = np.flatnonzero(is_compared)
    kept = Counts(counts.tp[compared], counts.fp[compared], counts.fn[compared], counts.tn[compared])
    gaps = _measure_gaps(kept, [groups.names[index] for index in compared], terms, about=groups.title)
    left_out = [groups.names[index] for index in np.flatnonzero((total > 0) & ~is_compared)]
    listed = np.sort(np.argsort(-total, kind="stable")[:LISTED])
    return Attribute(
        name=groups.title,
        groups=tuple(_group(groups.names[index], counts, int(index), terms.confidence) for index in listed if total[index] > 0),
        group_count=int((total > 0).sum()),
        gaps=gaps,
        left_out=tuple(left_out[:LISTED]),
        left_out_count=len(left_out),
    )


def group_counts(rows: Sample, groups: Partition, threshold: float) -> Counts:
    """Count hits and errors of each group in one pass: four arrays of shape (G,)."""
    called = rows.scores >= threshold
    cell = groups.codes * 4 + called * 2 + rows.labels
    found = sums(cell, rows.weights, 4 * len(groups.names)).reshape(-1, 4)
    return Counts(tp=found[:, 3], fp=found[:, 2], fn=found[:, 1], tn=found[:, 0])


def gap_values(gap: Gap, counts: Counts) -> Floats:
    """Compute a gap over the last axis, the groups; NaN where a rate of any group is undefined."""
    found = [_ratio(_rate(name, counts)) if gap.is_ratio else _difference(_rate(name, counts)) for name in gap.rates]
    worst: Floats = np.min(found, axis=0) if gap.is_ratio else np.max(found, axis=0)
    return worst


def _measure_gaps(counts: Counts, names: list[str], terms: Terms, *, about: str) -> dict[str, Estimate]:
    if len(names) < 2:
        reason = f"there is nothing to compare: {len(names)} group{'s' if not names else ''}"
        return {name: missing(reason, confidence=terms.confidence, n=round(float(counts.total.sum()))) for name in GAPS}
    draws = _draw_gaps(counts, generator(terms.seed, "fairness", about))
    return {name: _measure_gap(gap, counts, names, draws[name], terms.confidence) for name, gap in GAPS.items()}


def _measure_gap(gap: Gap, counts: Counts, names: list[str], draws: tuple[Floats, Floats], confidence: float) -> Estimate:
    n = round(float(counts.total.sum()))
    reason = _undefined_because(gap, counts, names)
    if reason is not None:
        return missing(reason, confidence=confidence, n=n)
    sizes, by_chance = draws
    interval = percentile_interval(sizes, confidence)
    if not isinstance(interval, str):
        apart = max(float(_difference(_rate(rate, counts))) for rate in gap.rates)
        interval = _folded(interval, apart, by_chance, gap, confidence)
    return made(float(gap_values(gap, counts)), interval, confidence=confidence, n=n)


def _folded(interval: Interval, value: float, by_chance: Floats, gap: Gap, confidence: float) -> Interval:
    """A gap is never negative, so its draws stay off zero even where there is none. Where chance alone would open a gap
    this wide between equal groups, the interval reaches to "no gap"."""
    if value > np.nanquantile(by_chance, confidence):
        return interval
    return (interval[0], 1.0) if gap.is_ratio else (0.0, interval[1])


def _draw_gaps(counts: Counts, random: np.random.Generator) -> dict[str, tuple[Floats, Floats]]:
    """Draw all gaps: (B,) sizes, and (B,) differences that chance alone opens: of the draws, each group about its own mean."""
    drawn = drawn_counts(counts, random, min(DRAWS, max(FEWEST_DRAWS, AT_ONCE // len(counts.tp))))
    about_mean = {}
    for rate in sorted({rate for gap in _GAPS for rate in gap.rates}):
        rates = _rate(rate, drawn)
        about_mean[rate] = _difference(rates - rates.mean(axis=0))
    return {name: (gap_values(gap, drawn), np.max([about_mean[rate] for rate in gap.rates], axis=0)) for name, gap in GAPS.items()}


def _undefined_because(gap: Gap, counts: Counts, names: list[str]) -> str | None:
    wanting = {"recall": "positive rows", "false_positive_rate": "negative rows"}
    for rate in gap.rates:
        empty = np.flatnonzero(np.isnan(_rate(rate, counts)))
        if len(empty):
            more = f" (and {len(empty) - 1} more groups)" if len(empty) > 1 else ""
            return f"{names[int(empty[0])]!r} has no {wanting[rate]}{more}; smallest_group= leaves small groups out, visibly"
    if gap.is_ratio and not np.isfinite(gap_values(gap, counts)):
        return "the largest rate is 0, so there is no ratio"
    return None


def _group(name: str, counts: Counts, index: int, confidence: float) -> GroupRates:
    one = Counts(counts.tp[index], counts.fp[index], counts.fn[index], counts.tn[index])
    n = round(float(one.total))
    return GroupRates(
        name=name,
        n=n,
        positives=round(float(one.tp + one.fn)),
        selected=round(float(one.tp + one.fp)),
        is_tiny=n < TINY,
        rates={rate: _rate_estimate(rate, one, confidence) for rate in RATES},
    )


def _rate_estimate(rate: str, counts: Counts, confidence: float) -> Estimate:
    share = METRICS[rate].share
    assert share is not None
    part, whole = (float(number) for number in share(counts))
    if whole == 0:
        reasons = {"recall": "no positive rows", "false_positive_rate": "no negative rows", "precision": "nobody is called positive"}
        return missing(reasons.get(rate, "no rows"), confidence=confidence, n=0)
    return made(part / whole, wilson(part, whole, confidence), confidence=confidence, n=round(whole))


def _rate(name: str, counts: Counts) -> Floats:
    kernel: Callable[[Counts], Floats] | None = METRICS[name].of_counts
    assert kernel is not None
    return kernel(counts)


def _difference(rates: Floats) -> Floats:
    found: Floats = rates.max(axis=-1) - rates.min(axis=-1)
    return found


def _ratio(rates: Floats) -> Floats:
    top = np.asarray(rates.max(axis=-1))
    found: Floats = np.divide(rates.min(axis=-1), top, out=np.full(top.shape, np.nan), where=top > 0)
    return found
