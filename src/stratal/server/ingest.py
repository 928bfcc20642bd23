"""Ingest: the ASGI handler that takes shipments and blobs. A plain callable, so that any server can mount it.

The event loop only moves bytes; the store is touched in a few threads. What waits for the store is bounded: above that a
sender is told to come again, before its body is read. Nothing is acknowledged before it is durable in the store.
"""

import math
import re
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote

import msgspec
import zstandard

from stratal.core.errors import Misuse
from stratal.core.people import Identity, Role
from stratal.server.asgi import Answer, Request, Send, json_answer, refusal
from stratal.server.guards import Guard
from stratal.server.linking import is_theirs, note_sent, working_for
from stratal.server.rooming import Rooming
from stratal.server.surfaces import Places, Routes, Surface
from stratal.store.arriving import Arrivals
from stratal.store.database import Transaction
from stratal.store.quotas.holding import check_placed
from stratal.store.quotas.rules import OverQuota
from stratal.store.shipments import (
    DAMAGE,
    DIGEST,
    MOST_BEATS,
    MOST_BLOB_BYTES,
    MOST_SHIPMENT_BYTES,
    NO_ROOM,
    OFFSET,
    PREFIX,
    SIZE,
    USER,
    Accepted,
    Beat,
    Seal,
    check_segment,
    check_writer,
    digest_of_shipment,
    read_ranges,
)
from stratal.store.store import Store

# What a body may make a decompressor allocate: the window of zstd's level 19 and below.
_WINDOW = 8 << 20

