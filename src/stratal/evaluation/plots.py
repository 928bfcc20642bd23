"""Plots as inline SVG. Each is drawn from results alone, names its marks in the picture, and carries a text for readers of text."""

from collections.abc import Sequence

from stratal.evaluation.calibration import Calibration
from stratal.evaluation.costs import Curve, KpiEstimate
from stratal.evaluation.curves import Band, Histogram, Line
from stratal.evaluation.wording import number, percent
from stratal.tracking.drawing.axes import BOTTOM, TOP, Frame, Span, axes, nice_above, path, svg, tick
from stratal.tracking.drawing.markup import Markup, tag


def roc_plot(line: Line, band: Band | None, operating: tuple[float, float] | None) -> Markup:
    """Draw recall over false alarms, its band, chance, and the point that the threshold picks (false positive rate, recall)."""
    frame = Frame((0, 1), (0, 1))
    parts = [axes(frame, "false alarms: share of negatives called positive", "found: share of positives", percent, percent)]
    if band is not None:
        edge = [*zip(band.x, band.high, strict=True), *reversed(list(zip(band.x, band.low, strict=True)))]
        parts.append(tag("path", d=path(frame, edge, close=True), class_="band"))
    parts += [tag("path", d=path(frame, [(0, 0), (1, 1)]), class_="chance"), _curve(frame, line)]
    parts.append(_words(frame.at_x(0.66), frame.at_y(0.62), "chance", "start"))
    if operating is not None:
        parts.append(_point(frame, *operating))
    return svg(frame, "ROC curve", parts)


def precision_recall_plot(line: Line, share: float, operating: tuple[float, float] | None) -> Markup:
    """Draw precision over recall, the share of positives (what chance gives), and the point of the threshold (recall, precision)."""
    frame = Frame((0, 1), (0, 1))
    parts = [
        axes(frame, "found: share of positives", "right: share of alarms", percent, percent),
        tag("path", d=path(frame, [(0, share), (1, share)]), class_="chance"),
        _words(frame.at_x(0.02), frame.at_y(share) + (15 if share > 0.1 else -6), f"chance: {percent(share)}", "start"),
        _curve(frame, line),
    ]
    if operating is not None:
        parts.append(_point(frame, *operating))
    return svg(frame, "Precision and recall", parts)


def calibration_plot(calibration: Calibration) -> Markup:
    """Draw what happened over what was said, with intervals, beside the diagonal of a perfectly calibrated model."""
    top = max([bin.high for bin in calibration.bins] + [bin.said for bin in calibration.bins])
    limit = min(1.0, nice_above(top))
    frame = Frame((0, limit), (0, limit))
    parts = [
        axes(frame, "said: mean score of the bin", "happened: share of positives", percent, percent),
        tag("path", d=path(frame, [(0, 0), (limit, limit)]), class_="chance"),
        _words(frame.at_x(limit * 0.985), frame.at_y(limit * 0.985) + 18, "as said", "end"),
    ]
    for bin in calibration.bins:
        x = frame.at_x(bin.said)
        said = f"{bin.n:,} rows: said {percent(bin.said)}, happened {percent(bin.happened)} ({percent(bin.low)} to {percent(bin.high)})"
        whisker = tag("line", x1=x, x2=x, y1=frame.at_y(bin.low), y2=frame.at_y(bin.high), class_="whisker thin")
        parts.append(tag("g", tag("title", said), whisker, tag("circle", cx=x, cy=frame.at_y(bin.happened), r=4.5, class_="dot")))
    return svg(frame, "Calibration", parts)


def histogram_plot(spread: Histogram, threshold: float) -> Markup:
    """Draw how the scores of both classes are spread, and the threshold."""
    peak = max((*spread.positives, *spread.negatives, 1e-9))
    high = spread.high if spread.high > spread.low else spread.low + 1
    frame = Frame((spread.low, high), (0, peak * 1.08))
    parts = [axes(frame, "score", "share of the class", tick, percent)]
    for heights, area, outline in ((spread.negatives, "fill-two", "curve two"), (spread.positives, "band", "curve")):
        steps = _steps(frame.x, heights)
        parts.append(tag("path", d=path(frame, [(spread.low, 0), *steps, (high, 0)], close=True), class_=area))
        parts.append(tag("path", d=path(frame, steps), class_=outline, stroke_width=1.5))
    if frame.x[0] <= threshold <= frame.x[1]:
        parts.append(_upright(frame, threshold, f"threshold {number(threshold)}"))
    return svg(frame, "Scores by class", parts)


def profit_plot(curve: Curve, kpi: KpiEstimate) -> Markup:
    """Draw a KPI over the share of rows that are acted upon, with the threshold in use and what random choice would give."""
    low, high = min(*curve.values, 0.0, kpi.low or 0.0), max(*curve.values, 0.0, kpi.high or 0.0)
    room = (high - low or 1.0) * 0.12
    frame = Frame((0, 1), (low - (room if low < 0 else 0), high + room), left=62)
    straight = [(0.0, kpi.nobody), (1.0, kpi.everybody)]
    parts = [
        axes(frame, "share of rows called positive, highest scores first", kpi.unit or "value", percent, tick),
        tag("line", x1=frame.at_x(0), x2=frame.at_x(1), y1=frame.at_y(0), y2=frame.at_y(0), class_="axis"),
        tag("path", d=path(frame, straight), class_="chance"),
        tag("path", d=path(frame, list(zip(curve.selected, curve.values, strict=True))), class_="curve"),
    ]
    if kpi.value is None:
        return svg(frame, "Value over share", parts)
    chosen = _selected_at(curve, kpi.threshold)
    parts.append(
        tag("line", x1=frame.at_x(chosen), x2=frame.at_x(chosen), y1=frame.at_y(frame.y[0]), y2=frame.at_y(kpi.value), class_="guide")
    )
    if kpi.low is not None and kpi.high is not None:
        x = frame.at_x(chosen)
        parts.append(tag("line", x1=x, x2=x, y1=frame.at_y(kpi.low), y2=frame.at_y(kpi.high), class_="whisker thin"))
    parts.append(_point(frame, chosen, kpi.value, f"{number(kpi.value, kpi.unit)} at threshold {number(kpi.threshold)}"))
    return svg(frame, "Value over share", parts)


def _curve(frame: Frame, line: Line) -> Markup:
    return tag("path", d=path(frame, list(zip(line.x, line.y, strict=True))), class_="curve")


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
