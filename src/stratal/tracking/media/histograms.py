"""Histograms: counts of values between edges, and what falls on no scale counted apart."""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from stratal.core.errors import Damaged, Misuse
from stratal.tracking.media.arrays import to_array
from stratal.tracking.media.prepared import Content, Prepared
from stratal.tracking.media.values import Media

MIME = "application/vnd.stratal.histogram+json"
_MOST_BINS = 10_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """counts (n,) int64 of the values in [edges[i], edges[i + 1]), the last bin closed; edges (n + 1,) float64, ascending; both
    empty without finite values. nan, low_infinite, high_infinite: how many were NaN, -inf, +inf. mean, std: of finite values."""

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    nan: int = 0
    low_infinite: int = 0
    high_infinite: int = 0
    mean: float | None = None
    std: float | None = None
    caption: str = ""

    @property
    def values(self) -> int:
        """How many values there were, the odd ones too."""
        return int(self.counts.sum()) + self.nan + self.low_infinite + self.high_infinite


def histogram(values: object = None, *, bins: int = 64, counts: object = None, edges: object = None, caption: str = "") -> Histogram:
    """Count values of any shape in `bins` bins of equal width, or take counts and edges that were made elsewhere.

    Raises Misuse for what holds no numbers."""
    if values is None:
        if counts is None or edges is None:
            raise Misuse("a histogram is made of values, or of counts and edges", hint="st.histogram(values)")
        return _given(to_array(counts), to_array(edges), caption)
    if counts is not None or edges is not None:
        raise Misuse("a histogram is made of values, or of counts and edges, not both", hint="leave one out")
    if bins not in range(1, _MOST_BINS + 1):
        raise Misuse(f"{bins!r} bins cannot be", hint=f"give 1 to {_MOST_BINS:,}")
    return _counted(to_array(values).ravel().astype(np.float64), bins, caption)


def prepare(media: Media) -> Prepared:
    """Keep a histogram, or make one of any array."""
    made = media.value if isinstance(media.value, Histogram) else histogram(media.value)
    body = {
        "edges": made.edges.tolist(), "counts": made.counts.tolist(), "nan": made.nan, "low_infinite": made.low_infinite,
        "high_infinite": made.high_infinite, "mean": made.mean, "std": made.std,
    }  # fmt: skip
    details = {"bins": len(made.counts), "values": made.values}
    return Prepared("histogram", (Content(msgspec.json.encode(body), MIME, ".json"),), details)


def load(data: bytes, _mime: str, _details: object) -> Histogram:
    """Give the histogram back."""
    try:
        body = msgspec.json.decode(data, type=dict[str, object])
        edges, counts = np.array(body.pop("edges"), np.float64), np.array(body.pop("counts"), np.int64)
        return Histogram(edges=edges, counts=counts, **body)  # type: ignore[arg-type]  # as `prepare` wrote them
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"this is no stored histogram: {error}") from error


def _counted(values: NDArray[np.float64], bins: int, caption: str) -> Histogram:
    finite = values[np.isfinite(values)]
    odd = {
        "nan": int(np.isnan(values).sum()),
        "low_infinite": int((values == -np.inf).sum()),
        "high_infinite": int((values == np.inf).sum()),
    }
    if not finite.size:
        return Histogram(edges=np.empty(0), counts=np.empty(0, np.int64), caption=caption, **odd)
    low, high = float(finite.min()), float(finite.max())
    edges = _edges(low, high, bins)
    counts = np.histogram(finite, edges)[0].astype(np.int64)
    # Of the halves: the sum of huge values, and the square of their distance, must not overflow.
    scale = max(abs(low), abs(high)) or 1.0
    mean = float((finite / scale).mean())
    std = float((finite / scale - mean).std())
    return Histogram(edges=edges, counts=counts, mean=_within(mean * scale), std=_within(std * scale), caption=caption, **odd)


def _edges(low: float, high: float, bins: int) -> NDArray[np.float64]:
    """Give ascending edges from low to high; where all values are one, around it. Fewer where floats lie too wide for so many."""
    if low == high:
        half = max(0.5, abs(low) * 1e-6)
        low, high = max(low - half, -np.finfo(np.float64).max), min(high + half, np.finfo(np.float64).max)
    places = np.linspace(0.0, 1.0, bins + 1)
    edges = low * (1 - places) + high * places  # not low + (high - low) * places: the difference may overflow
    edges[0], edges[-1] = low, high
    return np.unique(np.clip(edges, low, high))


def _within(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _given(counts: NDArray[np.generic], edges: NDArray[np.generic], caption: str) -> Histogram:
    places = edges.astype(np.float64)
    fits = counts.ndim == edges.ndim == 1 and (len(edges) == len(counts) + 1 or len(edges) == len(counts) == 0)
    if not fits or not np.isfinite(places).all() or (np.diff(places) <= 0).any():
        raise Misuse(
            f"edges of shape {edges.shape} do not fit counts of shape {counts.shape}, or do not ascend",
            hint="n counts have n + 1 finite edges, each higher than the one before",
        )
    if len(counts) > _MOST_BINS:
        raise Misuse(f"{len(counts):,} bins are too many", hint=f"give at most {_MOST_BINS:,}")
    whole = counts.astype(np.int64) if counts.dtype.kind != "f" or np.isfinite(counts).all() else None
    if whole is None or (whole != counts).any() or (whole < 0).any():
        raise Misuse("counts are whole numbers from 0", hint="a histogram of densities is a table: st.table(...)")
    return Histogram(edges=places, counts=whole, caption=caption)
