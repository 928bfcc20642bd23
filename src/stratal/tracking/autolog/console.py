"""The console: what a process prints becomes the output of the run that is active, line by line.

The two streams keep their identity: `write` of the one object each is wrapped, so that handlers of logging that hold a stream
are seen too. What does not pass through `sys.stdout` or `sys.stderr` of Python (libraries in C, child processes) is not seen.

IPython wraps `write`, too, for each cell, and takes away at the cell's end what was put over it: so each cell is watched anew.
"""

import atexit
import contextlib
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

from stratal.core.origin import Shell, ipython_shell
from stratal.tracking import active
from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import complain
from stratal.tracking.output import OUTPUT, OutputFile, artifact_name, deliver_aside

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


class _Watched(NamedTuple):
    """A stream, its own `write` before (None: its class's), and ours."""

    stream: TextIO
    before: Any
    writing: Callable[[str], int]


class Console:
    """Watches the streams of this process while it is on."""

    def __init__(self) -> None:
        self._streams: list[_Watched] = []
        self._session: object = None  # from a start to the next stop
        self._has_answered = False
        self._shell: Shell | None = None
        self._forget()

    @property
    def is_on(self) -> bool:
        return bool(self._streams)

    def start(self) -> None:
        """Watch the streams that there are now. Again: those that took their places."""
        self._session = self._session or object()
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None or self._is_heard(stream):
                continue
            before = vars(stream).get(_WRITE) if hasattr(stream, "__dict__") else None
            writing = self._writing(stream.write, name)
            try:
                setattr(stream, _WRITE, writing)
            except AttributeError:
                complain(LIBRARY, f"sys.{name} is a {type(stream).__name__} and cannot be watched")
                continue
            self._streams = [*(watched for watched in self._streams if watched.stream is not stream), _Watched(stream, before, writing)]
        self._follow_cells()

    def stop(self) -> None:
        """Leave the streams as they were; where somebody has wrapped us since, we stay, and are deaf."""
        for watched in self._streams:
            with contextlib.suppress(AttributeError):
                if vars(watched.stream).get(_WRITE) is not watched.writing:
                    continue
                if watched.before is None:
                    delattr(watched.stream, _WRITE)
                else:
                    setattr(watched.stream, _WRITE, watched.before)
        self._streams, self._session = [], None
        if self._shell is not None:
            self._shell.events.unregister("pre_run_cell", self._before_cell)
            self._shell = None

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
        deliver_aside(run.store)
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
        session = self._session

        def writing(text: str) -> int:
            written = write(text)
            if self._session is session:
                self._has_answered = True
                self.take(name, text)
            return written

        return writing

    def _is_heard(self, stream: TextIO) -> bool:
        """Tell whether what is written to a stream comes to us, by writing nothing."""
        self._has_answered = False
        with contextlib.suppress(ValueError, OSError):  # closed
            stream.write("")
        return self._has_answered

    def _follow_cells(self) -> None:
        shell = ipython_shell()
        if shell is not None and self._shell is None:
            shell.events.register("pre_run_cell", self._before_cell)
            self._shell = shell

    def _before_cell(self, _info: object) -> None:
        self.start()

    def _forget(self) -> None:
        """Begin as a new process does."""
        self._lock = threading.RLock()
        self._sinks: weakref.WeakKeyDictionary[OpenRun, _Sink] = weakref.WeakKeyDictionary()
        self._inside = threading.local()


console = Console()
atexit.register(console.stop)
os.register_at_fork(after_in_child=console._forget)
