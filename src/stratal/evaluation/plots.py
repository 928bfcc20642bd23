"""Plots as inline SVG. Each is drawn from results alone, names its marks in the picture, and carries a text for readers of text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stratal.evaluation.calibration import Calibration
from stratal.evaluation.costs import Curve, KpiEstimate
from stratal.evaluation.curves import Band, Histogram, Line
from stratal.evaluation.markup import Markup, join, raw, tag
from stratal.evaluation.wording import number, percent, tick

WIDTH, HEIGHT = 480.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 14.0, 30.0, 42.0
Span = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """A drawing area: spans of data onto pixels."""

    x: Span
    y: Span
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT

    def at_x(self, value: float) -> float:
        return self.left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - self.left - RIGHT)

    def at_y(self, value: float) -> float:
        return self.height - BOTTOM - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.height - TOP - BOTTOM)


def roc_plot(line: Line, band: Band | None, operating: tuple[float, float] | None) -> Markup:
    """Draw recall over false alarms, its band, chance, and the point that the threshold picks (false positive rate, recall)."""
    frame = Frame((0, 1), (0, 1))
    parts = [_axes(frame, "false alarms: share of negatives called positive", "found: share of positives", percent, percent)]
    if band is not None:
        edge = [*zip(band.x, band.high, strict=True), *reversed(list(zip(band.x, band.low, strict=True)))]
        parts.append(tag("path", d=_path(frame, edge, close=True), class_="band"))
    parts += [tag("path", d=_path(frame, [(0, 0), (1, 1)]), class_="chance"), _curve(frame, line)]
    parts.append(_words(frame.at_x(0.66), frame.at_y(0.62), "chance", "start"))
    if operating is not None:
        parts.append(_point(frame, *operating))
    return _svg(frame, "ROC curve", parts)


def precision_recall_plot(line: Line, share: float, operating: tuple[float, float] | None) -> Markup:
    """Draw precision over recall, the share of positives (what chance gives), and the point of the threshold (recall, precision)."""
    frame = Frame((0, 1), (0, 1))
    parts = [
        _axes(frame, "found: share of positives", "right: share of alarms", percent, percent),
        tag("path", d=_path(frame, [(0, share), (1, share)]), class_="chance"),
        _words(frame.at_x(0.02), frame.at_y(share) + (15 if share > 0.1 else -6), f"chance: {percent(share)}", "start"),
        _curve(frame, line),
    ]
    if operating is not None:
        parts.append(_point(frame, *operating))
    return _svg(frame, "Precision and recall", parts)


def calibration_plot(calibration: Calibration) -> Markup:
    """Draw what happened over what was said, with intervals, beside the diagonal of a perfectly calibrated model."""
    top = max([bin.high for bin in calibration.bins] + [bin.said for bin in calibration.bins])
    limit = min(1.0, _nice_above(top))
    frame = Frame((0, limit), (0, limit))
    parts = [
        _axes(frame, "said: mean score of the bin", "happened: share of positives", percent, percent),
        tag("path", d=_path(frame, [(0, 0), (limit, limit)]), class_="chance"),
        _words(frame.at_x(limit * 0.985), frame.at_y(limit * 0.985) + 18, "as said", "end"),
    ]
    for bin in calibration.bins:
        x = frame.at_x(bin.said)
        said = f"{bin.n:,} rows: said {percent(bin.said)}, happened {percent(bin.happened)} ({percent(bin.low)} to {percent(bin.high)})"
        whisker = tag("line", x1=x, x2=x, y1=frame.at_y(bin.low), y2=frame.at_y(bin.high), class_="whisker thin")
        parts.append(tag("g", tag("title", said), whisker, tag("circle", cx=x, cy=frame.at_y(bin.happened), r=4.5, class_="dot")))
    return _svg(frame, "Calibration", parts)


def histogram_plot(spread: Histogram, threshold: float) -> Markup:
    """Draw how the scores of both classes are spread, and the threshold."""
    peak = max((*spread.positives, *spread.negatives, 1e-9))
    high = spread.high if spread.high > spread.low else spread.low + 1
    frame = Frame((spread.low, high), (0, peak * 1.08))
    parts = [_axes(frame, "score", "share of the class", tick, percent)]
    for heights, area, outline in ((spread.negatives, "fill-two", "curve two"), (spread.positives, "band", "curve")):
        steps = _steps(frame.x, heights)
        parts.append(tag("path", d=_path(frame, [(spread.low, 0), *steps, (high, 0)], close=True), class_=area))
        parts.append(tag("path", d=_path(frame, steps), class_=outline, stroke_width=1.5))
    if frame.x[0] <= threshold <= frame.x[1]:
        parts.append(_upright(frame, threshold, f"threshold {number(threshold)}"))
    return _svg(frame, "Scores by class", parts)


def profit_plot(curve: Curve, kpi: KpiEstimate) -> Markup:
    """Draw a KPI over the share of rows that are acted upon, with the threshold in use and what random choice would give."""
    low, high = min(*curve.values, 0.0, kpi.low or 0.0), max(*curve.values, 0.0, kpi.high or 0.0)
    room = (high - low or 1.0) * 0.12
    frame = Frame((0, 1), (low - (room if low < 0 else 0), high + room), left=62)
    straight = [(0.0, kpi.nobody), (1.0, kpi.everybody)]
    parts = [
        _axes(frame, "share of rows called positive, highest scores first", kpi.unit or "value", percent, tick),
        tag("line", x1=frame.at_x(0), x2=frame.at_x(1), y1=frame.at_y(0), y2=frame.at_y(0), class_="axis"),
        tag("path", d=_path(frame, straight), class_="chance"),
        tag("path", d=_path(frame, list(zip(curve.selected, curve.values, strict=True))), class_="curve"),
    ]
    if kpi.value is None:
        return _svg(frame, "Value over share", parts)
    chosen = _selected_at(curve, kpi.threshold)
    parts.append(
        tag("line", x1=frame.at_x(chosen), x2=frame.at_x(chosen), y1=frame.at_y(frame.y[0]), y2=frame.at_y(kpi.value), class_="guide")
    )
    if kpi.low is not None and kpi.high is not None:
        x = frame.at_x(chosen)
        parts.append(tag("line", x1=x, x2=x, y1=frame.at_y(kpi.low), y2=frame.at_y(kpi.high), class_="whisker thin"))
    parts.append(_point(frame, chosen, kpi.value, f"{number(kpi.value, kpi.unit)} at threshold {number(kpi.threshold)}"))
    return _svg(frame, "Value over share", parts)


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Give round numbers within a span."""
    if not high > low:
        return [low]
    step = _nice_step((high - low) / about)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _nice_step(rough: float) -> float:
    scale = 10.0 ** math.floor(math.log10(rough))
    return next(step * scale for step in (1, 2, 2.5, 5, 10) if step * scale >= rough * 0.999)


