"""A small disk for tests: a tmpfs that can be filled, grown and made read-only. Only root may mount one."""

import ctypes
import os
from pathlib import Path
from types import TracebackType

import pytest

_READ_ONLY, _REMOUNT, _DETACH = 1, 32, 2


class SmallDisk:
    """A mounted tmpfs; the test is skipped where mounting is not allowed."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        self._size = size
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> "SmallDisk":
        self.folder.mkdir()
        if self._mount(0) != 0:
            pytest.skip(f"mounting a small tmpfs is not allowed here: {os.strerror(ctypes.get_errno())}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._libc.umount2(str(self.folder).encode(), _DETACH)

    def resize(self, size: str) -> None:
        self._size = size
        assert self._mount(_REMOUNT) == 0

    def make_read_only(self) -> None:
        """No file on it may be open for writing now."""
        assert self._mount(_REMOUNT | _READ_ONLY) == 0, os.strerror(ctypes.get_errno())

    def make_writable(self) -> None:
        assert self._mount(_REMOUNT) == 0

    def _mount(self, flags: int) -> int:
        return int(self._libc.mount(b"tmpfs", str(self.folder).encode(), b"tmpfs", flags, f"size={self._size}".encode()))
