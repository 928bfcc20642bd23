"""Bars: how far long work is, on stderr and for people only."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


@contextlib.contextmanager
def bar_of(*, json: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Give what shows how far one thing after another is: its name, how much is done, of how much. json: nobody looks."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=json or not sys.stderr.isatty()) as shown:
        task = shown.add_task("")
        yield lambda name, done, size: shown.update(task, description=Path(name).name[:60], completed=done, total=max(done, size))
