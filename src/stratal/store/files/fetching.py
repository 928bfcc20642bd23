"""Fetching: the blobs of a store behind a URL. What is saved lies here until it was shipped; what is read comes when it is asked for.

Law (tested): what is read is what its digest says, or an error; a download that was broken off goes on, and is never half a blob.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from stratal.core.errors import Damaged
from stratal.store.files.blobs import Digest, digest_of_file
from stratal.store.files.disk import DiskBlobs


class Source(Protocol):
    """Where blobs come from."""

    def fetch(self, digest: str, aside: Path) -> None:
        """Write a blob's bytes to a file. Raises NotFound, StoreDown."""
        ...

    def size_of(self, digest: str) -> int | None:
        """Give a blob's size, None if it is not there, or may not be seen. Raises StoreDown."""
        ...


class RemoteBlobs(DiskBlobs):
    """The blobs of a spool, and behind them those of its server. source: is asked for only when it is needed."""

    def __init__(self, folder: Path, source: Callable[[], Source], *, power: bool = False) -> None:
        super().__init__(folder, power=power)
        self._source = source

    def path(self, digest: str) -> Path:
        """Give the (read-only) file of a blob, fetched if it is not here. Raises NotFound, StoreDown, Damaged."""
        place = self._place(digest)
        if not place.is_file():
            self._fetch(digest)
        return super().path(digest)

    def has(self, digest: str) -> bool:
        """Tell whether the blob is here or there."""
        return super().has(digest) or self._source().size_of(digest) is not None

    def size_bytes(self, digest: str) -> int:
        """Give the size, without fetching it. Raises NotFound."""
        if not self._place(digest).is_file() and (size := self._source().size_of(digest)) is not None:
            return size
        return super().size_bytes(digest)

    def _fetch(self, digest: str) -> None:
        aside = self._incoming()
        try:
            self._source().fetch(digest, aside)
            if digest_of_file(aside) != digest:
                raise Damaged(f"blob {digest[:12]}… did not arrive as it was stored", hint="ask again; else restore it on the server")
            self.adopt(aside, Digest(digest))
        finally:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
