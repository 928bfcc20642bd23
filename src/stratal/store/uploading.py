"""Uploading beside the program: one thread per process and spool brings what is logged to where all see it, whenever that is there:
to a server it ships, in a database on a server it settles.

Being without a server is normal: nothing waits for it, nothing fails, and what was logged stays in the spool until this
thread, that of another process, or `stratal sync` has shipped it.
"""

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stratal.core.errors import StoreDown, StratalError
from stratal.core.settings import Settings
from stratal.core.threads import start_aside
from stratal.store.journal import Writer

if TYPE_CHECKING:
    from stratal.store.shipping import Shipper

log = logging.getLogger(__name__)

# Seconds between two passes, and the longest wait for a server that is away. Guesses.
PASS_S, MOST_WAIT_S = 1.0, 30.0
# Seconds that the end of a process waits: for a server that was away, or of which it knows nothing yet, and for one that is there.
UNKNOWN_S, FINISH_S = 2.0, 10.0
# Seconds that a command waits until what was logged before it is on the server; a query, which then says what is not; and between two
# looks at another process's pass.
SHIP_S, READ_S, LOOK_S = 120.0, 10.0, 0.02

Pass = Callable[[], Iterable[str]]

_uploaders: dict[Path, "Uploader"] = {}
_starting = threading.Lock()


class Landed(NamedTuple):
    """What has become of what this process wrote. refused: why the server does not take it; waits: why not all of it is there yet."""

    refused: str = ""
    waits: str = ""


class Uploader:
    """The thread of one spool. make_pass: brings away what is there, and gives what is to be said: what was refused, what waits."""

    def __init__(self, writer: Writer, make_pass: Pass) -> None:
        self._folder, self._writer, self.make_pass = writer.folder.parent, writer, make_pass
        self._change = threading.Condition()
        self._is_ending, self._has_ended = False, False
        self._is_reached: bool | None = None  # None: not tried yet
        self._said: set[str] = set()
        if start_aside(self._serve, "stratal-upload") is None:
            self._is_reached, self._has_ended = False, True  # what is logged waits in the spool

    def finish(self) -> None:
        """Make a last pass if the server is there, within seconds; what is left waits in the spool, and that is said."""
        self._writer.close()  # so that its segment can be put away
        with self._change:
            self._is_ending = True
            self._change.notify_all()
            if not self._change.wait_for(lambda: self._has_ended, UNKNOWN_S) and self._is_reached:
                self._change.wait_for(lambda: self._has_ended, FINISH_S - UNKNOWN_S)
            has_ended = self._has_ended
        if not has_ended:
            self._say_once("the program ends before all of it was sent; the next one sends the rest, or `stratal sync`")

    def _serve(self) -> None:
        wait_s = PASS_S
        while not self._has_ended:
            is_last = self._is_ending
            is_reached = self._pass()
            wait_s = PASS_S if is_reached else min(2 * wait_s, MOST_WAIT_S)
            with self._change:
                self._is_reached, self._has_ended = is_reached, is_last
                self._change.notify_all()
                self._change.wait_for(lambda: self._is_ending, wait_s)

    def _pass(self) -> bool:
        """Make a pass; False if the server was not there for all of it."""
        try:
            for what in self.make_pass():
                self._say_once(what)
        except StoreDown as error:
            self._say_once(f"waits: {error}")
            return False
        except StratalError as error:
            self._say_once(f"failed: {error}")
            return False
        except Exception as error:  # noqa: BLE001  # the edge of this thread: a spool that was deleted, a disk that is full
            self._say_once(f"failed: {error!r}")
            return False
        return True

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("shipping from %s: %s", self._folder, text)


class Shipping:
    """Ships what one process writes to a spool: by passes, and at once for who must know that it has arrived."""

    def __init__(self, writer: Writer, url: str, settings: Settings) -> None:
        self._writer, self._url, self._settings = writer, url, settings
        self._turn = threading.Lock()  # one pass at a time
        self._waits_since_s: float | None = None  # since when queries have found that something waits
        self._made: Shipper | None = None

    def __call__(self) -> Iterable[str]:
        """Make a pass, and give what was refused, and whether files wait. Raises StoreDown if the server is away."""
        from stratal.store.shipping import BlobWaits  # as below

        with self._turn:
            waits: BlobWaits | None = None
            try:
                self._shipper.ship(insists=False)
            except BlobWaits as error:  # the server is there: points go on, and who logs them lives
                waits = error
            self._shipper.beat()
            if waits is None:
                self._waits_since_s = None
            kept = [] if waits is None or waits.is_on_its_way else [f"keeps files back: {waits.message}"]
            return [f"refused {why}" for why in self._shipper.done.refused] + kept

    def ship_now(self, blobs: Iterable[str], *, must: bool = True) -> Landed:
        """Ship what was logged until now, and blobs that no fact names, and say what has become of it.

        must: wait for long, and raise StoreDown if not all of it is there then; else say so, soon, or at once if it is known to wait.
        Raises StoreDown if the server is not reached."""
        began_s = time.monotonic()
        ends_s = began_s + SHIP_S if must else (self._waits_since_s or began_s) + READ_S
        if not self._turn.acquire(timeout=max(PASS_S, ends_s - began_s)):
            return self._waiting("this process is sending something that takes long", began_s, must)
        try:
            while True:
                why, again_s = self._why_waits(blobs)
                if not why:
                    self._waits_since_s = None
                    return Landed(refused=self._shipper.done.refused_of.get(self._writer.id, ""))
                if time.monotonic() > ends_s:
                    return self._waiting(why, began_s, must)
                time.sleep(again_s)
        finally:
            self._turn.release()

    def _why_waits(self, blobs: Iterable[str]) -> tuple[str, float]:
        """Make a pass; say why something is left after it, '' if nothing is, and in how many seconds to try again."""
        from stratal.store.calling import Busy  # as below

        try:
            self._shipper.ship_blobs(blobs)
            is_shipped = self._shipper.ship()
            self._shipper.beat()  # a run that began just now is alive there, too
            return "" if is_shipped else "another process ships at the moment", LOOK_S
        except Busy as error:
            with contextlib.suppress(StoreDown):
                self._shipper.beat()
            return error.message, min(error.wait_s, PASS_S)

    def _waiting(self, why: str, since_s: float, must: bool) -> Landed:
        if must:
            raise StoreDown(
                f"what was logged here is not on {self._url} after {SHIP_S:g} s, and this may depend on it: {why}",
                hint="see `stratal sync`",
            )
        self._waits_since_s = self._waits_since_s or since_s
        return Landed(waits=why)

    @property
    def _shipper(self) -> "Shipper":
        from stratal.store.calling import Server  # HTTP is imported where it is used: the program must not wait for it
        from stratal.store.shipping import Shipper

        if self._made is None:
            server = Server(self._url, self._settings.user, self._settings.token, self._settings.answer_s)
            self._made = Shipper(self._writer.folder.parent, server, keeps=False)
        return self._made


def upload_aside(writer: Writer, begin: Callable[[], Pass]) -> Uploader:
    """See to it that this process brings away what it writes. begin: gives what makes a pass."""
    with _starting:
        if writer.folder not in _uploaders:
            _uploaders[writer.folder] = Uploader(writer, begin())
        return _uploaders[writer.folder]


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
