"""What a model earns: a KPI from a cost matrix, its curve over thresholds, and the threshold that pays best."""

import math

import numpy as np

from stratal.core.errors import Misuse
from stratal.core.records import Record
from stratal.evaluation.estimates import Estimate, Terms, made, missing
from stratal.evaluation.intervals import Interval, drawn_counts, generator, percentile_interval
from stratal.evaluation.metrics import Counts, confusion
from stratal.evaluation.sample import Cells, Floats, Sample
from stratal.tracking.facts import check_name

# Resamples that choose their own threshold, to see by how much choosing flatters.
OPTIMISM_DRAWS = 200
OPTIMISM_BINS = 512


class Kpi(Record, frozen=True, kw_only=True):
    """What each kind of row earns (negative: costs), in `unit`, once a decision is made about it."""

    name: str
    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float
    unit: str


class KpiEstimate(Record, frozen=True, kw_only=True):
    """A KPI's sum over the rows. `was_chosen`: the threshold was chosen on these same rows, which flatters the sum by about `optimism`."""

    value: float | None
    low: float | None
    high: float | None
    confidence: float
    n: int
    reason: str | None
    threshold: float
    unit: str
    was_chosen: bool
    optimism: float | None
    # What everybody, and nobody, being called positive would give.
    everybody: float
    nobody: float


class Curve(Record, frozen=True, kw_only=True):
    """A KPI over thresholds: call positive the rows with score >= threshold, a share `selected` of all."""

    thresholds: tuple[float, ...]
    selected: tuple[float, ...]
    values: tuple[float, ...]


def kpi(
    name: str,
    *,
    true_positive: float,
    false_positive: float,
    false_negative: float = 0.0,
    true_negative: float = 0.0,
    unit: str = "",
) -> Kpi:
    """Describe a KPI: what one row of each kind earns.

    A campaign that costs 15 and keeps 125 of revenue when it reaches a leaver:
    kpi("campaign profit", true_positive=110.0, false_positive=-15.0, unit="EUR")."""
    worth = (true_positive, false_positive, false_negative, true_negative)
    check_name("KPI", name)
    if not all(math.isfinite(number) for number in worth):
        raise Misuse(f"the KPI {name!r} has a worth that is not finite", hint="give what one row earns, as a plain number")
    return Kpi(
        name=name,
        true_positive=float(true_positive),
        false_positive=float(false_positive),
        false_negative=float(false_negative),
        true_negative=float(true_negative),
        unit=unit,
    )


def worth(of: Kpi, counts: Counts) -> Floats:
    """Sum what the rows earn. Leading axes are kept."""
    return counts.tp * of.true_positive + counts.fp * of.false_positive + counts.fn * of.false_negative + counts.tn * of.true_negative


def worth_by_depth(of: Kpi, cells: Cells) -> Floats:
    """Give (..., K + 1) sums: entry j calls the j highest cells positive, entry 0 nobody."""
    nobody = cells.positives.sum(-1) * of.false_negative + cells.negatives.sum(-1) * of.true_negative
    gain = cells.positives * (of.true_positive - of.false_negative) + cells.negatives * (of.false_positive - of.true_negative)
    steps = np.cumsum(gain[..., ::-1], axis=-1)
    found: Floats = np.concatenate([np.zeros((*steps.shape[:-1], 1)), steps], axis=-1) + np.asarray(nobody)[..., None]
    return found


def thresholds_by_depth(cells: Cells) -> Floats:
    """Give the K + 1 thresholds that belong to the depths: midpoints, so that a rounding of a score decides nothing."""
    down = cells.scores[::-1]
    middle = (down[:-1] + down[1:]) / 2
    # Neighbouring floats: their midpoint may round onto the lower one, which would call it positive as well.
    middle = np.where(middle > down[1:], middle, down[:-1])
    return np.concatenate([[np.nextafter(down[0], np.inf)], middle, [down[-1]]])


def best_threshold(of: Kpi, rows: Sample) -> float:
    """Give the threshold that earns most on these rows; among equals the highest, which acts on fewest."""
    if len(rows) == 0:
        raise Misuse(f"no threshold can be chosen for {of.name!r}: there are no rows", hint="pass threshold=")
    return float(thresholds_by_depth(rows.cells)[int(np.argmax(worth_by_depth(of, rows.cells)))])


def measure_kpi(of: Kpi, rows: Sample, terms: Terms, *, was_chosen: bool) -> KpiEstimate:
    """Measure a KPI at the threshold of the terms."""
    confidence = terms.confidence
    counts = confusion(rows.cells, terms.threshold)
    if len(rows) == 0:
        found: Estimate = missing("there are no rows", confidence=confidence, n=0)
    else:
        random = generator(terms.seed, "kpi", of.name)
        interval: Interval | str = percentile_interval(worth(of, drawn_counts(counts, random)), confidence)
        found = made(float(worth(of, counts)), interval, confidence=confidence, n=rows.count)
    sums = worth_by_depth(of, rows.cells)
    return KpiEstimate(
        value=found.value,
        low=found.low,
        high=found.high,
        confidence=confidence,
        n=found.n,
        reason=found.reason,
        threshold=terms.threshold,
        unit=of.unit,
        was_chosen=was_chosen,
        optimism=_optimism(of, rows.cells, terms.seed) if was_chosen else None,
        everybody=float(sums[-1]),
        nobody=float(sums[0]),
    )


def curve(of: Kpi, rows: Sample, *, points: int = 400) -> Curve:
    """Give the KPI over thresholds, thinned to about `points` (the best one is kept)."""
    if len(rows) == 0:
        return Curve(thresholds=(), selected=(), values=())
    sums, cuts = worth_by_depth(of, rows.cells), thresholds_by_depth(rows.cells)
    weight = (rows.cells.positives + rows.cells.negatives)[::-1]
    selected = np.concatenate([[0.0], np.cumsum(weight)]) / weight.sum()
    keep = np.unique(np.concatenate([np.linspace(0, len(cuts) - 1, points).round().astype(np.int64), [int(np.argmax(sums))]]))
    return Curve(thresholds=tuple(cuts[keep].tolist()), selected=tuple(selected[keep].tolist()), values=tuple(sums[keep].tolist()))


def _optimism(of: Kpi, cells: Cells, seed: int) -> float:
    """Mean over resamples of (worth where chosen - worth on the rows at hand), at the resample's best threshold (Efron 1983)."""
    merged = cells.merged(OPTIMISM_BINS)
    random = generator(seed, "optimism", of.name)
    shape = (OPTIMISM_DRAWS, len(merged.scores))
    drawn = Cells(merged.scores, random.standard_gamma(merged.positives, shape), random.standard_gamma(merged.negatives, shape))
    sums = worth_by_depth(of, drawn)
    depth = np.argmax(sums, axis=-1)
    # Resamples are scaled to the number of rows at hand: a sum over more rows is not flattery.
    size = (drawn.positives.sum(-1) + drawn.negatives.sum(-1)) / merged.total
    chosen = np.take_along_axis(sums, depth[:, None], axis=-1)[:, 0] / size
    return float(max(0.0, (chosen - worth_by_depth(of, merged)[depth]).mean()))
