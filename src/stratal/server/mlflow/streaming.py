"""Streaming: files in and out, piece by piece, so that one of any size passes through a bounded memory."""

import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar
from urllib.parse import quote

from stratal.core.errors import StoreDown
from stratal.server.asgi import Send
from stratal.store.store import Store

T = TypeVar("T")
_PIECE = 1 << 20
# What a process that was killed left behind is dropped when it is so old.
_OLD_S = 86400.0
_PREFIX = ".coming-"
# Nothing of a stranger's file may act as a page of this server.
_SAFE = ((b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"sandbox"), (b"content-type", b"application/octet-stream"))


class InThread(Protocol):
    """Runs a call in a thread that may touch the disk."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


async def take(store: Store, pieces: AsyncIterator[bytes], in_thread: InThread) -> tuple[str, int]:
    """Store the pieces of a body as a blob, and give its digest and size. What breaks off leaves nothing."""
    with _aside(store.folder) as coming:
        size = 0
        async for piece in pieces:
            size += len(piece)
            coming.held.append(piece)
            if coming.is_full():
                await in_thread(coming.flush)
        return await in_thread(lambda: coming.put(store)), size


async def give(send: Send, path: Path, name: str, in_thread: InThread, *, is_head: bool) -> None:
    """Send a file of ours as one to be kept, not shown."""
    file = await in_thread(lambda: path.open("rb"))
    try:
        size = os.fstat(file.fileno()).st_size
        shown = f"attachment; filename*=UTF-8''{quote(name, safe='')}".encode("ascii")
        headers = [*_SAFE, (b"content-disposition", shown), (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        left = 0 if is_head else size
        while left > 0 and (piece := await in_thread(lambda: file.read(_PIECE))):
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
        if is_head or size == 0:
            await send({"type": "http.response.body", "body": b""})
    finally:
        file.close()


def drop_old(folder: Path) -> None:
    """Delete what processes that were killed have left of files on their way in."""
    for left in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if left.stat().st_mtime < time.time() - _OLD_S:
                left.unlink()


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
                fd, name = tempfile.mkstemp(prefix=_PREFIX, dir=self._folder)
                self.path, self._file = Path(name), os.fdopen(fd, "wb")
            self._file.writelines(self.held)
            self._file.flush()
        except OSError as error:
            raise StoreDown(f"the file cannot be written: {error.strerror}", hint="make room on the server's disk") from error
        self.held.clear()

    def put(self, store: Store) -> str:
        if self._file is None:
            return store.blobs.put(b"".join(self.held))
        self.flush()
        assert self.path is not None
        return store.blobs.put_file(self.path)

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
