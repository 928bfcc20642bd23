"""Surfaces: what every handler of the server does alike. Requests are counted and bounded, errors are answers, threads touch the store.

The event loop only moves bytes. Who asks is found out before a body is read.
"""

import logging
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import msgspec

from stratal.core.errors import StratalError
from stratal.core.people import Identity
from stratal.server.asgi import Answer, Failed, Gone, Receive, Request, Scope, Send, live, refusal, send_answer
from stratal.server.failures import broken, in_http
from stratal.server.guards import Guard, OpenGuard, identified
from stratal.server.shares import Shares
from stratal.server.threads import Threads
from stratal.store.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")
H = TypeVar("H")


class Routes(Generic[H]):
    """Methods and places below a prefix, and what handles them. hint: where it is written what there is."""

    def __init__(self, prefix: str, *rows: tuple[str, str, H], hint: str = "") -> None:
        self._prefix, self._hint = prefix, hint
        self._rows = [(method, re.compile(place), handler) for method, place, handler in rows]

    @property
    def names(self) -> list[str]:
        """Give each as METHOD PATH, where a path is an expression."""
        return [f"{method} {self._prefix}{place.pattern}" for method, place, _ in self._rows]

    def find(self, request: Request) -> tuple[H, re.Match[str]]:
        """Give what handles a request. Raises Failed: 404, 405."""
        path = request.path
        if path.startswith(self._prefix):
            place = path[len(self._prefix) :]
            for method, pattern, handler in self._rows:
                if method == request.method and (match := pattern.fullmatch(place)) is not None:
                    return handler, match
            if any(pattern.fullmatch(place) for _, pattern, _ in self._rows):
                raise refusal(405, "method", f"{request.method[:20]} is not possible at {path[:100]}", self._hint)
        raise refusal(404, "not-found", f"there is nothing at {path[:100]}", self._hint)


class Places:
    """So many requests, or bytes of them, of one kind at once, and half of them of one person; of more, each gets what `busy` gives."""

    def __init__(self, most: int, busy: Callable[[], Exception]) -> None:
        self._most, self._busy = most, busy
        self._taken = Shares()

    @contextmanager
    def take(self, name: str, count: int = 1) -> Iterator[None]:
        """Take places while the block runs. name: of who takes them, '' where nobody knows."""
        if not self._taken.has_room(name, count, self._most):
            raise self._busy()
        with self._taken.more(name, count):
            yield


class Surface(ABC):
    """An ASGI handler over one store. threads: that may wait for it; most_requests: under way at once, each holds a connection."""

    def __init__(self, store: Store, guard: Guard | None, *, name: str, threads: int, most_requests: float = math.inf) -> None:
        self._store, self._guard = store, guard or OpenGuard()
        self._pools: list[Threads] = []
        self._threads = self.pool(name, threads)
        self._most_requests = most_requests
        self._waiting_bytes = Shares()
        self._entered = Shares()  # requests under way that were let in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, as ASGI 3 says."""
        if scope["type"] == "lifespan":
            return await live(receive, send, self.close)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})
        request = Request(scope, receive)
        try:
            answer = await self.answer(request, send)
            if answer is not None:
                await send_answer(answer, send, is_head=request.method == "HEAD")
        except Gone:
            return None
        finally:
            if request.has_place:
                self._entered.give_back(request.sender, 1)

    def close(self) -> None:
        """Wait for what is being done, and take nothing more."""
        for pool in self._pools:
            pool.close()

    @abstractmethod
    async def handle(self, request: Request, send: Send) -> Answer | None:
        """Give the answer, None if it was sent already, piece by piece. Whatever it raises is answered."""

    async def answer(self, request: Request, send: Send) -> Answer | None:
        """Handle a request, or say what was wrong."""
        try:
            return await self.handle(request, send)
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001  # the edge of this handler: `failed` says what, and logs
            return self.failed(request, error)

    def failed(self, request: Request, error: Exception) -> Answer:
        """Give what was wrong as an answer; what we broke is logged."""
        if isinstance(error, Failed):
            return error.answer
        if isinstance(error, StratalError):
            return in_http(error).answer
        if isinstance(error, msgspec.MsgspecError | UnicodeDecodeError | RecursionError):
            return self.unreadable(request, error).answer
        return broken(request.path, error).answer

    def unreadable(self, _request: Request, error: Exception) -> Failed:
        """Say that a body was no record."""
        return refusal(400, "body", f"the body cannot be read: {error}")

    def busy(self) -> Exception:
        """Say that whoever asks should come again."""
        return refusal(429, "busy", "the server has as much to do as it takes at a time", "come again in a moment", retry_after_s=1)

    async def enter(self, request: Request) -> Identity:
        """Let a request in, and say who sends it. Raises what `busy` gives, and Unauthenticated.

        Of all places one person gets half: who sends or takes byte by byte keeps out nobody else. Who is not let in takes none, however
        often they try."""
        sender = await identified(self._guard, request)
        name = sender.name if sender.is_authenticated else ""
        if not self._entered.has_room(name, 1, self._most_requests):
            raise self.busy()
        request.sender, request.has_place = name, True
        self._entered.take(name, 1)
        return sender

    @contextmanager
    def holding(self, size: int, most: int, request: Request) -> Iterator[None]:
        """Take bytes of a request into memory while the block runs; of one always, of more only while all are at most so many, and those of
        one person half as many."""
        total, own = self._waiting_bytes.total, self._waiting_bytes.of(request.sender) if request.sender else 0
        if (total and total + size > most) or (own and own + size > most / 2):
            raise self.busy()
        with self._waiting_bytes.more(request.sender, size):
            yield

    def pool(self, name: str, threads: int, *, is_near: bool = False) -> Threads:
        """Make threads that end with this surface. is_near: for calls that are short."""
        self._pools.append(Threads(threads, f"stratal-{name}", is_near=is_near))
        return self._pools[-1]

    async def in_thread(self, call: Callable[[], T], pool: Threads | None = None, name: str = "") -> T:
        """Run a call in a thread, which knows what this task knows: who acts, and from where a request came. name: of whose it is, where it
        may take long."""
        return await (pool or self._threads).run(call, name)