T = TypeVar("T")
Handler = Callable[[Request, Identity, re.Match[str]], Awaitable[Answer]]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one handler takes at a time."""

    # Bytes of shipments, before compression, that may wait for the store. A second or two of what SQLite applies.
    waiting_bytes: int = 128 << 20
    # Requests that may be under way at once; each holds a connection.
    requests: int = 64
    # Of these, requests about blobs: while their place is away, points must still be taken.
    blobs: int = 32
    # Threads that may wait for the store; one of them writes.
    threads: int = 4
    # Threads that may wait for the place of blobs.
    blob_threads: int = 8
    # Seconds until the next piece of a body, and until all of a shipment. Slower senders hold up others.
    piece_s: float = 30.0
    shipment_s: float = 120.0


class Ingest(Surface):
    """The handler over one store."""

    def __init__(self, store: Store, *, guard: Guard | None = None, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        super().__init__(store, guard, name="ingest", threads=self._limits.threads, most_requests=self._limits.requests)
        self._arrivals = Arrivals(store.settler, self._guard.may_write, self._guard.created, check_placed, self._may_put)
        self._rooming = Rooming(store, self._guard)
        # Apart: an object store that is away must not hold up points.
        self._blob_threads = self.pool("ingest-blobs", self._limits.blob_threads)
        self._places = Places(self._limits.blobs, self.busy)
        self.routes = Routes[Handler](
            PREFIX,
            ("GET", r"/writers/([^/]+)", self._writer),
            ("POST", r"/beat", self._beat),
            ("GET", r"/segments/([^/]+)", self._segment),
            ("PUT", r"/segments/([^/]+)", self._accept),
            ("POST", r"/segments/([^/]+)/seal", self._seal),
            ("HEAD", r"/blobs/([^/]+)", self._about_blobs),
            ("PUT", r"/blobs/([^/]+)", self._about_blobs),
            hint="docs/protocol.md lists what there is",
        )

    async def handle(self, request: Request, _send: Send) -> Answer:
        """Give the answer."""
        handler, match = self.routes.find(request)
        return await handler(request, await self.enter(request), match)

    async def _writer(self, _request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        writer = check_writer(match[1])
        return json_answer(200, await self._read(lambda tx: self._arrivals.writer(tx, writer, sender), sender))

    async def _segment(self, request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        name = check_segment(match[1])
        since = re.fullmatch(r"(?:since=([0-9]{1,18}))?", request.query)
        if since is None:
            raise refusal(400, "query", f"the query is not since=NUMBER: {request.query[:40]!r}")
        return json_answer(200, await self._read(lambda tx: self._arrivals.parts(tx, name, int(since[1] or 0), sender), sender))

    async def _accept(self, request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        name, offset = check_segment(match[1]), request.number(OFFSET, 2**62)
        size, ranges = request.number(SIZE, MOST_SHIPMENT_BYTES), request.headers.get(DAMAGE, "")
        damage = read_ranges(ranges)
        if request.headers.get("content-encoding") != "zstd":
            raise refusal(415, "encoding", "a shipment is compressed by zstd", "set content-encoding: zstd")
        with self.holding(size, self._limits.waiting_bytes, request):
            body = await request.body(size + (size >> 7) + 1024, self._limits.piece_s, self._limits.shipment_s)

            def apply() -> int:
                data = _unpack(body, size)
                if digest_of_shipment(name, offset, ranges, request.headers.get(USER, ""), data) != request.headers.get(DIGEST):
                    raise refusal(400, "digest", "the shipment is not what its digest says", "it was spoilt on the way: send it again")
                with working_for(self._guard, sender):
                    return self._arrivals.accept(name, offset, data, damage, sender)

            return json_answer(200, Accepted(offset=await self.in_thread(apply)))

    async def _seal(self, request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        name = check_segment(match[1])
        seal = msgspec.json.decode(await self._small_body(request), type=Seal)
        if not (0 <= seal.offset < 2**62 and 0 <= seal.torn < 2**62):
            raise Misuse("a seal has an offset and a number of torn bytes")
        return json_answer(200, Accepted(offset=await self.in_thread(lambda: self._arrivals.seal(name, seal, sender))))

    async def _beat(self, request: Request, sender: Identity, _match: re.Match[str]) -> Answer:
        beat = msgspec.json.decode(await self._small_body(request), type=Beat)
        if len(beat.writers) > MOST_BEATS:
            raise Misuse(f"a beat names at most {MOST_BEATS} writers")
        writers = [check_writer(writer) for writer in beat.writers]
        await self.in_thread(lambda: self._arrivals.beat(writers, sender))
        return Answer(status=204)

    async def _about_blobs(self, request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        with self._places.take(request.sender):
            return await (self._has_blob if request.method == "HEAD" else self._blob)(request, sender, match)

    async def _has_blob(self, request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        await self._read(lambda tx: self._guard.may_write(tx, sender, set()), sender)
        blobs, digest = self._store.blobs, match[1]
        size = request.number(SIZE, MOST_BLOB_BYTES) if SIZE in request.headers else 0

        def look() -> Answer:
            if self._is_there_for(sender, digest):
                return Answer(status=200, headers=((SIZE, str(blobs.size_bytes(digest))),))
            return Answer(status=404, headers=((OFFSET, str(blobs.received_bytes(digest, owner=_owner(sender)))),))

        answer = await self._with_blobs(request, look)
        try:  # what is here takes no more room
            note = self._rooming.arrived if answer.status == 200 else self._rooming.check
            await self.in_thread(partial(note, request, sender, digest, size))
        except OverQuota as error:
            return msgspec.structs.replace(answer, headers=(*answer.headers, (NO_ROOM, quote(f"{error.message}; {error.hint}"))))
        return answer

    async def _blob(self, request: Request, sender: Identity, match: re.Match[str]) -> Answer:
        await self._read(lambda tx: self._guard.may_write(tx, sender, set()), sender)
        size = request.number(SIZE, MOST_BLOB_BYTES)
        offset, digest = request.number(OFFSET, size), match[1]
        owner = _owner(sender)
        if owner != "" and await self._with_blobs(request, partial(self._is_there_for, sender, digest)):
            await self.in_thread(partial(self._rooming.arrived, request, sender, digest, size))
            return json_answer(200, Accepted(offset=size))
        coming = self._store.blobs.receive(digest, size, offset, owner=owner)
        stack = ExitStack()
        receiving = await self._with_blobs(request, partial(stack.enter_context, coming))  # it may wait for a collection of garbage
        try:
            if receiving.is_there:
                await self.in_thread(partial(self._rooming.arrived, request, sender, digest, size))
                return json_answer(200, Accepted(offset=size))
            await self.in_thread(partial(self._rooming.check, request, sender, digest, size))
            async for piece in request.pieces(size - receiving.offset, self._limits.piece_s, math.inf):
                await self._with_blobs(request, partial(receiving.write, piece))
            if receiving.offset == size:
                await self._with_blobs(request, receiving.publish)
                await self._with_blobs(request, partial(note_sent, self._store, sender, digest))
            return json_answer(200, Accepted(offset=receiving.offset))
        finally:
            await self._with_blobs(request, stack.close)  # keeps what came of it, which may be a request to an object store

    def _may_put(self, tx: Transaction, sender: Identity, on: str) -> None:
        self._guard.check(tx, sender, Role.CONTRIBUTOR, on)

    def _is_there_for(self, sender: Identity, digest: str) -> bool:
        """Tell whether a blob is here that the sender may read or has sent; it is young then until facts that name it have come, too."""
        return self._store.blobs.renew(digest) and is_theirs(self._store, self._guard, sender, digest)

    async def _small_body(self, request: Request) -> bytes:
        return await request.body(1 << 20, self._limits.piece_s, self._limits.shipment_s)

    async def _read(self, ask: Callable[[Transaction], T], sender: Identity) -> T:
        def read() -> T:
            with self._store.database.read(sender) as tx:
                return ask(tx)

        return await self.in_thread(read)

    async def _with_blobs(self, request: Request, call: Callable[[], T]) -> T:
        return await self.in_thread(call, self._blob_threads, request.sender)


def _owner(sender: Identity) -> str:
    """Say whose a part of a blob is: what somebody else has begun to send is nothing that a checked sender has sent."""
    return sender.name if sender.is_authenticated else ""


def _unpack(body: bytes, size: int) -> bytes:
    """Decompress exactly `size` bytes, whatever the body claims. Raises Failed if it holds more or less."""
    try:
        with zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(body) as reader:
            data = reader.read(size) if size else b""
            is_longer = bool(reader.read(1))
    except zstandard.ZstdError as error:
        raise refusal(400, "body", f"the body is not zstd: {error}", "it was spoilt on the way: send it again") from None
    if is_longer or len(data) != size:
        raise refusal(400, "body", f"the body does not hold the {size} bytes that it announces", "it was spoilt on the way: send it again")
    return data
