"""A rank, from fork to exit: put on the caller's surroundings, run the program, say how it ended."""

import atexit
import os
import runpy
import sys
import threading
import traceback
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import cloudpickle
import torch

from stratal.core.origin import inherit
from stratal.core.records import Record
from stratal.tracking.opening import use_store
from stratal.training.failures import RankLost
from stratal.training.messages import Opened, Raised, Request, Returned, send
from stratal.training.ranks import Membership, OpenedJob, enter


class ReportPipe:
    """Reports of this rank, over a pipe to the supervisor."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def opened(self, job: OpenedJob) -> None:
        """Say that the program has opened a job."""
        self.send(Opened(job=job))

    def send(self, message: Record) -> None:
        """Say something."""
        send(self._connection, message)


def run_rank(membership: Membership, request: Request, connection: Connection, port: int, alive: int) -> NoReturn:
    """Run the program as one rank, report, and end the process.

    port: free for a program that forms its own group by the launcher's variables. alive: read end of a pipe that the supervisor
    holds open as long as it lives.
    """
    reports = ReportPipe(connection)
    code = 1
    try:
        _put_on(membership, request, port)
        threading.Thread(target=_end_with_supervisor, args=(alive,), name="stratal-orphan-watch", daemon=True).start()
        enter(replace(membership, reports=reports))
        value = _run_program(request)
        reports.send(Returned(value=cloudpickle.dumps(value) if membership.rank == 0 else b""))
        code = 0
    except SystemExit as error:
        code = _exit_code(error)
        reports.send(Raised(text=_traceback(error), exit_code=code) if code else Returned(value=cloudpickle.dumps(None)))
    except BaseException as error:  # noqa: BLE001  # the edge of the process: whatever it is, the supervisor hears of it
        reports.send(Raised(text=_traceback(error), is_consequence=isinstance(error, RankLost)))
    finally:
        _end(code)


def _put_on(membership: Membership, request: Request, port: int) -> None:
    os.chdir(request.folder)
    sys.path[:] = request.import_path
    threads = str(request.threads)
    loopback = "lo0" if sys.platform == "darwin" else "lo"  # gloo else looks up the host's name, which many machines do not resolve
    os.environ.clear()
    os.environ.update(request.environ)
    os.environ.update(
        GLOO_SOCKET_IFNAME=request.environ.get("GLOO_SOCKET_IFNAME", loopback),
        RANK=str(membership.rank),
        LOCAL_RANK=str(membership.rank),
        WORLD_SIZE=str(membership.world_size),
        LOCAL_WORLD_SIZE=str(membership.world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), threads),
    )
    torch.set_num_threads(request.threads)
    inherit(request.origin)
    use_store(request.store)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(line_buffering=True)  # a killed rank must not take lines with it


def _run_program(request: Request) -> object:
    if not request.script:
        function, arguments = cloudpickle.loads(request.program)
        return function(*arguments)
    sys.argv[:] = [request.script, *request.arguments]
    sys.path.insert(0, str(Path(request.script).resolve().parent))
    runpy.run_path(request.script, run_name="__main__")
    return None


def _end_with_supervisor(alive: int) -> None:
    os.read(alive, 1)  # ends when the supervisor does
    os._exit(1)


def _traceback(error: BaseException) -> str:
    """Give the traceback from the user's code on, without our frames before it."""
    ours = {__file__, runpy.__file__, "<frozen runpy>"}
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in ours:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    return 1


def _end(code: int) -> NoReturn:
    """End as an interpreter does, but without unwinding the supervisor's stack under this rank."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
