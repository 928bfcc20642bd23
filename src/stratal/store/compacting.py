"""Compacting beside the program, for stores in a database on a server: what this process logs is settled for all others to see,
and they are told that it lives. A store in a folder needs neither: whoever reads it reads its journals, too.
"""

import time
from collections.abc import Callable, Iterable

from stratal.store.journal import Writer
from stratal.store.shipments import BEAT_S


def compacting(writer: Writer, settle: Callable[[], object], say_alive: Callable[[bool], None]) -> Callable[[], Iterable[str]]:
    """Give what settles if the writer has written since, and says that it lives. say_alive: is told whether it does."""
    settled, beaten_s = -1, -1.0

    def make_pass() -> Iterable[str]:
        nonlocal settled, beaten_s
        if (written := writer.written) != settled:
            settle()
            settled = written
        is_alive = writer.is_shown
        if time.monotonic() - beaten_s > BEAT_S if is_alive else beaten_s >= 0:
            say_alive(is_alive)
            beaten_s = time.monotonic() if is_alive else -1.0
        return ()

    return make_pass
