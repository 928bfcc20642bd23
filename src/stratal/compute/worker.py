"""The worker's side: a process that runs one task after the other, and ends with the process that started it.

Started by exec, never by fork, so that thread counts are in the environment before any library is imported.
"""

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from stratal.compute import messages
from stratal.compute.messages import Piece, Reply, Task
from stratal.compute.travelling import pack, pack_error, unpack
from stratal.core.errors import Misuse
from stratal.core.origin import inherit


def main(socket_fd: int, life_fd: int, argv: list[str], origin: str) -> None:
    """Serve the parent on `socket_fd`. `life_fd` is the read end of a pipe whose other end only the parent holds.

    argv, origin: the parent's, as `origin_text` gives it."""
    end_with_parent(life_fd)
    # A handler, not SIG_IGN: Ctrl-C is the parent's to handle, but programs that a task starts must not inherit deafness.
    signal.signal(signal.SIGINT, lambda *_: None)
    sys.argv[:] = argv
    inherit(origin)
    connection = Connection(socket_fd)
    held: dict[str, bytes] = {}
    while True:
        try:
            header = connection.recv_bytes()
        except (EOFError, OSError):
            return
        if header == messages.BYE:
            return
        task = messages.decode_task(header)
        for digest in task.dropped:
            held.pop(digest, None)
        for digest in task.new:
            held[digest] = connection.recv_bytes()
        connection.send_bytes(messages.encode(Reply(kind="begun")))
        connection.send_bytes(messages.encode(_perform(task, held)))


def end_with_parent(life_fd: int) -> None:
    """Make the kernel end this process when the pipe's other end closes, however busy it is; a thread does it where it cannot."""
    threading.Thread(target=_watch, args=(life_fd,), name="stratal-life", daemon=True).start()
    if hasattr(fcntl, "F_SETSIG"):  # Linux. PDEATHSIG would follow the parent's *thread*, which may end long before.
        fcntl.fcntl(life_fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(life_fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life_fd, fcntl.F_SETFL, fcntl.fcntl(life_fd, fcntl.F_GETFL) | os.O_ASYNC)


def _watch(life_fd: int) -> None:
    while os.read(life_fd, 1):  # nothing is ever written
        pass
    os._exit(1)


def _perform(task: Task, held: dict[str, bytes]) -> Reply:
    try:
        function, arguments, keywords = _parts(task, held)
        value = function(*arguments, **keywords)
        reply = Reply(kind="done", data=pack(value, what=f"the value of {task.what} (a {type(value).__qualname__})"))
    except BaseException as error:  # noqa: BLE001  # the edge of a process: all that a task raises goes home, SystemExit too
        data, text = pack_error(error)
        reply = Reply(kind="failed", data=data, text=text)
    finally:
        _flush()
    return reply


def _parts(task: Task, held: dict[str, bytes]) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
    values = [_value(piece, held) for piece in task.pieces]
    function = values[0]
    if not callable(function):
        raise Misuse(f"{task.what} is a {type(function).__name__}, not a function")
    positional = values[1 : len(values) - len(task.keywords)]
    return function, positional, dict(zip(task.keywords, values[len(values) - len(task.keywords) :], strict=True))


def _value(piece: Piece, held: dict[str, bytes]) -> object:
    return unpack(held[piece.digest] if piece.digest else piece.data)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # closed by the task, or nobody reads any more
            continue
