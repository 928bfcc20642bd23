"""Deadlines: how long a question may be read for. Whoever asked a server has hung up by then, and its thread must not go on.

Only reads end so, and between two rows: what one row may take is bounded where questions are read.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from stratal.core.errors import Refused

# Seconds between two looks for reads that have to end.
_LOOK_S = 0.25

_ends_s: ContextVar[float | None] = ContextVar("stratal_reads_end", default=None)
_change = threading.Lock()
_watched: dict[object, tuple[float, Callable[[], None]]] = {}
_watcher: threading.Thread | None = None


@contextmanager
def reading_within(most_s: float | None) -> Iterator[None]:
    """End the reads of a block that go on when so many seconds have passed; None: none."""
    token = _ends_s.set(None if most_s is None else time.monotonic() + most_s)
    try:
        yield
    finally:
        _ends_s.reset(token)


def left_s() -> float | None:
    """Give the seconds that are left for reads, None for as many as they take. Raises Refused where none is."""
    ends_s = _ends_s.get()
    if ends_s is None:
        return None
    if (left := ends_s - time.monotonic()) <= 0:
        raise too_long()
    return left


@contextmanager
def ended_by(end: Callable[[], None]) -> Iterator[None]:
    """Have `end` called, by another thread, if a block still reads when no time is left; never when the block is over. Raises Refused."""
    left, place = left_s(), object()
    if left is None:
        yield
        return
    with _change:
        _watched[place] = (time.monotonic() + left, end)
        _watch()
    try:
        yield
    finally:
        with _change:
            del _watched[place]


def too_long() -> Refused:
    """Say that a read was ended."""
    return Refused(
        "this takes longer than anybody waits for it, and was given up", hint="ask for less at a time: fewer conditions, or one experiment"
    )


def _watch() -> None:
    global _watcher
    if _watcher is None or not _watcher.is_alive():  # a process that was forked has none
        _watcher = threading.Thread(target=_look, name="stratal-deadlines", daemon=True)
        _watcher.start()


def _look() -> None:
    while True:
        time.sleep(_LOOK_S)
        with _change:
            now_s = time.monotonic()
            for ends_s, end in _watched.values():
                if ends_s <= now_s:
                    end()
