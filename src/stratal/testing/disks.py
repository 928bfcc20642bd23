"""Small disks, to be filled: a tmpfs of a few megabytes. Only root may mount one."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_REMOUNT, _DETACH = 32, 2  # MS_REMOUNT, MNT_DETACH


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], int]]:
    """Mount a disk of `size` (as tmpfs says it: 1m) at a new folder, and give what makes it larger. Raises PermissionError."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, f"size={size}".encode()) != 0:
        raise PermissionError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    try:
        yield lambda more: int(libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", _REMOUNT, f"size={more}".encode()))
    finally:
        libc.umount2(str(folder).encode(), _DETACH)
