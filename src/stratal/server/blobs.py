"""Blobs by digest, to read. Naming a digest grants nothing: who asks must be allowed to view something that holds it.

What is not there and what may not be seen is the same answer. Bytes go out as an attachment that no browser runs.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import BinaryIO, NamedTuple

from stratal.core.errors import Misuse, NotFound
from stratal.core.people import Identity
from stratal.server.asgi import Answer, Failed, Request, Send, range_asked, refusal
from stratal.server.guards import Guard
from stratal.server.surfaces import Routes, Surface
from stratal.store.database import Transaction
from stratal.store.files.blobs import Digest, is_digest
from stratal.store.names import find_run
from stratal.store.store import Store
from stratal.store.uses import holders_of
from stratal.store.wire import BLOBS

log = logging.getLogger(__name__)

Handler = Callable[[Request, Identity, str, Send], Awaitable[None]]

_PIECE = 1 << 20
# Reads that go out at once, each with a connection and a file; and threads that read a piece at a time.
MOST_READS, THREADS = 64, 4
_HEADERS = (
    ("content-type", "application/octet-stream"),
    ("content-disposition", "attachment"),
    ("content-security-policy", "sandbox; default-src 'none'"),
    ("x-content-type-options", "nosniff"),
    ("accept-ranges", "bytes"),
    ("cache-control", "private, no-cache"),  # the bytes never change, but who may read them does
)


class BlobReads(Surface):
    """The handler over one store."""

    def __init__(self, store: Store, *, guard: Guard | None = None) -> None:
        super().__init__(store, guard, name="blobs", threads=THREADS, most_requests=MOST_READS)
        self.routes = Routes[Handler](
            BLOBS, ("GET", r"/([^/]+)", self._serve), ("HEAD", r"/([^/]+)", self._serve), hint="blobs are sent to /ingest/v1/blobs"
        )

    async def handle(self, request: Request, send: Send) -> None:
        """Send a blob."""
        handler, match = self.routes.find(request)
        await handler(request, await self.enter(request), match[1], send)

    async def _serve(self, request: Request, sender: Identity, digest: str, send: Send) -> None:
        file, size = await self.in_thread(partial(self._open, digest, sender), name=request.sender)
        with file:
            start, stop = _range_of(request.headers.get("range", ""), size)
            headers = [*_HEADERS, ("etag", f'"{digest}"'), ("content-length", str(stop - start))]
            if is_part := bool(request.headers.get("range")):
                headers.append(("content-range", f"bytes {start}-{stop - 1}/{size}"))
            head = [(name.encode(), value.encode()) for name, value in headers]
            await send({"type": "http.response.start", "status": 206 if is_part else 200, "headers": head})
            file.seek(start)
            while start < stop and request.method == "GET":
                piece = await self.in_thread(partial(file.read, min(_PIECE, stop - start)), name=request.sender)
                if not piece:
                    log.error("blob ended early digest=%s at=%d", digest, start)
                    return  # uvicorn hangs up: fewer bytes went out than were announced
                start += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    def _open(self, digest: str, sender: Identity) -> tuple[BinaryIO, int]:
        """Open a blob that the sender may read. Raises NotFound, whether it is not there or may not be seen."""
        if not is_digest(digest):
            raise Misuse(f"{digest[:80]!r} is not a digest", hint="a digest is 64 hex digits of sha256")
        with self._store.database.read(sender) as tx:
            if not may_read(tx, self._guard, sender, Digest(digest)):
                unseen = "it was never sent here or was collected, or nothing that you may view holds it"
                raise NotFound(f"blob {digest[:12]}… is not in this store", hint=unseen)
        try:  # not `path`, which would keep a file of an object store in the cache for as long as this process lives
            return self._store.blobs.open(digest), self._store.blobs.size_bytes(digest)
        except OSError as error:
            raise NotFound(f"blob {digest[:12]}… cannot be read", hint="it was collected a moment ago") from error


class Sight(NamedTuple):
    """The experiments and models that somebody may view; None: all."""

    experiments: frozenset[str] | None
    models: frozenset[str] | None

    def reaches(self, tx: Transaction, digest: Digest) -> bool:
        """Tell whether anything that may be viewed holds a blob: a run, or a version of a model. The rest, and what nothing holds yet, is
        for who sees all. What a capture holds is, too: who may view its run need not have had the files that it names."""
        if self.experiments is None and self.models is None:
            return True
        for holder in holders_of(tx, digest):
            kind, _, name = holder.partition(":")
            if kind == "run":
                run = find_run(tx, bytes.fromhex(name))
                if run is not None and (self.experiments is None or run.experiment in self.experiments):
                    return True
            elif kind == "model" and (self.models is None or name.rpartition("@")[0] in self.models):
                return True
        return False


def sight_of(tx: Transaction, guard: Guard, sender: Identity) -> Sight:
    """Say what somebody may view now."""
    return Sight(guard.visible(tx, sender, "experiment"), guard.visible(tx, sender, "model"))


def may_read(tx: Transaction, guard: Guard, sender: Identity, digest: Digest) -> bool:
    """Tell whether somebody may read a blob."""
    return sight_of(tx, guard, sender).reaches(tx, digest)


def _range_of(text: str, size: int) -> tuple[int, int]:
    """Read one range of bytes. Raises Failed (416) for what lies outside, or for several."""
    if not text:
        return 0, size
    asked = range_asked(text, size)
    if not asked:
        raise _outside(text, size)
    return asked.start, asked.stop


def _outside(text: str, size: int) -> Failed:
    failed = refusal(416, "range", f"{text[:60]!r} is no range of {size} bytes", "ask for one, as bytes=0-99")
    answer = failed.answer
    failed.answer = Answer(status=416, body=answer.body, headers=(*answer.headers, ("content-range", f"bytes */{size}")))
    return failed
