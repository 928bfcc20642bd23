"""Transfers: large files that clients send straight to the object store, by signed URLs. A plain ASGI handler.

`POST /api/v1/transfers` begins one, `GET /api/v1/transfers/ID` says what is missing, `POST /api/v1/transfers/ID/finish` verifies it and
makes it readable. Answers hold URLs that are rights: they are never logged, and no cache may keep them.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import msgspec

from stratal.core.errors import StratalError
from stratal.core.people import Identity, acting_as
from stratal.core.records import Record
from stratal.server.asgi import Answer, Failed, Gone, Receive, Request, Scope, Send, json_answer, live, refusal, send_answer
from stratal.server.failures import in_http
from stratal.server.guards import Guard, OpenGuard
from stratal.store.store import Store
from stratal.store.transferring import Transfer, begin_transfer, finish_transfer, read_transfer

log = logging.getLogger(__name__)

PREFIX = "/api/v1/transfers"
# Threads that wait for the object store: each holds a part in memory while it verifies. Requests under way at once.
_THREADS, _MOST_REQUESTS = 4, 64
_BODY_BYTES, _BODY_S = 1 << 16, 30.0
_UNCACHED = (("cache-control", "no-store"),)

T = TypeVar("T")
Handler = Callable[[Request, Identity, re.Match[str]], Awaitable[Answer]]


class Begin(Record, frozen=True, kw_only=True):
    """What is to be sent."""

    digest: str
    size_bytes: int


class Transfers:
    """The handler over one store."""

    def __init__(self, store: Store, *, guard: Guard | None = None) -> None:
        self._store = store
        self._guard = guard or OpenGuard()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="stratal-transfers")
        self._requests = 0
        self._routes: tuple[tuple[str, re.Pattern[str], Handler], ...] = (
            ("POST", re.compile(""), self._begin),
            ("GET", re.compile(r"/([^/]+)"), self._read),
            ("POST", re.compile(r"/([^/]+)/finish"), self._finish),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, as ASGI 3 says."""
        if scope["type"] == "lifespan":
            return await live(receive, send, self.close)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})
        request = Request(scope, receive)
        self._requests += 1
        try:
            answer = await self._answer(request)
        except Gone:
            return None
        finally:
            self._requests -= 1
        return await send_answer(answer, send, is_head=request.method == "HEAD")

    def close(self) -> None:
        """Wait for what is being verified, and take nothing more."""
        self._threads.shutdown(wait=True)

    async def _answer(self, request: Request) -> Answer:
        try:
            handler, match = self._route(request)
            if self._requests > _MOST_REQUESTS:
                raise refusal(429, "busy", "the server has as much to do as it takes at a time", "come again in a moment", retry_after_s=1)
            return await handler(request, await self._guard.identify(request.headers), match)
        except Failed as failed:
            return failed.answer
        except StratalError as error:
            return in_http(error).answer
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return refusal(400, "body", f"the body cannot be read: {error}", 'send {"digest": ..., "size_bytes": ...}').answer
        except Gone:
            raise
        except Exception:  # the edge of this handler
            log.exception("request failed path=%s", PREFIX)
            return refusal(500, "bug", "the server broke its own rule; its log says how", "please report it").answer

    def _route(self, request: Request) -> tuple[Handler, re.Match[str]]:
        path = request.path.removeprefix(PREFIX)
        found = [(method, handler, match) for method, place, handler in self._routes if (match := place.fullmatch(path))]
        if not found or not request.path.startswith(PREFIX):
            raise refusal(404, "not-found", f"there is nothing at {request.path[:100]}", "docs/objects.md lists what there is")
        for method, handler, match in found:
            if method == request.method:
                return handler, match
        raise refusal(405, "method", f"{request.method} is not possible at {request.path[:100]}")

    async def _begin(self, request: Request, sender: Identity, _match: re.Match[str]) -> Answer:
        asked = msgspec.json.decode(await request.body(_BODY_BYTES, _BODY_S, _BODY_S), type=Begin)
        begin = partial(begin_transfer, self._store.blobs, asked.digest, asked.size_bytes, sender=sender.name)
        return _told(201, await self._as_writer(sender, begin))

    async def _read(self, _request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        return _told(200, await self._as_writer(sender, partial(read_transfer, self._store.blobs, match[1], sender=sender.name)))

    async def _finish(self, _request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        digest = await self._as_writer(sender, partial(finish_transfer, self._store.blobs, match[1], sender=sender.name))
        return json_answer(200, {"digest": digest}, headers=_UNCACHED)

    async def _as_writer(self, sender: Identity, act: Callable[[], T]) -> T:
        """Act as the sender, in a thread, if they may write anything at all. No transaction is held while the object store answers."""

        def call() -> T:
            with acting_as(sender):
                with self._store.database.read(sender) as tx:
                    self._guard.may_write(tx, sender, set())
                return act()

        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _told(status: int, transfer: Transfer) -> Answer:
    return json_answer(status, transfer, headers=_UNCACHED)
