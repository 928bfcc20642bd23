"""What a run printed: files beside the store's journals while it goes on, appended line by line, and an artifact when it ends.

A line is in its file before the call that printed it returns, and so survives kill -9. The first bytes and the last ones are kept.
"""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from stratal.core.errors import StoreDown
from stratal.core.ids import RunId
from stratal.tracking.active import OpenRun
from stratal.tracking.facts import ARTIFACT, ArtifactFact

# What is kept of a program that prints without end: its beginning, and two files of its end. Guesses: a reader scrolls no further.
HEAD_BYTES, TAIL_BYTES = 4 << 20, 2 << 20
# The folders of a store that hold what runs print, and what they say to `logging`, while they go on.
OUTPUT, LOGGING = "output", "logging"
_ARTIFACT = re.compile(r"output(?:-(\d+))?\.log")


def artifact_name(epoch: int) -> str:
    """Name the artifact: who goes on with a run adds one of his own."""
    return f"output-{epoch}.log" if epoch else "output.log"


def in_order(paths: Sequence[str]) -> dict[int, str]:
    """Pick the outputs among a run's artifacts: epoch to path."""
    found = [(int(match[1] or 0), path) for path in paths if (match := _ARTIFACT.fullmatch(path))]
    return dict(sorted(found))


class OutputFile:
    """The output of one epoch of a run, while it goes on. Not for several threads at once."""

    def __init__(self, folder: Path, run: RunId, epoch: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._base = folder / f"{run}-{epoch}"
        self._number = 0
        self._fd = self._open()
        self._size = os.fstat(self._fd).st_size

    def append(self, data: bytes) -> None:
        """Add bytes, whole lines. Raises OSError if they cannot be written."""
        if self._size >= (TAIL_BYTES if self._number else HEAD_BYTES):
            os.close(self._fd)
            self._number += 1
            self._fd, self._size = self._open(), 0
            if self._number > 2:
                self._part(self._number - 2).unlink(missing_ok=True)
        os.write(self._fd, data)
        self._size += len(data)

    def close(self) -> bytes:
        """Give all that was kept. The files stay."""
        os.close(self._fd)
        return read_files(self._base.parent, self._base.name) or b""

    def keep(self, run: OpenRun, name: str) -> None:
        """Make it an artifact of its run. The files go only when that is written; else they are all there is of it."""
        data = self.close()
        try:
            digest = run.store.blobs.put(data)
        except StoreDown as error:
            run.lose("artifact", error)
            return
        if run.say(ARTIFACT, ArtifactFact(path=name, digest=digest, size_bytes=len(data))):
            self.remove()

    def remove(self) -> None:
        """Remove the files."""
        for path in _parts(self._base.parent, self._base.name):
            path.unlink(missing_ok=True)

    def _open(self) -> int:
        return os.open(self._part(self._number), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def _part(self, number: int) -> Path:
        return self._base.with_name(f"{self._base.name}.{number:06d}.log")


def read_files(folder: Path, name: str) -> bytes | None:
    """Give what files hold of an output, None if there are none. name: RUN-EPOCH."""
    parts = _parts(folder, name)
    texts = []
    for before, path in zip([None, *parts], parts, strict=False):
        if before is not None and _number(path) != _number(before) + 1:
            left_out = (_number(path) - _number(before) - 1) * TAIL_BYTES
            texts.append(f"[... about {left_out >> 20} MiB left out ...]\n".encode())
        with contextlib.suppress(FileNotFoundError):  # the run ended just now
            texts.append(path.read_bytes())
    return b"".join(texts) if parts else None


def files_of(folder: Path, run: RunId) -> dict[int, bytes]:
    """Give what runs under way, or killed, have printed: epoch to bytes."""
    epochs = sorted({int(path.name.split("-")[1].split(".")[0]) for path in folder.glob(f"{run}-*.log")})
    found = {epoch: read_files(folder, f"{run}-{epoch}") for epoch in epochs}
    return {epoch: data for epoch, data in found.items() if data is not None}


def remove_files(store: Path, run: RunId) -> None:
    """Remove what a killed run left in a store's folder, when the run itself is dropped."""
    for folder in (OUTPUT, LOGGING):
        for path in (store / folder).glob(f"{run}-*.log"):
            path.unlink(missing_ok=True)


def _parts(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f"{name}.*.log"))


def _number(path: Path) -> int:
    return int(path.name.split(".")[1])
