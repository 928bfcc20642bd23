"""Start ranks from a user's process, without torch and without forking it."""

import atexit
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cloudpickle

from stratal.compute.resources import machine_slots, share
from stratal.core.errors import Bug, Misuse
from stratal.core.origin import origin_text
from stratal.core.settings import environment, load_settings
from stratal.store.store import Store
from stratal.tracking.active import active_run
from stratal.tracking.opening import current_store
from stratal.training.failures import JobFailed
from stratal.training.messages import Outcome, Request, receive, send
from stratal.training.plans import Plan
from stratal.training.ranks import current_membership

if TYPE_CHECKING:
    from stratal.training.jobs import Job

T = TypeVar("T")

RESTARTS = 3


class JobVerb:
    """`job(...)` opens a job in this process; `job.run(function)` runs a function on several local ranks."""

    def __call__(
        self,
        *,
        mesh: str = "dp",
        workers: int | None = None,
        checkpoint: str | None = None,
        keep: int = 2,
        seed: int = 0,
        experiment: str = "job",
        name: str | None = None,
        params: Mapping[str, object] | None = None,
        store: Store | Path | str | None = None,
        resume: str | None = None,
    ) -> AbstractContextManager["Job"]:
        """Open a job, with a run of kind "job", for the length of a `with` block. Any number of ranks gives the same losses, up to
        rounding; layers that look at a whole batch (BatchNorm) or draw random numbers see their rank's share.

        mesh: "dp" (all ranks there are) or "dp=N". workers: refuse to run on another number of ranks; None: any.
        checkpoint: "50 steps", "1 epoch", or None for none; the last `keep` are kept.
        seed: of the order of samples, and of random, numpy and torch.
        store: itself, its URL or folder; None: the current one.
        resume: the id of a job's run, to go on from its last checkpoint, or from the beginning if it has none.
        Raises Misuse for a mesh that this version or these ranks cannot run, Conflict if a living process holds the run.
        """
        from stratal.training.jobs import open_job  # torch: a process that only starts ranks must not pay seconds for it

        plan = Plan(experiment=experiment, name=name, params=dict(params or {}), store=store, resume=resume)
        return open_job(plan, mesh=mesh, workers=workers, checkpoint=checkpoint, keep=keep, seed=seed)

    def run(self, function: Callable[..., T], *args: object, workers: int = 2, restarts: int = RESTARTS) -> T:
        """Run `function(*args)` on local ranks, and give what it returned on rank 0.

        The function travels by cloudpickle. When a rank dies, the others are stopped and all start again from the last checkpoint,
        up to `restarts` times. Raises JobFailed, with the traceback, when the function raises on a rank.
        """
        program = cloudpickle.dumps((function, args))
        outcome = _run(_request(workers=workers, restarts=restarts, program=program))
        value: T = cloudpickle.loads(outcome.value)
        return value


job = JobVerb()


def run_script(script: Path, arguments: tuple[str, ...] = (), *, workers: int, restarts: int = RESTARTS) -> None:
    """Run a script on local ranks, each as `__main__`. Raises JobFailed with the traceback of the rank that failed."""
    if not script.is_file():
        raise Misuse(f"there is no script {script}", hint="give the path of a Python file")
    _run(_request(workers=workers, restarts=restarts, script=str(script), arguments=arguments))


def _request(*, workers: int, restarts: int, program: bytes = b"", script: str = "", arguments: tuple[str, ...] = ()) -> Request:
    if workers < 1:
        raise Misuse(f"workers = {workers} is not a number of ranks", hint="ask for 1 or more")
    if restarts < 0:
        raise Misuse(f"restarts = {restarts} is not a number of restarts", hint="0 gives up at the first death")
    here = current_membership()
    if here.is_launched:
        raise Misuse(
            f"this process is rank {here.rank} of {here.world_size} already, it cannot start ranks of its own",
            hint="run a script that calls job.run with plain python; one that a launcher starts opens st.job(...) itself",
        )
    parent = active_run()
    return Request(
        program=program,
        script=script,
        arguments=arguments,
        workers=workers,
        restarts=restarts,
        threads=share(load_settings().slots or machine_slots(), workers),
        folder=str(Path.cwd()),
        environ=environment(),
        import_path=tuple(sys.path),
        store=(parent.store if parent is not None else current_store()).url,
        parent=parent.id if parent is not None else None,
        origin=origin_text(),
    )


def _run(request: Request) -> Outcome:
    link = _idle_link()
    try:
        outcome = link.ask(request)
    except BaseException:
        link.close()
        raise
    _idle.append(link)
    if outcome.failure:
        error = JobFailed(outcome.failure, hint=outcome.hint)
        error.exit_code = outcome.exit_code
        error.rank = outcome.rank
        raise error
    return outcome


class _Link:
    """A supervisor of our own, and the pipe to it. One request at a time."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._connection, theirs = Pipe(duplex=True)
        fd = theirs.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stratal.training.supervisor", str(fd)],
            pass_fds=[fd],
            env=_supervisor_environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt at the terminal reaches us alone, and we stop the ranks
        )
        theirs.close()

    @property
    def is_usable(self) -> bool:
        """Tell whether this process may ask it something."""
        return self.owner == os.getpid() and self._process.poll() is None

    def ask(self, request: Request) -> Outcome:
        """Send a request and wait for its end."""
        try:
            send(self._connection, request)
            return receive(self._connection, Outcome)
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise Bug(
                f"the supervisor of the ranks ended with exit code {self._process.wait()}", hint="its own message stands above"
            ) from error

    def close(self) -> None:
        """End the supervisor, which stops its ranks first."""
        if self.owner == os.getpid():
            self._connection.close()
            self._process.wait()


def _supervisor_environment() -> dict[str, str]:
    """The caller's variables, but one thread for each library: a pool of threads must not exist before a fork.

    OpenMP threads sleep when they wait. They spin by default, which on a machine that others use, too, took 20 times the CPU time
    (a small model on two threads, torch 2.13, libgomp).
    """
    environ = {"OMP_WAIT_POLICY": "PASSIVE"} | environment()
    source = str(Path(__file__).parents[2])
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (environ.get("PYTHONPATH"), source)))
    return environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


_idle: list[_Link] = []


def _idle_link() -> _Link:
    while _idle:
        link = _idle.pop()
        if link.is_usable:
            return link
    return _Link()


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()
