"""Threads: where the event loop has calls done that may wait. A fourth of what a hop by `run_in_executor` costs, beside others."""

import asyncio
import contextlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from stratal.core.cores import elsewhere, near
from stratal.core.errors import StoreDown
from stratal.server.shares import Shares

T = TypeVar("T")


class _Call(NamedTuple):
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[object]"
    context: Context
    call: Callable[[], object]
    name: str


class Threads:
    """So many threads, which are started when they are needed. A call that has begun ends, whoever goes away. One person has half of
    them: the calls of who asks what takes long wait for each other, and not others for them.

    is_near: their calls are short, and they stay on the core of the event loop."""

    def __init__(self, count: int, name: str, *, is_near: bool = False) -> None:
        self.count, self._is_near = count, is_near
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._under_way = 0  # counted by the event loop only, as what follows
        self._shares = Shares()
        self._held: defaultdict[str, deque[_Call]] = defaultdict(deque)  # of who has half of the threads already
        self._is_closed = False

    def run(self, call: Callable[[], T], name: str = "") -> "asyncio.Future[T]":
        """Have a call done in a thread, which knows what this task knows. name: of whose it is, '' where nobody knows. From the event loop
        only. Raises StoreDown after `close`."""
        if self._is_closed:
            raise StoreDown("the server is stopping", hint="come again in a moment")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        asked = _Call(loop, future, copy_context(), call, name)  # type: ignore[arg-type]  # a future of any value
        if self._shares.is_within_half(name, 1, self.count):
            self._begin(asked)
        else:
            self._held[name].append(asked)
        return future

    def _begin(self, asked: _Call) -> None:
        if self._under_way >= len(self._threads) and len(self._threads) < self.count:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            thread.start()  # before it is among those that `close` joins
            self._threads.append(thread)
        self._under_way += 1
        self._shares.take(asked.name, 1)
        self._calls.put(asked)

    def close(self) -> None:
        """Wait for what was asked, and take nothing more."""
        self._is_closed = True
        for held in self._held.values():
            for asked in held:
                self._calls.put(asked)
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        near() if self._is_near else elsewhere()
        while (asked := self._calls.get()) is not None:
            error: BaseException | None = None
            value: object = None
            if not asked.future.cancelled():
                try:
                    value = asked.context.run(asked.call)
                except BaseException as raised:  # noqa: BLE001  # whoever waits is told
                    error = raised
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
                asked.loop.call_soon_threadsafe(self._end, asked, value, error)
            del asked, error, value  # nothing of a call is kept until the next one

    def _end(self, asked: _Call, value: object, error: BaseException | None) -> None:
        self._under_way -= 1
        self._shares.give_back(asked.name, 1)
        if (held := self._held.get(asked.name)) is not None and not self._is_closed:
            self._begin(held.popleft())
            if not held:
                del self._held[asked.name]
        future = asked.future
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)
