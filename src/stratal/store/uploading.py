"""Uploading beside the program: one thread per process and spool brings what is logged to where all see it, whenever that is there:
to a server it ships, in a database on a server it settles.

Being without a server is normal: nothing waits for it, nothing fails, and what was logged stays in the spool until this
thread, that of another process, or `stratal sync` has shipped it.
"""

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from stratal.core.errors import StoreDown
from stratal.core.threads import start_aside
from stratal.store.journal import Writer

log = logging.getLogger(__name__)

# Seconds between two passes, and the longest wait for a server that is away. Guesses.
PASS_S, MOST_WAIT_S = 1.0, 30.0
# Seconds that the end of a process waits: for a server of which it knows nothing yet, and for one that is there.
UNKNOWN_S, FINISH_S = 2.0, 10.0

Pass = Callable[[], Iterable[str]]

_uploaders: dict[Path, "Uploader"] = {}
_starting = threading.Lock()


class Uploader:
    """The thread of one spool. begin: called in it, gives what makes a pass, and that gives what was refused."""

    def __init__(self, writer: Writer, begin: Callable[[], Pass]) -> None:
        self._folder, self._writer, self._begin = writer.folder.parent, writer, begin
        self._change = threading.Condition()
        self._is_ending, self._has_ended = False, False
        self._is_reached: bool | None = None  # None: not tried yet
        self._said: set[str] = set()
        if start_aside(self._serve, "stratal-upload") is None:
            self._is_reached = False  # what is logged waits in the spool

    def finish(self) -> None:
        """Make a last pass if the server is there, within seconds; what is left waits in the spool."""
        self._writer.close()  # so that its segment can be put away
        with self._change:
            self._is_ending = True
            self._change.notify_all()
            self._change.wait_for(lambda: self._is_reached is not None, UNKNOWN_S)
            if self._is_reached:
                self._change.wait_for(lambda: self._has_ended, FINISH_S)

    def _serve(self) -> None:
        make_pass, wait_s = self._begin(), PASS_S
        while not self._has_ended:
            is_last = self._is_ending
            is_reached = self._pass(make_pass)
            wait_s = PASS_S if is_reached else min(2 * wait_s, MOST_WAIT_S)
            with self._change:
                self._is_reached, self._has_ended = is_reached, is_last
                self._change.notify_all()
                self._change.wait_for(lambda: self._is_ending, wait_s)

    def _pass(self, make_pass: Pass) -> bool:
        """Make a pass; False if the server was not there for all of it."""
        try:
            for why in make_pass():
                self._say_once(f"refused {why}")
        except StoreDown as error:
            self._say_once(f"waits: {error}")
            return False
        except Exception as error:  # noqa: BLE001  # the edge of this thread: a spool that was deleted, a disk that is full
            self._say_once(f"failed: {error!r}")
            return False
        return True

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("bringing away what is logged in %s %s", self._folder, text)


def upload_aside(writer: Writer, begin: Callable[[], Pass]) -> None:
    """See to it that this process brings away what it writes. begin: see Uploader."""
    with _starting:
        if writer.folder not in _uploaders:
            _uploaders[writer.folder] = Uploader(writer, begin)


def shipping(folder: Path, url: str, user: str, token: str | None = None) -> Pass:
    """Give what ships a spool to its server."""
    from stratal.store.calling import Server  # HTTP is imported in the thread: the program must not wait for it
    from stratal.store.shipping import Shipper

    shipper = Shipper(folder, Server(url, user, token), keeps=False)

    def ship() -> Iterable[str]:
        shipper.ship()
        shipper.beat()
        return shipper.done.refused

    return ship


def finish_upload(writer: Writer) -> None:
    """Bring away what is left of one spool, and end its thread."""
    with _starting:
        uploader = _uploaders.pop(writer.folder, None)
    if uploader is not None:
        uploader.finish()


def finish_uploads() -> None:
    """Ship what is left to servers that are there."""
    for uploader in list(_uploaders.values()):
        uploader.finish()


def _after_fork() -> None:
    global _starting
    _starting = threading.Lock()
    _uploaders.clear()  # a child has no thread of its parent's


atexit.register(finish_uploads)  # imported before what ends runs at exit, and so called after it
os.register_at_fork(after_in_child=_after_fork)
