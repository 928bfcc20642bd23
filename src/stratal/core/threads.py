"""Threads for work beside the user's own: daemons, which a process may end without, and may have to do without."""

import logging
import threading
from collections.abc import Callable

from stratal.core.cores import elsewhere

log = logging.getLogger(__name__)


def start_aside(work: Callable[[], None], name: str) -> threading.Thread | None:
    """Start a daemon thread; None, with a warning, if this process can have no more: at its exit, or at a limit.

    What goes on beside a training must not end it."""

    def begin() -> None:
        elsewhere()
        work()

    thread = threading.Thread(target=begin, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        log.warning("thread not started name=%s error=%s", name, error)
        return None
    return thread
