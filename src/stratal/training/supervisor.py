"""The supervisor of a host's ranks, and their zygote: it has imported torch, runs no thread, and forks each rank warm.

Started by exec (`python -m stratal.training.supervisor FD`), so that a user's process is never forked. It serves one request
after another until the caller is gone. Every generation of ranks has its own meeting file and key prefix: a rank can never meet
the addresses of a dead generation.
"""

import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

# Imported before forking, so that ranks start warm. torch loads _dynamo, seconds of it, when the first optimizer is made.
import torch._dynamo
import torch.optim  # noqa: F401

import stratal.store.database
import stratal.store.settling
import stratal.tracking.store.settling
import stratal.training.jobs  # noqa: F401
from stratal.core.errors import Bug
from stratal.training.messages import Opened, Outcome, Raised, Request, Returned, receive, receive_report, send
from stratal.training.ranks import NONE, Board, Membership, OpenedJob, Recovery
from stratal.training.recording import end_lost
from stratal.training.recovering import Decision, Ending, decide, find_culprit
from stratal.training.worker import run_rank

# How long survivors may take to say what they saw, before the culprit is named. A torn connection is noticed in milliseconds.
_HEARING_S = 0.5
# How long a rank may take to end after a polite signal.
_GRACE_S = 2.0


def main(control: Connection) -> None:
    """Serve the caller until it is gone."""
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    while True:
        try:
            request = receive(control, Request)
        except EOFError:
            return
        try:
            outcome = Supervisor(request, control, wake, unheard=(wake, woken)).run()
        except CallerGoneError:
            return
        send(control, outcome)


class CallerGoneError(Exception):
    """The caller's process has ended or has closed its end."""


@dataclass
class _Rank:
    rank: int
    pid: int
    reports: Connection
    raised: Raised | None = None
    returned: Returned | None = None
    exit_code: int = 0

    def ending(self) -> Ending:
        return Ending(rank=self.rank, exit_code=self.exit_code, raised=self.raised, has_returned=self.returned is not None)


