"""Axes: a frame that maps data to pixels, round ticks, and an SVG around it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stratal.tracking.drawing.markup import Markup, join, raw, tag

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


def axes(frame: Frame, x_name: str, y_name: str, x_words: Callable[[float], str], y_words: Callable[[float], str]) -> Markup:
    """Draw grid lines, round ticks and the names of both axes. x_words, y_words: write a tick."""
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


def svg(frame: Frame, name: str, parts: Sequence[Markup]) -> Markup:
    """Put parts into a picture. name: what it shows, for readers of text."""
    return tag("svg", *parts, viewBox=f"0 0 {frame.width:.0f} {frame.height:.0f}", role="img", aria_label=name)


def path(frame: Frame, points: Sequence[tuple[float, float]], *, close: bool = False) -> Markup:
    """Give the path through points."""
    return raw("M" + "L".join(f"{frame.at_x(x):.1f} {frame.at_y(y):.1f}" for x, y in points) + ("Z" if close else ""))


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Give round numbers within a span."""
    if not high > low:
        return [low]
    step = nice_step((high - low) / about)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def nice_step(rough: float) -> float:
    """Give the next round step."""
    scale = 10.0 ** math.floor(math.log10(rough))
    return next(step * scale for step in (1, 2, 2.5, 5, 10) if step * scale >= rough * 0.999)


def nice_above(value: float) -> float:
    """Give a round number above."""
    step = nice_step(max(value, 1e-6) / 4)
    return math.ceil(value / step - 1e-9) * step


def tick(value: float) -> str:
    """Write a round number at an axis."""
    return f"{value:,.6g}".replace("-", "−") if value else "0"
