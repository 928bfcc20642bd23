"""The port that rooms submit work through, and the ways in which work fails there."""

from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import ClassVar, ParamSpec, Protocol, Self, TypeVar

from stratal.core.errors import StratalError

P = ParamSpec("P")
T = TypeVar("T")


class WorkerDied(StratalError):
    """The process that ran the task ended in the middle of it: killed, out of memory, crashed. Doing it again may help."""

    retryable: ClassVar[bool] = True


class WorkFailed(StratalError):
    """The task raised an exception that cannot travel between processes; this one carries its text."""


class WorkerTraceback(Exception):
    """The traceback of a task as text: the `__cause__` of the exception that came back."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"in a worker\n{self.text}"


class Workers(Protocol):
    """Somewhere to run functions.

    Laws
    1 A task runs at most once; its future gets the value or the exception, with a WorkerTraceback as cause.
    2 If its worker dies, the future raises WorkerDied (retryable); other tasks go on, and later ones find a worker.
    3 A task that had not begun when its worker died is begun by another one.
    4 Function and arguments are taken as they are when `submit` is called: a later change is not seen.
    5 What cannot travel raises Misuse: from `submit` for function and arguments, from the future for a value.
    6 `close` is bounded: what waits is cancelled, what runs is given `grace_s`, then ended with WorkerDied.
    7 No worker outlives the process that started it, however that ends.
    """

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    def interrupt(self, future: Future[T]) -> bool:
        """End the task: cancelled if it waits, WorkerDied if it runs. False if it is over."""
        ...

    def close(self, *, grace_s: float = 5.0) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
