"""The parent's side of one worker process: start it by exec, give it a task, notice its end, end it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait

from stratal.compute import messages
from stratal.compute.messages import Piece, Reply, Task
from stratal.core.origin import origin_text
from stratal.core.settings import environment

# How much of large arguments a worker keeps. A guess: a few data sets of a laptop's size, far from its memory.
HELD_BYTES = 1 << 30
# Under -P (no folder of the user first on the path) nothing in the working folder can stand in for the standard library.
_BOOT = "import sys; sys.path[:] = {path!r}; from stratal.compute.worker import main; main({socket}, {life}, {argv!r}, {origin!r})"
_GOODBYE_S = 5.0  # for the worker's own atexit work; then it is killed


class WorkerGone(Exception):
    """The process ended. `has_begun` tells whether the task had."""

    def __init__(self, how: str, *, has_begun: bool) -> None:
        super().__init__(how)
        self.has_begun = has_begun


class Process:
    """One worker. Not for several threads at once, except `kill`."""

    def __init__(self, extra_environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        life_read, life_write = os.pipe()
        path = [os.path.abspath(p) for p in sys.path]  # noqa: PTH100
        boot = _BOOT.format(path=path, socket=theirs.fileno(), life=life_read, argv=list(sys.argv), origin=origin_text())
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", boot],
                env=environment() | dict(extra_environment),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), life_read),
            )
        except BaseException:
            ours.close()
            os.close(life_write)
            raise
        finally:
            theirs.close()
            os.close(life_read)
        self._connection = Connection(ours.detach())
        self._life = life_write
        # The end of the process itself, because a child that a task forked may hold the socket open. Linux only.
        self._ended = os.pidfd_open(self._process.pid) if hasattr(os, "pidfd_open") else None
        self._held: OrderedDict[str, int] = OrderedDict()
        self._is_over = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def perform(self, pieces: tuple[Piece, ...], blobs: Mapping[str, bytes], keywords: tuple[str, ...], what: str) -> Reply:
        """Run a task and wait for its reply. Raises WorkerGone."""
        has_begun = False
        try:
            new, dropped = self._plan(blobs)
            task = Task(pieces=pieces, keywords=keywords, new=new, dropped=dropped, what=what)
            self._connection.send_bytes(messages.encode(task))
            for digest in new:
                self._connection.send_bytes(blobs[digest])
            while (reply := self._receive()).kind == "begun":
                has_begun = True
            return reply
        except (EOFError, OSError) as error:
            raise WorkerGone(self._how(), has_begun=has_begun) from error

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def end(self) -> None:
        """Say goodbye, wait a little, and free what belongs to it. Idempotent."""
        if self._is_over:
            return
        self._is_over = True
        with contextlib.suppress(OSError):
            self._connection.send_bytes(messages.BYE)
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection.close()
        os.close(self._life)
        if self._ended is not None:
            os.close(self._ended)

    def _plan(self, blobs: Mapping[str, bytes]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Which large arguments must be sent, and which may be forgotten: the least recently used beyond HELD_BYTES."""
        new = tuple(digest for digest in blobs if digest not in self._held)
        for digest, data in blobs.items():
            self._held[digest] = len(data)
            self._held.move_to_end(digest)
        dropped = []
        while sum(self._held.values()) > HELD_BYTES and next(iter(self._held)) not in blobs:
            dropped.append(self._held.popitem(last=False)[0])
        return new, tuple(dropped)

    def _receive(self) -> Reply:
        if self._ended is not None and self._connection not in wait([self._connection, self._ended]):
            raise EOFError
        return messages.decode_reply(self._connection.recv_bytes())

    def _how(self) -> str:
        """Say how it ended. A process that closed its socket but lives on is ended."""
        try:
            code = self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code >= 0:
            return f"exit status {code}"
        try:
            return f"signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"signal {-code}"
