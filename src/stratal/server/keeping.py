"""Keeping: a process beside the server's own settles what is logged, tells endpoints of events, and looks for runs that were lost.

Only one thread of a process at a time has Python's interpreter. Settling some thousand points in the server's own held up every request
for as long as it took. Who asks for more than a little that is not settled yet has it settled here, too, and waits for that.

The process ends when its standard input does: when the server stops it, and when the server is killed.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from stratal.core.errors import StratalError
from stratal.core.settings import Settings, environment
from stratal.server.logs import log_lines
from stratal.store.store import Store
from stratal.tracking.opening import open_store
from stratal.webhooks.delivering import delivering

log = logging.getLogger(__name__)

# How long a query waits until what was logged before it is settled here; then its own process does it.
ASKED_S = 10.0
# How long the process may take to end: an endpoint that answers slowly is waited for. And the waits before it is started again.
_GOODBYE_S, _FIRST_WAIT_S, _MOST_WAIT_S = 15.0, 0.5, 30.0
# Behind the server's threads, where both want the same core: a request takes as long as it waits.
_NICE = 5
# Under -P nothing in the working folder can stand in for the standard library.
_BOOT = "import sys; sys.path[:] = {path!r}; from stratal.server.keeping import keep; keep()"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The first line that the process reads: what it keeps. It may hold secrets, so it is no argument of the command."""

    url: str
    settings: Settings
    is_logging: bool


class Keeper:
    """The process, from the server's side. It is started again if it ends by itself."""

    def __init__(self, store: Store) -> None:
        self._order = Order(
            url=store.address.whole if store.address else str(store.folder),
            settings=store.settings,
            is_logging=bool(logging.getLogger("stratal").handlers),
        )
        self._change = threading.Condition()
        self._asked = self._done = self._failed = 0  # numbers of questions
        self._is_ending = self._is_ready = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="stratal-keeper", daemon=True)

    @property
    def pid(self) -> int | None:
        """Its number; None while nobody answers."""
        process = self._process
        return process.pid if process is not None and self._is_ready else None

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def settle(self) -> bool:
        """Have all settled that was logged until now; False if the process did not do it in time, or is not there."""
        with self._change:
            if not self._is_ready:
                return False
            self._asked = mine = self._asked + 1
            try:
                self._say(b"%d\n" % mine)
            except OSError:
                return False
            self._change.wait_for(lambda: max(self._done, self._failed) >= mine or not self._is_ready, ASKED_S)
            return self._done >= mine

    def stop(self) -> None:
        """End it after what is under way."""
        with self._change:
            self._is_ending = True
            self._change.notify_all()
            self._hang_up()
        self._thread.join()

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._is_ending:
            try:
                answered = self._serve()
            except OSError as error:  # no memory, or no process any more
                log.warning("keeper not started error=%s", error)
                answered = False
            wait_s = _FIRST_WAIT_S if answered else min(2 * wait_s, _MOST_WAIT_S)
            with self._change:
                self._change.wait_for(lambda: self._is_ending, wait_s)

    def _serve(self) -> bool:
        """Run the process once, until it ends; tell whether it ever answered."""
        boot = _BOOT.format(path=[str(Path(place).absolute()) for place in sys.path])
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", boot], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), bufsize=0
        )
        try:
            with self._change:
                self._process = process
                self._say(msgspec.json.encode(self._order, enc_hook=str) + b"\n")  # paths are texts
                if self._is_ending:
                    self._hang_up()
            self._listen(process)
        except OSError as error:
            log.warning("keeper not told error=%s", error)
        finally:
            answered = self._is_ready
            with self._change:
                self._is_ready = False
                self._hang_up()
                self._process = None
                self._change.notify_all()
            self._end(process)
        if not self._is_ending:
            log.warning("keeper ended status=%s", process.returncode)
        return answered

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._change:
                self._is_ready = True  # its first line says so
                self._done = max(self._done, int(line))
                self._failed = max(self._failed, -int(line))
                self._change.notify_all()

    def _say(self, line: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(line)  # it has no buffer

    def _hang_up(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        try:
            process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextlib.contextmanager
def keeping(store: Store) -> Iterator[Keeper]:
    """Keep a store by a process beside a block."""
    keeper = Keeper(store)
    keeper.start()
    store.settler.have_settled = keeper.settle
    try:
        yield keeper
    finally:
        store.settler.have_settled = None
        keeper.stop()


def keep() -> None:
    """Be that process: keep what standard input says, settle whenever a number comes, and say the number then; less than 0 if it failed."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # of a terminal, or for all processes of a service: the server says when
        signal.signal(stop, signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)  # nothing else is an answer
    said = sys.stdin.buffer.readline()
    if not said.endswith(b"\n"):
        return  # the server was killed before it had told all
    order = msgspec.json.decode(said, type=Order, dec_hook=lambda kind, said: kind(said))
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    if order.is_logging:
        log_lines()
    store = open_store(order.url, settings=order.settings)
    with delivering(store):
        _answer(answers, 0)
        while asked := os.read(0, 1 << 16):  # all that have asked meanwhile are answered by one settling
            number = int(asked.split()[-1])
            try:
                store.settle()
            except StratalError as error:  # who asked settles, and hears of it
                log.warning("not settled error=%s", error.message)
                number = -number
            _answer(answers, number)
    store.close()


def _answer(answers: int, number: int) -> None:
    with contextlib.suppress(OSError):  # the server was killed, and the next number does not come
        os.write(answers, b"%d\n" % number)
