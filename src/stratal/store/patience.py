"""Patience: waiting for a server that is away, in work that would be lost by giving up: pipelines, studies. Others are told at once.

What waits is whatever the block asks of a store behind a URL. Sent again is only what cannot have been done, or what changes nothing more
when it is done twice.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from stratal.core.errors import OutcomeUnknown, StoreDown

log = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds between two tries, doubled from the first to the second, and between two lines that say that it still waits. Guesses.
PAUSE_S, MOST_PAUSE_S, SAY_S = 0.2, 5.0, 60.0

_most_s: ContextVar[float] = ContextVar("stratal_patience", default=0.0)


@contextmanager
def patient(most_s: float) -> Iterator[None]:
    """Let what the block asks of a server that is away wait, each time for this long at most; 0: not at all."""
    token = _most_s.set(most_s)
    try:
        yield
    finally:
        _most_s.reset(token)


def patiently(ask: Callable[[], T], *, is_repeatable: bool) -> T:
    """Ask until the server answers, or patience ends. is_repeatable: may be sent again though it may have been done. Raises StoreDown."""
    began_s = said_s = 0.0
    pause_s = PAUSE_S
    while True:
        try:
            answer = ask()
        except StoreDown as error:
            now_s = time.monotonic()
            began_s = began_s or now_s
            left_s = began_s + _most_s.get() - now_s
            if left_s <= 0 or (isinstance(error, OutcomeUnknown) and not is_repeatable):
                raise
            if not said_s or now_s >= said_s + SAY_S:
                said_s = now_s
                log.warning("waiting for the server, for %.0f s more at most (STRATAL_PATIENCE_S): %s", left_s, error.message)
            time.sleep(min(left_s, pause_s * random.uniform(0.5, 1)))  # not all of its clients at once
            pause_s = min(2 * pause_s, MOST_PAUSE_S)
            continue
        if began_s:
            log.warning("the server is there again, after %.0f s; going on", time.monotonic() - began_s)
        return answer
