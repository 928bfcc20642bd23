"""Parallel coordinates as SVG: one upright axis per column, one line per row, broken where it has no value."""

from collections.abc import Sequence
from typing import NamedTuple

from stratal.tracking.drawing.lines import COLOURS
from stratal.tracking.drawing.markup import Markup, join, raw, tag

WIDTH, HEIGHT, _EDGE, _TOP, _BOTTOM = 1100.0, 380.0, 70.0, 46.0, 16.0
_LONGEST = 16
_DARK, _LIGHT = (66, 105, 208), (255, 114, 92)


class Upright(NamedTuple):
    """One axis. ticks: (height, label) from 0 below to 1; heights: one per row, None without a value."""

    name: str
    ticks: Sequence[tuple[float, str]]
    heights: Sequence[float | None]


def parallel(axes: Sequence[Upright], labels: Sequence[str], *, by_last: bool) -> Markup:
    """Draw rows over axes. by_last: colour rows by their height on the last axis, else each by its own colour."""
    gap = (WIDTH - 2 * _EDGE) / max(1, len(axes) - 1)
    places = [_EDGE + number * gap for number in range(len(axes))] if len(axes) > 1 else [WIDTH / 2]
    rows = [_row(axes, places, number, label, by_last) for number, label in enumerate(labels)]
    uprights = [_upright(axis, x, number, gap) for number, (axis, x) in enumerate(zip(axes, places, strict=True))]
    return tag(
        "svg", join(*rows), join(*uprights), viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", role="img", class_="parallel",
        aria_label=f"Parallel coordinates: {len(labels)} runs over {', '.join(axis.name for axis in axes)}",
    )  # fmt: skip


def _row(axes: Sequence[Upright], places: Sequence[float], number: int, label: str, by_last: bool) -> Markup:
    points = [None if axis.heights[number] is None else (x, _y(axis.heights[number] or 0.0)) for axis, x in zip(axes, places, strict=True)]
    line, is_down = "", False
    for point in points:
        if point is not None:
            line += f"{'L' if is_down else 'M'}{point[0]:.1f} {point[1]:.1f}"
        is_down = point is not None
    last = axes[-1].heights[number] if axes else None
    colour = _between(last) if by_last else COLOURS[number % len(COLOURS)]
    dots = [tag("circle", cx=x, cy=y, r=2.6, fill=colour) for x, y in (point for point in points if point is not None)]
    return tag("g", tag("title", label), tag("path", d=raw(line), stroke=colour), *dots, class_="run", data_run=f"{number}")


def _upright(axis: Upright, x: float, number: int, gap: float) -> Markup:
    """Draw an axis. Names of neighbours stand at two heights where there is little room between them."""
    name = axis.name if len(axis.name) <= 30 else f"{axis.name[:29]}…"
    lowered = gap < 130 and number % 2 == 1
    parts = [
        tag("line", x1=x, x2=x, y1=_y(0), y2=_y(1), class_="axis"),
        tag("text", name, x=x, y=26 if lowered else 11, text_anchor="middle", class_="label"),
    ]
    for height, label in axis.ticks:
        shown = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
        parts.append(tag("text", shown, x=x - 6, y=_y(height) + 4, text_anchor="end", font_size="11", class_="halo"))
    return tag("g", *parts)


def _y(height: float) -> float:
    return HEIGHT - _BOTTOM - height * (HEIGHT - _TOP - _BOTTOM)


def _between(height: float | None) -> str:
    if height is None:
        return "#9498a0"
    mixed = [round(low + (high - low) * height) for low, high in zip(_DARK, _LIGHT, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed)
