"""The pool: threads in which the store is touched, so many and no more; who comes when all wait is told to come again."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from stratal.server.asgi import refusal
from stratal.server.shares import Shares
from stratal.server.threads import Threads

T = TypeVar("T")

# Threads: reads run beside each other, one command at a time writes. Calls that may wait for them: a second or two of work of one person,
# who has half of them. Guesses.
THREADS, MOST_CALLS, RETRY_S = 8, 128, 1


class Pool:
    """Runs calls of the store for the event loop."""

    def __init__(self, *, threads: int = THREADS, most_calls: int = MOST_CALLS) -> None:
        self._threads = Threads(threads, "stratal-api")
        self._most_calls, self.threads = most_calls, threads
        self._calls = Shares()
        self.refused = 0

    @property
    def calls(self) -> int:
        """How many calls are in threads, or wait for one."""
        return self._calls.total

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return max(0, self.calls - self.threads)

    async def run(self, call: Callable[[], T], name: str = "") -> T:
        """Run a call in a thread. name: of whose it is, '' where nobody knows; one person has half of all. Raises Failed (429) if too many
        wait. A call that has begun ends, whoever goes away."""
        if not self._calls.has_room(name, 1, self._most_calls):
            self.refused += 1
            raise refusal(429, "busy", "the server has all that it takes at a time", "come again in a moment", retry_after_s=RETRY_S)
        future = self._threads.run(call, name)
        self._calls.take(name, 1)
        future.add_done_callback(partial(self._done, name))
        return await asyncio.shield(future)

    def close(self) -> None:
        """Wait for what runs, and take nothing more."""
        self._threads.close()

    def _done(self, name: str, future: "asyncio.Future[T]") -> None:
        self._calls.give_back(name, 1)
        if not future.cancelled():
            future.exception()  # it was read: nobody may be there any more to do so
