"""Plots of a metric over runs: which points, on which axis, smoothed how, cut into as many buckets as a picture can show."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import short
from stratal.store.store import Store
from stratal.tracking.drawing.axes import tick
from stratal.tracking.drawing.lines import Curve, alone, chart
from stratal.tracking.drawing.markup import Markup
from stratal.tracking.drawing.page import document
from stratal.tracking.drawing.png import png
from stratal.tracking.opening import current_store
from stratal.tracking.reading import ReadRun, get_run

# Points of a curve that are drawn one by one; of longer series so many buckets: what a wide screen has of pixels.
BUCKETS = 1000
Floats = NDArray[np.float64]


class Plot:
    """A metric over runs. `curves` is what is drawn; notebooks show it by themselves."""

    def __init__(self, curves: Sequence[Curve], *, metric: str, x: str) -> None:
        self.curves = tuple(curves)
        self.metric = metric
        self.x = x

    def svg(self) -> str:
        """Give the picture as SVG."""
        return alone(self._chart())

    def html(self) -> str:
        """Give the picture as a page of its own, for light and dark screens, with nothing from the network."""
        return document(self.metric, [self._chart()])

    def png(self) -> bytes:
        """Give the picture as PNG. Raises Misuse without matplotlib."""
        return png(self.curves, title=self.metric, x_name=_AXES.get(self.x, self.x), y_name=self.metric)

    def save(self, path: str | Path) -> Path:
        """Write the picture in the form that the path's ending names: .svg, .html or .png. Raises Misuse for another one."""
        path = Path(path)
        writers: dict[str, Callable[[], str | bytes]] = {".svg": self.svg, ".html": self.html, ".png": self.png}
        if path.suffix.lower() not in writers:
            raise Misuse(f"{path.name} is no kind of picture that is known", hint="end the name with .svg, .html or .png")
        data = writers[path.suffix.lower()]()
        try:
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
        except OSError as error:
            raise Misuse(
                f"{path} cannot be written: {error.strerror}", hint="check that the folder is there, and yours to write"
            ) from error
        return path

    def _chart(self) -> Markup:
        words = duration_tick if self.x == "time" else tick
        return chart(self.curves, title=self.metric, x_name=_AXES.get(self.x, self.x), y_name=self.metric, x_words=words)

    def _repr_html_(self) -> str:
        return self.svg()

    def __repr__(self) -> str:
        return f"<Plot of {self.metric}: {', '.join(curve.label for curve in self.curves[:5])}{', ...' if len(self.curves) > 5 else ''}>"


_AXES = {"step": "step", "time": "time since the first point"}


def plot(runs: Sequence[str | ReadRun], metric: str, *, x: str = "step", smooth: float = 0.0, store: Store | None = None) -> Plot:
    """Plot a metric over runs that are named by ids, short forms or refs, or were found.

    x: "step", "time" (since the first point), or the name of another metric of the same steps, such as "samples".
    smooth: weight of an exponential mean, 0 (none) to below 1; the points are drawn faintly behind it.
    Runs without the metric are left out. Raises NotFound if none has it, Misuse for no runs or a weight that is none.
    Cost: up to 1,000 points as they are; longer series by step come from what the store keeps of them without decoding all."""
    if not runs:
        raise Misuse("no run is named", hint="name runs, or find some: st.plot(st.runs(limit=5), ...)")
    if isinstance(runs, str):
        raise Misuse(f"runs are a list, not the text {runs!r:.60}", hint=f"write [{runs!r:.60}]")
    if not 0 <= smooth < 1:
        raise Misuse(f"smooth = {smooth:g} is no weight", hint="give 0 to below 1, for example 0.9")
    store = store or current_store()
    read = [run if isinstance(run, ReadRun) else get_run(run, store=store) for run in runs]
    if not any(metric in run.metrics for run in read):
        metric = metric.removeprefix("metrics.")  # as filters call it
    having = [run for run in read if metric in run.metrics]
    if not having:
        known = sorted({name for run in read for name in run.metrics})
        raise NotFound(f"none of these runs has the metric {metric!r}", hint=f"they have: {', '.join(known[:12]) or 'none'}")
    labels = labels_of(having)
    curves = [curve_of(run, label, metric, x=x, smooth=smooth) for run, label in zip(having, labels, strict=True)]
    if not any(len(curve.x) for curve in curves):
        raise NotFound(f"no step has both {metric!r} and {x!r}", hint="log both in one call, or use x='step'")
    return Plot(curves, metric=metric, x=x)