def _nice_above(value: float) -> float:
    step = _nice_step(max(value, 1e-6) / 4)
    return math.ceil(value / step - 1e-9) * step


def _axes(frame: Frame, x_name: str, y_name: str, x_words: Callable[[float], str], y_words: Callable[[float], str]) -> Markup:
    parts = []
    bottom = frame.height - BOTTOM
    for at in nice_ticks(*frame.y):
        y = frame.at_y(at)
        parts.append(tag("line", x1=frame.left, x2=frame.width - RIGHT, y1=y, y2=y, class_="gridline"))
        parts.append(tag("text", y_words(at), x=frame.left - 8, y=y + 4, text_anchor="end"))
    for at in nice_ticks(*frame.x):
        parts.append(tag("text", x_words(at), x=frame.at_x(at), y=bottom + 17, text_anchor="middle"))
    parts.append(tag("line", x1=frame.left, x2=frame.width - RIGHT, y1=bottom, y2=bottom, class_="axis"))
    parts.append(tag("text", x_name, x=(frame.left + frame.width - RIGHT) / 2, y=frame.height - 6, text_anchor="middle"))
    # Upright at the top left: nobody turns their head for an axis.
    parts.append(tag("text", y_name, x=0, y=11))
    return join(*parts)


def _svg(frame: Frame, name: str, parts: Sequence[Markup]) -> Markup:
    return tag("svg", *parts, viewBox=f"0 0 {frame.width:.0f} {frame.height:.0f}", role="img", aria_label=name)


def _path(frame: Frame, points: Sequence[tuple[float, float]], *, close: bool = False) -> Markup:
    return raw("M" + "L".join(f"{frame.at_x(x):.1f} {frame.at_y(y):.1f}" for x, y in points) + ("Z" if close else ""))


def _curve(frame: Frame, line: Line) -> Markup:
    return tag("path", d=_path(frame, list(zip(line.x, line.y, strict=True))), class_="curve")


def _words(x: float, y: float, words: str, anchor: str) -> Markup:
    return tag("text", words, x=x, y=y, text_anchor=anchor, class_="halo")


def _point(frame: Frame, x: float, y: float, words: str = "") -> Markup:
    """Mark a point. Its words stand above it, towards the middle of the picture, where there is room."""
    at_x, at_y = frame.at_x(x), frame.at_y(y)
    dot = tag("circle", cx=at_x, cy=at_y, r=5.5, class_="dot")
    if not words:
        return dot
    anchor, shift = ("end", -11) if x > (frame.x[0] + frame.x[1]) / 2 else ("start", 11)
    return tag("g", dot, tag("text", words, x=at_x + shift, y=at_y - 12, text_anchor=anchor, class_="label halo"))


def _upright(frame: Frame, x: float, words: str) -> Markup:
    at = frame.at_x(x)
    to_left = x > (frame.x[0] + frame.x[1]) / 2
    label = tag("text", words, x=at + (-6 if to_left else 6), y=TOP + 8, text_anchor="end" if to_left else "start", class_="label halo")
    return tag("g", tag("line", x1=at, x2=at, y1=TOP, y2=frame.height - BOTTOM, class_="guide"), label)


def _steps(span: Span, heights: Sequence[float]) -> list[tuple[float, float]]:
    width = (span[1] - span[0]) / len(heights)
    return [(span[0] + (index + side) * width, height) for index, height in enumerate(heights) for side in (0, 1)]


def _selected_at(curve: Curve, threshold: float) -> float:
    """Give the share of rows called positive at a threshold, from the thinned curve."""
    below = [share for cut, share in zip(curve.thresholds, curve.selected, strict=True) if cut >= threshold]
    return below[-1] if below else 0.0
