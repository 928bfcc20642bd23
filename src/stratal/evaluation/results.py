"""The results of an evaluation: the document that is saved, stated as facts, and drawn as a report."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from stratal.core.records import Record
from stratal.evaluation.calibration import Calibration
from stratal.evaluation.champion import Comparison
from stratal.evaluation.costs import Curve, KpiEstimate
from stratal.evaluation.curves import Band, Histogram, Line
from stratal.evaluation.estimates import Estimate
from stratal.evaluation.fairness import Attribute
from stratal.evaluation.slices import Slice

FORMAT = 1
T = TypeVar("T")


class Confusion(Record, frozen=True, kw_only=True):
    """Rows by what was called and what was true, by weight, rounded."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


class Judged(Record, frozen=True, kw_only=True):
    """The data: its digest ("sha256:..."), its ref if it has one, its rows, and how many of them training has seen.

    None: nobody can tell, and `reason` says why."""

    digest: str
    ref: str | None
    rows: int
    rows_shared_with_training: int | None
    reason: str | None = None


class Results(Record, frozen=True, kw_only=True):
    """Everything that was measured. `threshold_from` says who chose the threshold: "given", "default", or a KPI's name.

    champion is None without one; champion_note then says why, in plain words."""

    format: int
    title: str
    model: str
    model_digest: str
    data: Judged
    target: str
    positive: str
    at_ns: int
    threshold: float
    threshold_from: str
    confidence: float
    seed: int
    n: int
    positives: int
    confusion: Confusion
    metrics: dict[str, Estimate]
    slices: tuple[Slice, ...]
    fairness: tuple[Attribute, ...]
    kpis: dict[str, KpiEstimate]
    kpi_curves: dict[str, Curve]
    calibration: Calibration
    roc: Line | None
    roc_band: Band | None
    precision_recall: Line | None
    histogram: Histogram | None
    champion: Comparison | None
    champion_note: str | None


def facts(results: Results) -> dict[str, object]:
    """Give the body of the fact that gates read. Each number is an object with value, low, high, confidence, n and reason."""
    champion = results.champion
    return {
        "data": _plain(results.data),
        "metrics": _plain(results.metrics),
        "slices": {part.name: _plain(part.metrics) for part in results.slices},
        "fairness": {f"{name}[{group.name}]": _plain(gap) for group in results.fairness for name, gap in group.gaps.items()},
        "kpis": _plain(results.kpis),
        "champion": None
        if champion is None
        else {"ref": champion.ref, "digest": f"sha256:{champion.digest}", "difference": _plain(champion.difference)},
    }


def headline(metrics: Mapping[str, Estimate], kpis: Mapping[str, KpiEstimate]) -> dict[str, float]:
    """Give the defined numbers alone: what the run logs as its metrics."""
    found = {name: measured.value for name, measured in metrics.items()} | {name: measured.value for name, measured in kpis.items()}
    return {name: value for name, value in found.items() if value is not None}


def in_order(found: Mapping[str, T], order: Iterable[str]) -> list[tuple[str, T]]:
    """List entries in a given order, the rest by name: JSON keeps no order of its own."""
    first = [name for name in order if name in found]
    return [(name, found[name]) for name in (*first, *sorted(set(found) - set(first)))]


def _plain(value: object) -> object:
    built: object = msgspec.to_builtins(value)
    return built
