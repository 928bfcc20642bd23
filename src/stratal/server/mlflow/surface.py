"""The surface: the ASGI handler of all of MLflow's paths. The event loop only moves bytes; the store is touched in a few threads."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from stratal.core.errors import Bug, StratalError
from stratal.core.people import Identity, Role
from stratal.interop.mlflow.service.calls import Answer as ServiceAnswer
from stratal.interop.mlflow.service.calls import Opens, Service, perform
from stratal.interop.mlflow.service.calls import Request as Asked
from stratal.interop.mlflow.service.errors import BAD_REQUEST, BUSY, MlflowError, invalid, missing
from stratal.interop.mlflow.service.files import HoldRoom, ListArtifacts, Opened, SaveFile, at_path, hold_room, save
from stratal.interop.mlflow.service.info import VERSION
from stratal.server.asgi import Answer, Failed, Request, Send
from stratal.server.calls import MOST_READ_S
from stratal.server.guards import Guard, check_seen
from stratal.server.linking import note_sent, working_for
from stratal.server.mlflow.codec import read_body, read_query, write
from stratal.server.mlflow.failures import failed
from stratal.server.mlflow.parts import AbortUpload, CompleteUpload, CreateUpload, Multipart, signed
from stratal.server.mlflow.streaming import RANGE_PIECE, InThread, drop_old, give, give_range, range_of, size_of, take
from stratal.server.mlflow.table import Carries, Found, Unknown, find
from stratal.server.surfaces import Places, Surface
from stratal.server.threads import Threads
from stratal.store.database import Transaction
from stratal.store.deadlines import reading_within
from stratal.store.files.asides import MOST_PART_BYTES
from stratal.store.quotas.holding import holding_quotas
from stratal.store.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

# Where it is mounted.
PREFIXES = (
    "/api/2.0/mlflow", "/ajax-api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/3.0/mlflow", "/api/2.0/mlflow-artifacts",
    "/api/4.0/mlflow", "/ajax-api/4.0/mlflow", "/ajax-api/2.0/mlflow-artifacts", "/get-artifact", "/model-versions/get-artifact",
    "/version", "/graphql", "/v1/traces", "/v1/metrics",
)  # fmt: skip
JSON = (("content-type", "application/json"),)
_OF_FILES = frozenset((Carries.DOWNLOAD, Carries.UPLOAD, Carries.POSTED, Carries.PART))
_IN_PARTS = frozenset((Carries.CREATE, Carries.COMPLETE, Carries.ABORT, Carries.SIGNED))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one handler takes at a time."""

    # Bytes of one body. MLflow's largest is a dataset's profile of 16 MiB, and its schema of 1 MiB.
    body_bytes: int = 32 << 20
    # Bytes of one file.
    file_bytes: int = 1 << 40
    # Bytes of one part of a file; a part passes through memory where blobs lie in an object store.
    part_bytes: int = MOST_PART_BYTES
    # Bytes of bodies that may be in memory.
    waiting_bytes: int = 256 << 20
    # Requests that may be under way at once; each holds a connection.
    requests: int = 512
    # Of these, requests that carry a file: while the place of files is away, points must still be taken.
    files: int = 256
    # Threads that may wait for the store, one of which writes; and for the place of files.
    threads: int = 8
    # Threads for points and batches. Few: they and the event loop take the interpreter from each other.
    logging_threads: int = 4
    file_threads: int = 8
    # Seconds until the next piece of a body, and until all of it.
    piece_s: float = 30.0
    body_s: float = 120.0


class GuardedRights:
    """What a sender may do, as the server's guard says."""

    def __init__(self, guard: Guard, sender: Identity) -> None:
        self._guard, self._sender = guard, sender

    def check(self, tx: Transaction, needs: Role, on: str) -> None:
        """Raise Forbidden unless the sender holds the role; Unseen if they may not even view it."""
        check_seen(self._guard, tx, self._sender, needs, on)

    def visible(self, tx: Transaction, kind: str) -> frozenset[str] | None:
        """Give the names that the sender may view; None: all."""
        return self._guard.visible(tx, self._sender, kind)

    def created(self, tx: Transaction, on: str) -> None:
        """Let the sender be admin of what they have made, by the guard's rule."""
        self._guard.created(tx, self._sender, on)


