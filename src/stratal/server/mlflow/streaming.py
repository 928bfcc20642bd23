"""Streaming: files in and out, piece by piece, so that one of any size passes through a bounded memory."""

import contextlib
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar
from urllib.parse import quote

from stratal.core.errors import StoreDown
from stratal.interop.mlflow.service.files import Opened
from stratal.server.asgi import Send, range_asked, refusal

T = TypeVar("T")
_PIECE = 1 << 20
# Bytes of a range that are in memory at once: few requests of an object store, and little for many readers.
RANGE_PIECE = 4 << 20
# What a process that was killed left behind is dropped when it is so old.
_OLD_S = 86400.0
COMING = ".coming-"
# A name that every program reads as it is, also one that does not know of `filename*`.
_PLAIN = re.compile(r"[A-Za-z0-9._+\-]+")
# Nothing of a stranger's file may act as a page of this server.
_SAFE = ((b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"sandbox"), (b"content-type", b"application/octet-stream"))


class InThread(Protocol):
    """Runs a call in a thread that may touch the disk."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


async def take(folder: Path, pieces: AsyncIterator[bytes], keep: Callable[[bytes | Path], T], in_thread: InThread) -> T:
    """Give the pieces of a body to who keeps them, as bytes or as a file that is there until then. What breaks off leaves nothing."""
    with _aside(folder) as coming:
        async for piece in pieces:
            coming.held.append(piece)
            if coming.is_full():
                await in_thread(coming.flush)
        return await in_thread(lambda: keep(coming.whole()))


async def give_range(send: Send, opened: Opened, part: range, read: Callable[[int, int], bytes], in_thread: InThread) -> None:
    """Send some bytes of a file. read: gives so many bytes from a place on."""
    said = b"bytes %d-%d/%d" % (part.start, part.stop - 1, opened.size_bytes)
    headers = [*_SAFE, (b"content-range", said), (b"content-length", b"%d" % len(part)), (b"accept-ranges", b"bytes")]
    await send({"type": "http.response.start", "status": 206, "headers": headers})
    for at in range(part.start, part.stop, RANGE_PIECE):
        size = min(RANGE_PIECE, part.stop - at)
        piece = await in_thread(lambda at=at, size=size: read(at, size))  # type: ignore[misc]  # mypy sees no type of defaults
        if len(piece) != size:
            raise StoreDown("the file is shorter than it was", hint="ask for it again")
        await send({"type": "http.response.body", "body": piece, "more_body": at + size < part.stop})


def range_of(header: str, size: int) -> range | None:
    """Read which bytes of a file are asked for; None for all of it, or for several ranges. Raises Failed for those behind its end."""
    asked = range_asked(header.strip(), size)
    if asked is not None and not asked:
        raise refusal(416, "range", f"the file has {size} bytes, and none of those that are asked for: {header[:60]}")
    return asked


async def give(send: Send, open_file: Callable[[], BinaryIO], name: str, in_thread: InThread, *, is_head: bool) -> None:
    """Send a file of ours as one to be kept, not shown."""
    file = await in_thread(open_file)
    try:
        size = os.fstat(file.fileno()).st_size
        shown = f"attachment; {_named(name)}".encode("ascii")
        headers = [*_SAFE, (b"content-disposition", shown), (b"content-length", b"%d" % size), (b"accept-ranges", b"bytes")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        left = 0 if is_head else size
        while left > 0 and (piece := await in_thread(lambda: file.read(_PIECE))):
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
        if is_head or size == 0:
            await send({"type": "http.response.body", "body": b""})
    finally:
        file.close()


def _named(name: str) -> str:
    return f"filename={name}" if _PLAIN.fullmatch(name) else f"filename*=UTF-8''{quote(name, safe='')}"


def drop_old(folder: Path) -> None:
    """Delete what processes that were killed have left of files on their way in."""
    for left in folder.glob(f"{COMING}*"):
        with contextlib.suppress(FileNotFoundError):
            if left.stat().st_mtime < time.time() - _OLD_S:
                left.unlink()


def size_of(data: bytes | Path) -> int:
    """Give the bytes of what came."""
    return len(data) if isinstance(data, bytes) else data.stat().st_size


class _Coming:
    """A file on its way in: in memory while it is small, else in a file beside the store."""

    def __init__(self, folder: Path) -> None:
        self.held: list[bytes] = []
        self.path: Path | None = None
        self._folder = folder
        self._file: BinaryIO | None = None

    def is_full(self) -> bool:
        return sum(map(len, self.held)) >= _PIECE

    def flush(self) -> None:
        try:
            if self._file is None:
                fd, name = tempfile.mkstemp(prefix=COMING, dir=self._folder)
                self.path, self._file = Path(name), os.fdopen(fd, "wb")
            self._file.writelines(self.held)
            self._file.flush()
        except OSError as error:
            raise StoreDown(f"the file cannot be written: {error.strerror}", hint="make room on the server's disk") from error
        self.held.clear()

    def whole(self) -> bytes | Path:
        if self._file is None:
            return b"".join(self.held)
        self.flush()
        assert self.path is not None
        return self.path

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[_Coming]:
    coming = _Coming(folder)
    try:
        yield coming
    finally:
        coming.close()
