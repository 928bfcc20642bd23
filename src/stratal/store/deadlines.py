"""Deadlines: how long a question may be read for. Whoever asked a server has hung up by then, and its thread must not go on.

Only reads end so, and between two steps of the database: what one step may take is bounded where questions are read.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from stratal.core.errors import Refused

_ends_s: ContextVar[float | None] = ContextVar("stratal_reads_end", default=None)


@contextmanager
def reading_within(most_s: float | None) -> Iterator[None]:
    """End the reads of a block that go on when so many seconds have passed; None: none."""
    token = _ends_s.set(None if most_s is None else time.monotonic() + most_s)
    try:
        yield
    finally:
        _ends_s.reset(token)


def left_s() -> float | None:
    """Give the seconds that are left for reads, None for as many as they take."""
    ends_s = _ends_s.get()
    return None if ends_s is None else max(0.0, ends_s - time.monotonic())


def too_long() -> Refused:
    """Say that a read was ended."""
    return Refused(
        "this takes longer than anybody waits for it, and was given up", hint="ask for less at a time: fewer conditions, or one experiment"
    )
