"""The console: what a process prints becomes the output of the run that is active, line by line.

The two streams keep their identity: `write` of the one object each is wrapped, so that handlers of logging that hold a stream
are seen too. What does not pass through `sys.stdout` or `sys.stderr` of Python (libraries in C, child processes) is not seen.
"""

import atexit
import contextlib
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, TextIO

from stratal.tracking import active
from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import complain
from stratal.tracking.output import OUTPUT, OutputFile, artifact_name

LIBRARY = "console"
# The attribute of one object each; its class is left alone.
_WRITE = "write"
# A line longer than this is written in parts.
_LONGEST_LINE = 1 << 16
# Colours, and movements of the cursor.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")


class Lines:
    """Turns what is written to a terminal into the lines that stay on it: a carriage return begins the line anew."""

    def __init__(self) -> None:
        self._pending = ""

    def add(self, text: str) -> str:
        """Give the lines that are complete now."""
        if "\n" not in text and "\r" not in text and len(self._pending) + len(text) <= _LONGEST_LINE:
            self._pending += text  # `print` writes each of its words by itself
            return ""
        *complete, pending = (self._pending + text).split("\n")
        if "\r" in pending:
            pending = pending[max(0, pending.rfind("\r", 0, len(pending) - 1)) :]
        if len(pending) > _LONGEST_LINE:
            complete, pending = [*complete, pending], ""
        self._pending = pending
        return "".join(f"{_shown(line)}\n" for line in complete)

    def rest(self) -> str:
        """Give the last line, which was never completed."""
        line, self._pending = _shown(self._pending), ""
        return f"{line}\n" if line else ""


def _shown(line: str) -> str:
    if "\r" in line:
        line = line.rstrip("\r").rpartition("\r")[2]
    return _CONTROL.sub("", line) if "\x1b" in line else line


class _Sink:
    """The output of one run. It knows no run: the run leads to it, as long as there is one."""

    def __init__(self, file: OutputFile) -> None:
        self.file: OutputFile | None = file  # None: the run is ending, and its output is closed
        self.lines: dict[str, Lines] = {}


class Console:
    """Watches the streams of this process while it is on."""

    def __init__(self) -> None:
        self._streams: list[tuple[TextIO, Any]] = []
        self._forget()

    @property
    def is_on(self) -> bool:
        return bool(self._streams)

    def start(self) -> None:
        """Watch the streams that there are now. Again: those that took their places."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None or any(stream is watched for watched, _ in self._streams):
                continue
            before = vars(stream).get(_WRITE) if hasattr(stream, "__dict__") else None
            try:
                setattr(stream, _WRITE, self._writing(stream.write, name))
            except AttributeError:
                complain(LIBRARY, f"sys.{name} is a {type(stream).__name__} and cannot be watched")
                continue
            self._streams.append((stream, before))

    def stop(self) -> None:
        """Leave the streams as they were."""
        for stream, before in self._streams:
            with contextlib.suppress(AttributeError):
                if before is None:
                    delattr(stream, _WRITE)
                else:
                    setattr(stream, _WRITE, before)
        self._streams = []

    def take(self, stream: str, text: str) -> None:
        """Add what was printed to the output of the active run. Never raises."""
        run = active.active_run()
        if run is None or run.is_joined or getattr(self._inside, "is_so", False):
            return
        self._inside.is_so = True  # what fails in here is logged, and that may be printed
        try:
            with self._lock:
                sink = self._sinks.get(run) or self._open(run)
                if sink.file is not None and (lines := sink.lines.setdefault(stream, Lines()).add(text)):
                    sink.file.append(lines.encode(errors="replace"))
        except Exception as error:  # noqa: BLE001  # the edge: printing must not fail
            complain(LIBRARY, f"{type(error).__name__}: {error}")
        finally:
            self._inside.is_so = False

    def _open(self, run: OpenRun) -> _Sink:
        sink = self._sinks[run] = _Sink(OutputFile(run.store.folder / OUTPUT, run.id, run.epoch))
        run.before_end(lambda: self._close(run))
        return sink

    def _close(self, run: OpenRun) -> None:
        with self._lock:
            sink = self._sinks.get(run)
            file = sink.file if sink is not None else None
            if sink is None or file is None:
                return  # a forked child has none
            sink.file = None  # what another thread prints from here on has no run any more
            file.append("".join(lines.rest() for lines in sink.lines.values()).encode(errors="replace"))
            file.keep(run, artifact_name(run.epoch))

    def _writing(self, write: Callable[[str], int], name: str) -> Callable[[str], int]:
        def writing(text: str) -> int:
            written = write(text)
            self.take(name, text)
            return written

        return writing

    def _forget(self) -> None:
        """Begin as a new process does."""
        self._lock = threading.RLock()
        self._sinks: weakref.WeakKeyDictionary[OpenRun, _Sink] = weakref.WeakKeyDictionary()
        self._inside = threading.local()


console = Console()
atexit.register(console.stop)
os.register_at_fork(after_in_child=console._forget)
