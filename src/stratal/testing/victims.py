"""Processes to be killed: forked from one that has imported everything, so that hundreds of kills cost seconds.

with Victims(imports=["stratal.tracking.runs"]) as victims:
    victim = victims.start("stratal.testing.workloads:log_until_killed", folder, acknowledged)
    victim.kill()
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_SERVE = "from stratal.testing.victims import serve; serve()"


class Victim(NamedTuple):
    """A running victim: a child of the zygote."""

    pid: int
    zygote: "Victims"

    def kill(self, how: int = signal.SIGKILL) -> int:
        """Send a signal, wait for the end, and give the wait status (negative: died of that signal)."""
        os.kill(self.pid, how)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and give the exit code (negative: died of that signal)."""
        return self.zygote.wait(self.pid)

    def has_ended(self) -> bool:
        """Tell whether it has ended by itself."""
        return self.zygote.has_ended(self.pid)


class Victims:
    """The zygote: a clean process, started by exec, that forks victims on request and waits for them."""

    def __init__(self, imports: Sequence[str] = ()) -> None:
        self._imports = imports

    def __enter__(self) -> "Victims":
        source = str(Path(__file__).parents[2])
        # The environment reaches the zygote as it is, with this source tree in front.
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r}); {_SERVE}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask({"import": list(self._imports)})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()

    def start(self, function: str, *arguments: str | int | float | bool | None) -> Victim:
        """Fork a victim that calls `module:function` with JSON arguments, and ends."""
        return Victim(int(self._ask({"start": function, "arguments": list(arguments)})), self)

    def wait(self, pid: int) -> int:
        """Wait for a victim's end."""
        return int(self._ask({"wait": pid}))

    def has_ended(self, pid: int) -> bool:
        """Tell whether a victim has ended; its exit code is still to be waited for."""
        return bool(self._ask({"ended": pid}))

    def _ask(self, request: dict[str, object]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the zygote died with {self._process.wait()}")
        return int(answer)


def serve() -> None:
    """Be the zygote: answer requests, one line each, until the input ends."""
    ended: dict[int, int] = {}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what victims print goes to standard error, not between the answers
    for line in sys.stdin:
        request = json.loads(line)
        answer = 0
        if "import" in request:
            for name in request["import"]:
                importlib.import_module(name)
        elif "start" in request:
            answer = _fork(request["start"], request["arguments"])
        elif "wait" in request:
            pid = request["wait"]
            answer = ended.pop(pid) if pid in ended else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        elif "ended" in request:
            pid = request["ended"]
            done, status = (pid, 0) if pid in ended else os.waitpid(pid, os.WNOHANG)
            if done and pid not in ended:
                ended[pid] = os.waitstatus_to_exitcode(status)
            answer = int(bool(done))
        answers.write(f"{answer}\n")
        answers.flush()


def _fork(function: str, arguments: list[object]) -> int:
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        call(*arguments)
        code = 0
    except BaseException:  # noqa: BLE001  # the edge of this process
        traceback.print_exc()
    finally:
        os._exit(code)