class Mlflow(Surface):
    """The handler over one store."""

    def __init__(self, store: Store, *, guard: Guard | None = None, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        super().__init__(store, guard, name="mlflow", threads=self._limits.threads, most_requests=self._limits.requests)
        self._service = Service(store, is_relay=True)
        self._logging_threads = self.pool("mlflow-log", self._limits.logging_threads, is_near=True)
        self._file_threads = self.pool("mlflow-files", self._limits.file_threads)
        self._places = Places(self._limits.files, lambda: MlflowError(BUSY, "as many files come and go as do at a time"))
        self._multipart = Multipart(store, self._save)
        drop_old(store.folder)

    async def handle(self, request: Request, send: Send) -> Answer | None:
        """Give the answer, None if it was sent as a file."""
        sender = await self.enter(request)
        if request.path == "/version":
            return Answer(status=200, body=VERSION.encode(), headers=(("content-type", "text/plain"),))
        found = find("GET" if request.method == "HEAD" else request.method, _behind_prefix(request.path))
        with working_for(self._guard, sender), holding_quotas():
            if found.route.carries in _OF_FILES:
                return await self._carry(request, found, sender, send)
            return await self._call(request, found, sender)

    def failed(self, request: Request, error: Exception) -> Answer:
        """Give what was wrong as MLflow's clients read it."""
        match error:
            case Unknown(verbs=()):
                return failed(missing(f"There is nothing at {request.path[:200]}"))
            case Unknown(verbs=verbs):
                return failed(MlflowError(BAD_REQUEST, f"{request.method} is not possible here: use {', '.join(verbs)}"), status=405)
            case Failed():  # a body that is too large, or too slow
                return failed(MlflowError(BAD_REQUEST, str(error)), status=error.answer.status)
            case Bug():
                log.error("a rule of ours was broken path=%s error=%s", request.path, error)
                return failed(error)
            case StratalError():
                return failed(error)
            case OverflowError():  # JSON's numbers have no end; those of the store have 64 bits
                return failed(invalid(f"a number is too large for the store: {error}"))
        log.error("request failed path=%s", request.path, exc_info=error)
        return failed(Bug("the server broke its own rule; its log says how", hint="please report it"))

    def busy(self) -> Exception:
        """Say that whoever asks should come again."""
        return MlflowError(BUSY, "the server has as much to do as it takes at a time")

    async def _call(self, request: Request, found: Found, sender: Identity) -> Answer:
        with self.holding(self._announced(request), self._limits.waiting_bytes, request):
            body = await request.body(self._limits.body_bytes, self._limits.piece_s, self._limits.body_s)
            pool = self._threads_for(found)
            name = "" if pool is self._logging_threads else request.sender  # what is logged takes no time
            said = await self.in_thread(lambda: self._json(request, found, sender, body), pool, name)
            return Answer(status=200, body=said, headers=JSON)

    def _announced(self, request: Request) -> int:
        """Give how many bytes a body has; one that does not say so may have as many as are taken."""
        if "content-length" in request.headers:
            return request.number("content-length", self._limits.body_bytes)
        return self._limits.body_bytes if "transfer-encoding" in request.headers else 0

    def _threads_for(self, found: Found) -> Threads | None:
        if found.route.carries in _IN_PARTS:
            return self._file_threads
        return self._logging_threads if found.route.function.opens is Opens.LOG else None

    def _json(self, request: Request, found: Found, sender: Identity, body: bytes) -> bytes:
        route = found.route
        if route.carries in _IN_PARTS:
            return write(self._in_parts(request, found, sender, body))
        if route.carries is Carries.NOTHING or request.method in ("GET", "HEAD"):
            asked = read_query(request.query, route.request)
        else:
            asked = read_body(body, request.headers.get("content-type", ""), route.request)
        return write(self._perform(found, asked, sender))

    async def _carry(self, request: Request, found: Found, sender: Identity, send: Send) -> Answer | None:
        with self._places.take(request.sender):
            if found.route.carries is Carries.UPLOAD:
                return await self._take(request, found, sender)
            if found.route.carries is Carries.POSTED:  # of its query only run and path count: to name a digest is not to have its bytes
                named = read_query(request.query, ListArtifacts)
                return await self._take(request, found._replace(fields={"run_id": named.run, "path": named.path or ""}), sender)
            if found.route.carries is Carries.PART:
                return await self._take_part(request, found, sender)
            await self._give(request, found, sender, send)
            return None

    async def _give(self, request: Request, found: Found, sender: Identity, send: Send) -> None:
        opened = await self.in_thread(lambda: self._open(request, found, sender))
        blobs, asked = self._store.blobs, range_of(request.headers.get("range", ""), opened.size_bytes)
        if asked is not None and request.method != "HEAD":
            with self.holding(RANGE_PIECE, self._limits.waiting_bytes, request):
                await give_range(send, opened, asked, partial(blobs.read_range, opened.digest), self._with_files(request))
            return
        # Opened, not by its path, which would keep a file of an object store in the cache for as long as this process lives.
        open_file = partial(blobs.open, opened.digest)
        await give(send, open_file, opened.name, self._with_files(request), is_head=request.method == "HEAD")

    async def _take(self, request: Request, found: Found, sender: Identity) -> Answer:
        said = request.number("content-length", self._limits.file_bytes) if "content-length" in request.headers else 0
        asked = msgspec.convert({"size_bytes": said}, found.route.request)
        await self.in_thread(lambda: self._perform(found, asked, sender))  # before its bytes are taken
        pieces = request.pieces(self._limits.file_bytes, self._limits.piece_s, math.inf)
        digest, size = await take(self._store.folder, pieces, self._keep, self._with_files(request))
        await self.in_thread(partial(note_sent, self._store, sender, digest))
        kept = msgspec.convert({"digest": digest, "size_bytes": size}, found.route.request)
        await self.in_thread(lambda: self._perform(found, kept, sender))
        return Answer(status=200, body=b"{}", headers=JSON)

    async def _take_part(self, request: Request, found: Found, sender: Identity) -> Answer:
        id = found.fields["upload_id"]
        in_thread = self._with_files(request)
        number = await in_thread(lambda: self._multipart.find(id, found.fields["part"], sender))
        pieces = request.pieces(self._limits.part_bytes, self._limits.piece_s, math.inf)
        etag = await take(self._store.folder, pieces, lambda data: self._multipart.keep(id, number, data, sender), in_thread)
        return Answer(status=200, headers=(("etag", f'"{etag}"'),))

    def _keep(self, data: bytes | Path) -> tuple[str, int]:
        blobs, size = self._store.blobs, size_of(data)
        return blobs.put(data) if isinstance(data, bytes) else blobs.put_file(data), size

    def _in_parts(self, request: Request, found: Found, sender: Identity, body: bytes) -> ServiceAnswer:
        if found.route.carries is Carries.SIGNED:
            return signed(request, self._open(request, found, sender), found.fields["path"])
        self._perform(found, SaveFile(), sender)  # rights, before anything is read of what was sent
        path, kind = found.fields["path"], request.headers.get("content-type", "")
        match found.route.carries:
            case Carries.CREATE:
                return self._multipart.create(request, path, read_body(body, kind, CreateUpload), sender)
            case Carries.COMPLETE:
                return self._multipart.complete(path, read_body(body, kind, CompleteUpload), sender)
            case _:
                return self._multipart.abort(path, read_body(body, kind, AbortUpload), sender)

    def _open(self, request: Request, found: Found, sender: Identity) -> Opened:
        opened = self._perform(found, read_query(request.query, found.route.request), sender)
        assert isinstance(opened, Opened)
        return opened

    def _save(self, asked: SaveFile, sender: Identity) -> ServiceAnswer:
        rights = GuardedRights(self._guard, sender)
        if isinstance(asked, HoldRoom):
            return perform(self._service, hold_room, asked, rights=rights, needs=Role.CONTRIBUTOR, on=at_path)
        return perform(self._service, save, asked, rights=rights, needs=Role.CONTRIBUTOR, on=at_path)

    def _perform(self, found: Found, asked: Asked, sender: Identity) -> ServiceAnswer:
        route = found.route
        if any("\0" in value for value in found.fields.values()):
            raise invalid("the path holds the character NUL, which cannot be stored")
        if found.fields:
            asked = msgspec.structs.replace(asked, **found.fields)
        rights = GuardedRights(self._guard, sender)
        with reading_within(MOST_READ_S if route.function.opens is Opens.READ else None):
            return perform(self._service, route.function, asked, rights=rights, needs=route.needs, on=route.on)

    def _with_files(self, request: Request) -> InThread:
        """Give what runs calls in the threads of files, of which one person has half."""

        async def run(call: Callable[[], T]) -> T:
            return await self.in_thread(call, self._file_threads, request.sender)

        return run


def _behind_prefix(path: str) -> str:
    for prefix in ("/api/", "/ajax-api/"):
        if path.startswith(prefix):
            return path.removeprefix(prefix)
    return path
