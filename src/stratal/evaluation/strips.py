"""Dot plots as tables: one row per part, a strip with the point and its interval, and the numbers as text beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from stratal.evaluation.wording import count, interval, number
from stratal.tracking.drawing.axes import nice_ticks, tick
from stratal.tracking.drawing.markup import Markup, join, name, raw, tag

WIDTH, HEIGHT, EDGE = 320.0, 26.0, 8.0
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One row: a name, a point with its interval (None: undefined, `why` says so), counts, a word on the right, a colour."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    shown: str = ""
    why: str = ""
    counts: tuple[int, ...] = ()
    badge: tuple[str, str] | None = None
    tone: str = ""


def dot_table(
    marks: Sequence[Mark], *, first: str, counts: Sequence[str] = (), reference: float | None = None, span: Span | None = None
) -> Markup:
    """Draw marks on one common axis. `reference` is a dashed line through all strips; `counts` names the count columns."""
    on = span or span_of(marks, reference)
    head = [
        tag("th", first, class_="name"),
        *(tag("th", column, class_="n") for column in counts),
        tag("th", _scale(on), class_="strip"),
        tag("th", "value", class_="n value"),
        tag("th", "interval", class_="range"),
    ]
    body = [_row(mark, on, reference, len(counts)) for mark in marks]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", table, class_="table badged" if any(mark.badge for mark in marks) else "table")


def span_of(marks: Sequence[Mark], reference: float | None = None) -> Span:
    """Give a span that holds all points and intervals, with a little room."""
    ends = [end for mark in marks for end in (mark.value, mark.low, mark.high) if end is not None]
    ends += [reference] if reference is not None else []
    if not ends:
        return 0.0, 1.0
    low, high = min(ends), max(ends)
    room = (high - low) * 0.06 or max(abs(low) * 0.1, 0.05)
    return low - room, high + room


def strip(mark: Mark, span: Span, reference: float | None) -> Markup:
    """Draw one point and its interval."""
    middle = HEIGHT / 2
    parts = [tag("line", x1=EDGE, x2=WIDTH - EDGE, y1=middle, y2=middle, class_="gridline")]
    if reference is not None:
        x = _at(reference, span)
        parts.append(tag("line", x1=x, x2=x, y1=0, y2=HEIGHT, class_="chance"))
    if mark.low is not None and mark.high is not None:
        parts.append(tag("line", x1=_at(mark.low, span), x2=_at(mark.high, span), y1=middle, y2=middle, class_="whisker"))
    if mark.value is not None:
        parts.append(tag("circle", cx=_at(mark.value, span), cy=middle, r=5, class_="dot"))
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", class_=mark.tone or None, aria_hidden="true")


def _row(mark: Mark, span: Span, reference: float | None, count_columns: int) -> Markup:
    numbers = [*(count(size) for size in mark.counts), *([""] * (count_columns - len(mark.counts)))]
    badge = tag("span", mark.badge[0], class_=f"tag {mark.badge[1]}") if mark.badge else raw("")
    if mark.value is None:
        right = [tag("td", tag("span", mark.why or "undefined"), class_="why", colspan=3)]
    else:
        ends = interval(mark.low, mark.high) or mark.why
        right = [
            tag("td", strip(mark, span, reference), class_="strip"),
            tag("td", mark.shown or number(mark.value), class_="n"),
            tag("td", join(ends, raw(" "), badge), class_="range" if mark.low is not None else "why"),
        ]
    return tag("tr", tag("td", name(mark.name), class_="name"), *(tag("td", size, class_="n") for size in numbers), *right)


def _scale(span: Span) -> Markup:
    ticks = [tag("text", tick(at), x=_at(at, span), y=11, text_anchor="middle") for at in nice_ticks(*span, about=4)]
    return tag("svg", *ticks, viewBox=f"0 0 {WIDTH:.0f} 14", aria_hidden="true")


def _at(value: float, span: Span) -> float:
    inside = min(max(value, span[0]), span[1])
    return EDGE + (inside - span[0]) / (span[1] - span[0]) * (WIDTH - 2 * EDGE)
