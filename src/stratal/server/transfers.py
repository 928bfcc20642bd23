"""Transfers: large files that clients send straight to the object store, by signed URLs. A plain ASGI handler.

`POST /api/v1/transfers` begins one, `GET /api/v1/transfers/ID` says what is missing, `POST /api/v1/transfers/ID/finish` verifies it and
makes it readable. Answers hold URLs that are rights: they are never logged, and no cache may keep them.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import msgspec

from stratal.core.people import Identity
from stratal.core.records import Record
from stratal.server.asgi import Answer, Failed, Request, Send, json_answer, refusal
from stratal.server.guards import Guard
from stratal.server.linking import note_sent, working_for
from stratal.server.rooming import Rooming
from stratal.server.surfaces import Routes, Surface
from stratal.store.files.transferring import Transfer, begin_transfer, check_transfer, finish_transfer, read_transfer
from stratal.store.store import Store

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


class Transfers(Surface):
    """The handler over one store."""

    def __init__(self, store: Store, *, guard: Guard | None = None) -> None:
        super().__init__(store, guard, name="transfers", threads=_THREADS, most_requests=_MOST_REQUESTS)
        self._rooming = Rooming(store, self._guard)
        self.routes = Routes[Handler](
            PREFIX,
            ("POST", "", self._begin),
            ("GET", r"/([^/]+)", self._read),
            ("POST", r"/([^/]+)/finish", self._finish),
            hint="docs/objects.md lists what there is",
        )

    async def handle(self, request: Request, _send: Send) -> Answer:
        """Give the answer."""
        handler, match = self.routes.find(request)
        return await handler(request, await self.enter(request), match)

    def unreadable(self, _request: Request, error: Exception) -> Failed:
        """Say that a body does not begin a transfer."""
        return refusal(400, "body", f"the body cannot be read: {error}", 'send {"digest": ..., "size_bytes": ...}')

    async def _begin(self, request: Request, sender: Identity, _match: re.Match[str]) -> Answer:
        asked = msgspec.json.decode(await request.body(_BODY_BYTES, _BODY_S, _BODY_S), type=Begin)

        def begin() -> Transfer:
            check_transfer(self._store.blobs, asked.digest, asked.size_bytes)
            self._rooming.check(request, sender, asked.digest, asked.size_bytes)
            return begin_transfer(self._store.blobs, asked.digest, asked.size_bytes, sender=sender.name)

        return _told(201, await self._as_writer(request, sender, begin))

    async def _read(self, request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        return _told(200, await self._as_writer(request, sender, partial(read_transfer, self._store.blobs, match[1], sender=sender.name)))

    async def _finish(self, request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        def finish() -> str:
            digest = finish_transfer(self._store.blobs, match[1], sender=sender.name)
            note_sent(self._store, sender, digest)
            return digest

        digest = await self._as_writer(request, sender, finish)
        return json_answer(200, {"digest": digest}, headers=_UNCACHED)

    async def _as_writer(self, request: Request, sender: Identity, act: Callable[[], T]) -> T:
        """Act as the sender, in a thread, if they may write anything at all. No transaction is held while the object store answers."""

        def call() -> T:
            with self._store.database.read(sender) as tx:
                self._guard.may_write(tx, sender, set())
            return act()

        with working_for(self._guard, sender):
            return await self.in_thread(call, name=request.sender)


def _told(status: int, transfer: Transfer) -> Answer:
    return json_answer(status, transfer, headers=_UNCACHED)