def labels_of(runs: Sequence[ReadRun]) -> list[str]:
    """Call each run by its name where that is its own, else by name and short id."""
    names = [run.name for run in runs]
    return [run.name if run.name and names.count(run.name) == 1 else f"{run.name} {short(run.id)}".strip() for run in runs]


def curve_of(run: ReadRun, label: str, metric: str, *, x: str = "step", smooth: float = 0.0, buckets: int = BUCKETS) -> Curve:
    """Give the curve of one run, in at most `buckets` buckets; an empty one if it lacks the metric."""
    if metric not in run.metrics:
        return _bucketed(label, np.empty(0), np.empty(0), buckets)
    summary = next((each for each in run.summaries if each.name == metric), None)
    if x == "step" and not smooth and summary is not None and summary.points > buckets:
        found = run.envelope(metric, buckets)
        steps = found.steps.astype(np.float64)
        return Curve(label, steps, found.low, found.high, found.last, steps[~np.isfinite(found.last)])
    places, values = _points(run, metric, x)
    if not smooth:
        return _bucketed(label, places, values, buckets)
    return _bucketed(label, places, smoothed(values, smooth), buckets)._replace(raw=_bucketed(label, places, values, buckets))


def smoothed(values: Floats, weight: float) -> Floats:
    """Give the exponential mean of a series, corrected for its start as in Adam (Kingma and Ba 2015); what is not finite stays, and
    counts for nothing. O(n)."""
    mean, total = 0.0, 0.0
    found = []
    for value in values.tolist():
        if value - value != 0:  # NaN or infinite
            found.append(value)
            continue
        mean = weight * mean + (1 - weight) * value
        total = weight * total + (1 - weight)
        found.append(mean / total)
    return np.array(found, np.float64)


def _points(run: ReadRun, metric: str, x: str) -> tuple[Floats, Floats]:
    series = run.series(metric)
    if x == "step":
        return series.steps.astype(np.float64), series.values
    if x == "time":
        at = series.times.astype(np.int64)
        order = np.argsort(at, kind="stable")
        seconds = (at[order] - at[order][0]) / SECOND_NS if len(at) else at.astype(np.float64)
        return seconds.astype(np.float64), series.values[order]
    other = run.series(x) if x in run.metrics else None
    if other is None:
        return np.empty(0), np.empty(0)
    last = dict(zip(other.steps.tolist(), other.values.tolist(), strict=True))
    places = np.array([last.get(step, np.nan) for step in series.steps.tolist()], np.float64)
    known = np.isfinite(places)
    order = np.argsort(places[known], kind="stable")
    return places[known][order], series.values[known][order]


def _bucketed(label: str, places: Floats, values: Floats, buckets: int) -> Curve:
    """Cut points into buckets of equal count: min, max and last of each, as the store does."""
    finite = np.isfinite(values)
    nans = places[~finite]
    known = np.where(finite, values, np.nan)
    if len(values) <= buckets:
        return Curve(label, places, known, known, known, nans)
    edges = np.unique(np.linspace(0, len(values), buckets, endpoint=False).astype(np.int64))
    ends = np.append(edges[1:], len(values)) - 1
    return Curve(label, places[edges], np.fmin.reduceat(known, edges), np.fmax.reduceat(known, edges), known[ends], nans)


def duration_tick(seconds: float) -> str:
    """Write a duration at an axis."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds >= 1 or not seconds else f"{seconds * 1000:.3g} ms"
