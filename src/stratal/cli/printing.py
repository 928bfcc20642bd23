"""How the command line prints: rich tables for people, one JSON document for programs, errors in plain words.

May be used by every file of this folder. Results go to stdout, all else to stderr.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum

import msgspec
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from stratal.core.clock import SECOND_NS, to_utc
from stratal.core.errors import StratalError
from stratal.core.records import number_to_json

_BARS = "▁▂▃▄▅▆▇█"
PIPE_WIDTH = 160  # of tables that no terminal shows, where rich would cut at 80
STATUS_COLOURS = {"running": "cyan", "finished": "green", "failed": "red", "stopped": "yellow", "lost": "magenta"}


def print_out(*parts: RenderableType) -> None:
    """Print for people."""
    console = _console()
    for part in parts:
        console.print(part)


def page_width() -> int:
    """Give how many characters a line of output may have."""
    return _console().width


def measured(made: Table) -> int:
    """Give how wide a table is if nobody squeezes it."""
    return Console(width=10_000).measure(made).maximum


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def print_json(value: object) -> None:
    """Print one JSON document. NaN and infinities become the texts "NaN", "Infinity", "-Infinity"."""
    document = msgspec.json.format(msgspec.json.encode(plain(value)), indent=2)
    sys.stdout.write(document.decode() + "\n")


def print_error(error: StratalError) -> None:
    """Print an error of ours: what is wrong, and what to do next."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error[/] {escape(error.message)}")
    if error.hint:
        console.print(f"      {escape(error.hint)}")


def plain(value: object) -> object:
    """Turn records, arrays and odd numbers into what JSON can hold."""
    if isinstance(value, float):
        return number_to_json(value)
    if isinstance(value, IntEnum):
        return value.name.lower()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "tolist"):  # arrays and scalars of NumPy
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def table(*headings: str, title: str | None = None, numbers: Sequence[str] = ()) -> Table:
    """Begin a table; columns named in `numbers` stand at the right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        made.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    return made


def pairs() -> Table:
    """Begin a table of names and values, without headings."""
    made = table("", "")
    made.show_header = False
    made.columns[0].style = "dim"
    return made


def section(title: str, content: RenderableType) -> list[RenderableType]:
    """Give a part of a page, with its title and a blank line before it."""
    return ["", Text(title, style="bold"), content]


def cell(value: object, style: str = "") -> Text:
    """Give a value as a cell; texts are shown as they are, never read as markup, and what would steer the terminal as \\xNN."""
    text = shown(value)
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
    return Text(text, style=style)


def status_cell(status: str) -> Text:
    """Give a status in its colour."""
    return Text(status, style=STATUS_COLOURS.get(status, ""))


def shown(value: object) -> str:
    """Give a value as people read it: numbers short, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def signed(value: float | None) -> str:
    """Give a difference with its sign, nothing where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:+.4g}"


def moment(at_ns: int | None) -> str:
    """Give a time, in UTC, to the second."""
    return "–" if at_ns is None else to_utc(at_ns).strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float | None) -> str:
    """Give a duration in its two largest units."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {smaller_unit}"
    return f"{whole} s"


def lasted(started_ns: int | None, ended_ns: int | None) -> float | None:
    """Give the seconds between two times, None if one is not there."""
    return None if started_ns is None or ended_ns is None else (ended_ns - started_ns) / SECOND_NS


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Draw a series in at most `width` characters: the mean of each part, a blank where all of it is NaN, ▁ if it is flat.

    Infinities are drawn at the ends of the scale that the finite values make. O(n)."""
    count = min(width, len(values))
    parts = [values[len(values) * i // count : len(values) * (i + 1) // count] for i in range(count)]
    means = [_mean(part) for part in parts]
    finite = [mean for mean in means if mean is not None and math.isfinite(mean)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    return "".join(" " if mean is None else _bar(mean, low, high) for mean in means)


def _mean(values: Sequence[float]) -> float | None:
    known = [float(value) for value in values if not math.isnan(value)]
    if not known:
        return None
    total = math.fsum(known) if all(math.isfinite(value) for value in known) else sum(known)
    return None if math.isnan(total) else total / len(known)


def _bar(value: float, low: float, high: float) -> str:
    if math.isinf(value):
        return _BARS[-1] if value > 0 else _BARS[0]
    span_ = high - low
    return _BARS[0] if not span_ > 0 or math.isinf(span_) else _BARS[min(7, int((value - low) / span_ * 8))]