class Supervisor:
    """Runs one request over as many generations as it takes."""

    def __init__(self, request: Request, control: Connection, wake: socket.socket, unheard: tuple[socket.socket, ...]) -> None:
        self._request = request
        self._control = control
        self._wake = wake
        self._unheard = unheard
        self._board = Board(request.workers)
        # Jobs that the program has opened, in order; those of this generation stand over those of earlier ones.
        self._opened: list[OpenedJob] = []
        self._opened_earlier: tuple[OpenedJob, ...] = ()
        self._live: list[_Rank] = []

    def run(self) -> Outcome:
        """Give how it ended. Raises CallerGoneError after stopping all ranks."""
        recovery: Recovery | None = None
        for generation in range(1, self._request.restarts + 2):
            with tempfile.TemporaryDirectory(prefix="stratal-job-") as folder:
                ended = self._run_generation(generation, Path(folder) / "meeting", recovery)
            if all(rank.ending().is_good for rank in ended):
                value = next(rank.returned.value for rank in ended if rank.rank == 0 and rank.returned is not None)
                return Outcome(value=value, generations=generation)
            decision = self._decide(ended, generation)
            if not decision.starts_again:
                return self._give_up(decision, generation)
            print(f"stratal: {decision.reason}; starting again from step {self._board.checkpoint()}", file=sys.stderr, flush=True)  # noqa: T201  # the user's terminal
            recovery = Recovery(
                cause=str(decision.culprit), rank=decision.culprit.rank, steps_reached=self._board.steps(), died_at_s=time.monotonic()
            )
        raise Bug("a generation beyond the last one was asked for")

    def _run_generation(self, generation: int, meeting: Path, recovery: Recovery | None) -> list[_Rank]:
        self._opened_earlier = self._opened_so_far()
        self._opened.clear()
        self._board.start_again()
        first = Membership(
            world_size=self._request.workers,
            generation=generation,
            meeting_file=str(meeting),
            is_launched=True,
            opened=self._opened_earlier,
            recovery=recovery,
            parent=self._request.parent,
            board=self._board,
        )
        port = _free_port()
        alive, held = os.pipe()
        try:
            for rank in range(self._request.workers):
                self._live.append(self._fork(replace(first, rank=rank), port, alive, held))
            return self._watch()
        finally:
            self._stop(signal.SIGKILL)
            os.close(alive)
            os.close(held)

    def _opened_so_far(self) -> tuple[OpenedJob, ...]:
        return (*self._opened, *self._opened_earlier[len(self._opened) :])

    def _fork(self, membership: Membership, port: int, alive: int, held: int) -> _Rank:
        _check_no_threads()
        reports, mine = Pipe(duplex=False)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(held)
            for connection in (self._control, reports, *(rank.reports for rank in self._live)):
                connection.close()
            for pair in self._unheard:
                pair.close()
            run_rank(membership, self._request, mine, port, alive)  # does not return
        mine.close()
        return _Rank(rank=membership.rank, pid=pid, reports=reports)

    def _watch(self) -> list[_Rank]:
        """Wait until all ranks ended well, or one did not. Gives the ranks that ended by themselves."""
        ended: list[_Rank] = []
        while self._live:
            ended += self._hear(timeout_s=None)
            bad = [rank.ending() for rank in ended if not rank.ending().is_good]
            if bad and find_culprit(bad).is_consequence:
                ended += self._hear_culprit()
            if bad:
                break
        return ended

    def _hear_culprit(self) -> list[_Rank]:
        """Wait a moment for the rank that explains why another one lost it."""
        ended: list[_Rank] = []
        deadline_s = time.monotonic() + _HEARING_S
        while self._live and (left_s := deadline_s - time.monotonic()) > 0:
            ended += self._hear(timeout_s=left_s)
        return ended

    def _hear(self, timeout_s: float | None) -> list[_Rank]:
        """Wait for something to happen; read what ranks said; give those that ended."""
        ready = wait([self._control, self._wake, *(rank.reports for rank in self._live if not rank.reports.closed)], timeout_s)
        if self._control in ready:
            self._stop(signal.SIGTERM)
            self._end_runs("stopped", "the process that started the job has gone")
            raise CallerGoneError
        if self._wake in ready:
            self._wake.recv(4096)
        ended = []
        for rank in list(self._live):
            gone, status = os.waitpid(rank.pid, os.WNOHANG)
            self._read_reports(rank)
            if gone:
                rank.exit_code = os.waitstatus_to_exitcode(status)
                rank.reports.close()
                self._live.remove(rank)
                ended.append(rank)
        return ended

    def _read_reports(self, rank: _Rank) -> None:
        try:
            while not rank.reports.closed and rank.reports.poll(0):
                report = receive_report(rank.reports)
                if isinstance(report, Opened):
                    self._opened.append(report.job)
                elif isinstance(report, Returned):
                    rank.returned = report
                else:
                    rank.raised = report
        except (EOFError, OSError):  # killed in the middle of a word
            rank.reports.close()

    def _stop(self, number: signal.Signals) -> None:
        """Stop the ranks that are left: by `number`, and surely after a grace."""
        for rank in self._live:
            os.kill(rank.pid, number)
        deadline_s = time.monotonic() + _GRACE_S
        for rank in self._live:
            while os.waitpid(rank.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline_s:
                    os.kill(rank.pid, signal.SIGKILL)
                wait([self._wake], 0.05)
                _drain(self._wake.recv)
            rank.reports.close()
        self._live.clear()

    def _decide(self, ended: list[_Rank], generation: int) -> Decision:
        step = self._board.checkpoint()
        return decide(
            [rank.ending() for rank in ended],
            restarts_left=self._request.restarts + 1 - generation,
            checkpoint_step=None if step == NONE else step,
        )

    def _give_up(self, decision: Decision, generation: int) -> Outcome:
        raised = decision.culprit.raised
        code = decision.culprit.exit_code
        self._end_runs("failed", decision.reason)
        return Outcome(
            failure=decision.reason,
            hint=decision.hint,
            exit_code=raised.exit_code if raised is not None else 128 - code if code < 0 else code or 1,
            rank=decision.culprit.rank,
            generations=generation,
        )

    def _end_runs(self, status: str, reason: str) -> None:
        """End what the ranks could not end themselves; in a process of its own, because a store has threads."""
        if not (opened := self._opened_so_far()):
            return
        pid = os.fork()
        if pid == 0:
            try:
                for job in opened:
                    end_lost(job, status, reason)
            except BaseException:  # noqa: BLE001  # the edge of the process; the failure of the ranks is told all the same
                traceback.print_exc()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)


def _check_no_threads() -> None:
    tasks = Path("/proc/self/task")
    count = len(list(tasks.iterdir())) if tasks.is_dir() else threading.active_count()
    if count != 1:
        raise Bug(f"the supervisor runs {count} threads, so it must not fork")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _drain(receive_some: Callable[[int], bytes]) -> None:
    try:
        receive_some(4096)
    except BlockingIOError:
        return


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
