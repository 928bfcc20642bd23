"""Line charts of many curves as SVG: gaps where there is no number, marks where it was NaN, a band where buckets hide points."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stratal.tracking.drawing.axes import BOTTOM, RIGHT, Frame, Span, axes, path, svg, tick
from stratal.tracking.drawing.markup import Markup, raw, tag

Floats = NDArray[np.float64]

# The ten colours of Observable Plot: told apart on white and on black. After ten, dashes.
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0")
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4")
WIDTH, HEIGHT = 900.0, 420.0
_LEFT, _ROW, _LONGEST, _SHOWN = 60.0, 20.0, 34, 40
# For a picture of its own. Plain colours: what draws SVG outside of browsers knows no others.
STYLE = (
    "svg{background:#fff;font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}text{fill:#5b6270}.label{fill:#1d212b}"
    ".title{font-size:15px;font-weight:600;fill:#1d212b}.gridline{stroke:#e9ebef}.axis{stroke:#c9cdd6}"
    "@media(prefers-color-scheme:dark){svg{background:#14161b}text{fill:#a3a9b7}.label,.title{fill:#e6e9ef}"
    ".gridline{stroke:#262a33}.axis{stroke:#444a57}}"
)


class Curve(NamedTuple):
    """One curve: x ascending, and of each bucket min, max and last value; NaN where it has no number. All (n,) float64.

    raw: what was there before smoothing, drawn faintly behind. nans: where a value was NaN or infinite."""

    label: str
    x: Floats
    low: Floats
    high: Floats
    last: Floats
    nans: Floats
    raw: "Curve | None" = None


def chart(
    curves: Sequence[Curve],
    *,
    title: str,
    x_name: str,
    y_name: str,
    x_words: Callable[[float], str] = tick,
    width: float = WIDTH,
    height: float = HEIGHT,
    has_legend: bool = True,
) -> Markup:
    """Draw curves on common axes, with a legend below that names at most 40 of them."""
    longest = min(_LONGEST, max((len(curve.label) for curve in curves[:_SHOWN]), default=1))
    columns = max(1, int((width - _LEFT) // (longest * 6.8 + 40)))  # 6.8: a wide letter
    named = curves[:_SHOWN] if has_legend else []
    rows = -(-len(named) // columns) + (1 if has_legend and len(curves) > _SHOWN else 0)
    inner = Frame(_span([curve.x for curve in curves]), value_span(curves), width, height, _LEFT)
    parts = [tag("g", axes(inner, x_name, "", x_words, tick)), tag("text", title, x=0, y=14, class_="title")]
    if y_name != title:
        parts.append(tag("text", y_name, x=width - RIGHT, y=14, text_anchor="end"))
    for number, curve in reversed(list(enumerate(curves))):  # the first lies on top
        parts.append(_drawn(inner, curve, number))
    if not any(np.isfinite(curve.last).any() for curve in curves):
        parts.append(tag("text", "no number to draw", x=width / 2, y=height / 2, text_anchor="middle"))
    for number, curve in enumerate(named):
        x, y = _LEFT + (number % columns) * (width - _LEFT) / columns, height + 14 + number // columns * _ROW
        label = curve.label if len(curve.label) <= _LONGEST else curve.label[: _LONGEST - 1] + "…"
        parts.append(tag("line", x1=x, x2=x + 18, y1=y - 4, y2=y - 4, stroke_width=2.5, **_stroke(number)))
        parts.append(tag("text", label, x=x + 24, y=y, class_="label"))
    if has_legend and len(curves) > _SHOWN:
        parts.append(tag("text", f"and {len(curves) - _SHOWN:,} more", x=_LEFT, y=height + 14 + (rows - 1) * _ROW))
    whole = Frame(inner.x, inner.y, width, height + 8 + rows * _ROW, _LEFT)
    return svg(whole, f"{title}: {len(curves)} curves", parts)


def alone(picture: Markup) -> str:
    """Give a chart as a file of its own."""
    head = '<svg xmlns="http://www.w3.org/2000/svg" '
    return head + picture.removeprefix("<svg ").replace(">", f"><style>{STYLE}</style>", 1)


def value_span(curves: Sequence[Curve]) -> Span:
    """Give the span of all finite values, with a little room."""
    low, high = _span([curve.low for curve in curves] + [curve.high for curve in curves])
    room = (high - low) * 0.04
    return low - room, high + room


def _span(columns: Sequence[Floats]) -> Span:
    finite = [column[np.isfinite(column)] for column in columns]
    low = min((float(column.min()) for column in finite if len(column)), default=0.0)
    high = max((float(column.max()) for column in finite if len(column)), default=1.0)
    if high > low:
        return low, high
    room = abs(low) * 0.05 or 0.5
    return low - room, high + room


def stretches(curve: Curve) -> list[tuple[int, int]]:
    """Give where the curve has numbers, as (start, stop) between gaps."""
    known = np.isfinite(curve.last) & np.isfinite(curve.low) & np.isfinite(curve.high)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], known.astype(np.int8), [0]))))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _drawn(frame: Frame, curve: Curve, number: int) -> Markup:
    colour = COLOURS[number % len(COLOURS)]
    parts = [tag("title", curve.label)]
    if curve.raw is not None:
        parts += [_line(frame, curve.raw, start, stop, number, 0.25) for start, stop in stretches(curve.raw)]
    for start, stop in stretches(curve):
        if (curve.high[start:stop] > curve.low[start:stop]).any():
            top = list(zip(curve.x[start:stop].tolist(), curve.high[start:stop].tolist(), strict=True))
            bottom = list(zip(curve.x[start:stop].tolist(), curve.low[start:stop].tolist(), strict=True))
            parts.append(tag("path", d=path(frame, [*top, *reversed(bottom)], close=True), fill=colour, fill_opacity="0.18"))
        parts.append(_line(frame, curve, start, stop, number, 1.0))
    y = frame.height - BOTTOM
    reached = -1.0
    for x in curve.nans.tolist():
        at = frame.at_x(x)
        if at < reached + 7:
            continue  # it would lie on the mark before
        reached = at
        mark = raw(f"M{at - 3:.1f} {y - 9:.1f}l6 6m-6 0l6 -6")
        said = tag("title", f"{curve.label}: not a finite number at {tick(x)}")
        parts.append(tag("g", said, tag("path", d=mark, stroke=colour, fill="none")))
    return tag("g", *parts)


def _line(frame: Frame, curve: Curve, start: int, stop: int, number: int, opacity: float) -> Markup:
    points = list(zip(curve.x[start:stop].tolist(), curve.last[start:stop].tolist(), strict=True))
    stroke = _stroke(number)
    if len(points) == 1:
        (x, y), *_ = points
        return tag("circle", cx=frame.at_x(x), cy=frame.at_y(y), r=2.5, fill=str(stroke["stroke"]), fill_opacity=f"{opacity:g}")
    line = path(frame, points)
    return tag("path", d=line, fill="none", stroke_width=1.8, stroke_opacity=f"{opacity:g}", stroke_linejoin="round", **stroke)


def _stroke(number: int) -> dict[str, str]:
    dash = _DASHES[number // len(COLOURS) % len(_DASHES)]
    colour = {"stroke": COLOURS[number % len(COLOURS)]}
    return {**colour, "stroke_dasharray": dash} if dash else colour
