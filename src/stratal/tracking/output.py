"""What a run printed: files beside the store's journals while it goes on, appended line by line, and an artifact when it ends.

A line is in its file before the call that printed it returns, and so survives kill -9. The first bytes and the last ones are kept.
What a killed process left in files, or could not make an artifact at its end, others make one: who prints into the same store next,
`stratal sync`, or a collection of garbage. The file's owner holds a lock on its first part, and so is known to be gone.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from stratal.core.errors import StoreDown, StratalError
from stratal.core.ids import RunId, is_id, short, to_bytes
from stratal.core.threads import start_aside
from stratal.store.journal import Writer, give_back, try_lock
from stratal.store.store import Store
from stratal.tracking.active import OpenRun
from stratal.tracking.facts import ARTIFACT, ArtifactFact

log = logging.getLogger(__name__)

# What is kept of a program that prints without end: its beginning, and two files of its end. Guesses: a reader scrolls no further.
HEAD_BYTES, TAIL_BYTES = 4 << 20, 2 << 20
# The folders of a store that hold what runs print, and what they say to `logging`, while they go on.
OUTPUT, LOGGING = "output", "logging"
_ARTIFACT = re.compile(r"output(?:-(\d+))?\.log")


def artifact_name(epoch: int, folder: str = OUTPUT) -> str:
    """Name the artifact: who goes on with a run adds one of his own. folder: which of the two kinds."""
    return f"{folder}-{epoch}.log" if epoch else f"{folder}.log"


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
        self._owned = self._own()
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

    def keep(self, run: OpenRun, name: str) -> None:
        """Make it an artifact of its run. If that cannot be written, the files are kept, and others do it later: nothing is lost.

        Until then it is ours: whoever takes it for one that was left would remove it while it is read."""
        os.close(self._fd)
        try:
            data = read_files(self._base.parent, self._base.name) or b""
            digest = run.store.blobs.put(data)
            run.write(ARTIFACT, ArtifactFact(path=name, digest=digest, size_bytes=len(data)))
            self.remove()
        except StoreDown as error:
            log.warning("%s of run %s stays in a file of %s until it can be written: %s", name, run.short, self._base.parent, error)
            _looked.discard(run.store.folder)
        finally:
            give_back(self._owned)

    def remove(self) -> None:
        """Remove the files."""
        for path in _parts(self._base.parent, self._base.name):
            path.unlink(missing_ok=True)

    def _own(self) -> int:
        while True:
            fd = self._open()
            if not try_lock(fd) or os.fstat(fd).st_nlink > 0:
                return fd
            give_back(fd)  # it was empty yet, and taken for one that was left

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


def deliver_left(store: Store) -> int:
    """Make artifacts of what runs have left in files whose process is gone; give how many. What cannot be written now stays.

    Again and beside others: the same bytes under the same name, once."""
    found = [(folder, name) for folder in (OUTPUT, LOGGING) for name in _left_in(store.folder / folder)]
    if not found:
        return 0
    done, writer = 0, Writer(store.journals, power=store.is_power_safe)  # of its own, so that its segment can be shipped at once
    try:
        for folder, name in found:
            done += _deliver(store, writer, folder, name)
    except StoreDown as error:
        log.warning("what killed processes printed stays in files of %s: %s", store.folder, error)
    finally:
        writer.close()
    return done


def deliver_aside(store: Store) -> None:
    """Deliver what others have left, once per process and store, in a thread of its own: printing must not wait for it."""
    if store.folder not in _looked:
        _looked.add(store.folder)
        start_aside(lambda: _deliver_quietly(store), "stratal-output")


def _deliver_quietly(store: Store) -> None:
    try:
        deliver_left(store)
    except (StratalError, OSError) as error:
        log.warning("what killed processes printed stays in files of %s: %s", store.folder, error)


def _deliver(store: Store, writer: Writer, folder: str, name: str) -> bool:
    run, _, epoch = name.rpartition("-")
    with _taken(store.folder / folder / f"{name}.{0:06d}.log") as is_taken:
        data = read_files(store.folder / folder, name) if is_taken else None
        if data is None:
            return False
        said = ArtifactFact(path=artifact_name(int(epoch), folder), digest=store.blobs.put(data), size_bytes=len(data))
        writer.fact(to_bytes(run), int(epoch), ARTIFACT, said)
        for path in _parts(store.folder / folder, name):
            path.unlink(missing_ok=True)
        log.info("delivered %s of run %s", said.path, short(run))
    return True


def _left_in(folder: Path) -> list[str]:
    names = sorted({path.name.partition(".")[0] for path in folder.glob("*.log")})
    return [name for name in names if is_id(name.rpartition("-")[0]) and name.rpartition("-")[2].isdigit()]


@contextlib.contextmanager
def _taken(first: Path) -> Iterator[bool]:
    """Hold the lock of an output whose process is gone; False if it goes on, or somebody else delivers it."""
    try:
        fd = os.open(first, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield try_lock(fd) and os.fstat(fd).st_nlink > 0  # else its owner made it an artifact just now
    finally:
        give_back(fd)


# Folders of stores in which this process has looked for what others left.
_looked: set[Path] = set()
os.register_at_fork(after_in_child=_looked.clear)


def remove_files(store: Path, run: RunId) -> None:
    """Remove what a killed run left in a store's folder, when the run itself is dropped."""
    for folder in (OUTPUT, LOGGING):
        for path in (store / folder).glob(f"{run}-*.log"):
            path.unlink(missing_ok=True)


def _parts(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f"{name}.*.log"))


def _number(path: Path) -> int:
    return int(path.name.split(".")[1])
