"""The journal: one writer per process, one `os.write` per call, and a reader of segments.

Laws of the writer: 1 a call returns only after its whole frame is in the file (and on the disk with power=True). 2 A call
that raised leaves no bytes that a reader could take for its frame, or, where a sync failed, closes the segment. 3 While
the writer lives it holds `flock` on its segment. 4 A forked child never writes into its parent's segment.

Laws of the reader: 5 it sees a prefix of each segment. 6 a torn tail is dropped, never repaired. 7 damage is reported and
costs only the frames that it touches.
"""

import contextlib
import errno
import fcntl
import os
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from stratal.core.errors import Misuse, StoreDown
from stratal.store.frames import (
    FACT,
    NAMED,
    NO_STEP,
    POINTS,
    SIZE,
    Scan,
    check_metric_names,
    encode_fact,
    encode_names,
    pack,
    pack_many,
    points_packer,
    salt_of,
    scan,
    shape_of,
)

SEGMENT_BYTES = 64 << 20
# Frames of one tuple of names between two that carry the names: at 1024, names cost under 1 % of the bytes.
NAME_AGAIN = 1024
# Tuples of names that a writer remembers; a program that makes up new ones for ever must not grow for ever.
MOST_SHAPES = 4096
# What a tick reads of one segment at a time: 50,000 narrow points, or 500,000 wide ones. A tick holds the store's gate for as
# long as it takes to settle them; per point, four times the bytes cost half of the time when frames are wide.
WINDOW_BYTES = 4 << 20

_living: "weakref.WeakSet[Writer]" = weakref.WeakSet()


class _Shape:
    """A tuple of names with its packer. `uses` counts its frames in the present segment."""

    __slots__ = ("body", "id", "names", "uses")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = encode_names(names)
        self.id = shape_of(self.names)
        self.body = points_packer(len(names)).pack
        self.uses = 0


class Writer:
    """Writes frames into segments of its own in `folder`. Safe for threads; becomes another writer after a fork."""

    def __init__(self, folder: Path, *, power: bool = False) -> None:
        self.folder = folder
        self.power = power
        # A signal handler may call in the middle of a call of its own thread; it is refused, and must not wait for itself.
        self._lock, self._is_writing = threading.RLock(), False
        self._fd, self._number, self._sequence, self._size, self._salt = -1, -1, 0, 0, 0
        self._fact_ns = 0
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        # Told, under the lock, that a segment was filled: whoever settles should, soon. Must return at once.
        self.on_full: Callable[[], None] | None = None
        self.id = ""
        self._become_new()
        _living.add(self)

    def log(self, run: bytes, epoch: int, metrics: Mapping[str, float], step: int | None = None, at_ns: int | None = None) -> None:
        """Write one row of metrics. run: 16 bytes; step: int64 above -2^63, None for the next one of each series; at_ns: None for now.

        Raises Misuse for names or values that cannot be, StoreDown if the bytes cannot be written.
        """
        names = tuple(metrics)
        with self._lock:
            if self._is_writing:
                raise _inside_another()
            shape = self._shapes.get(names) or self._new_shape(metrics)
            try:
                when = time.time_ns() if at_ns is None else at_ns
                body = shape.body(shape.id, NO_STEP if step is None else step, when, *metrics.values())
            except struct.error as error:
                raise _bad_value(metrics, step) from error
            if step == NO_STEP:
                raise _bad_value(metrics, step)
            try:
                self._is_writing = True
                if self._fd < 0 or self._size > SEGMENT_BYTES:
                    self._open_segment()
                if shape.uses < 2 or shape.uses % NAME_AGAIN == 0:
                    self._append(NAMED, run, epoch, SIZE.pack(len(shape.names)) + shape.names + body)
                else:
                    self._append(POINTS, run, epoch, body)
                shape.uses += 1
            finally:
                self._is_writing = False

    def log_many(self, run: bytes, epoch: int, rows: "Sequence[tuple[Mapping[str, float], int, int]]") -> None:
        """Write rows of (metrics, step, at_ns) by one call of the system: all of them, or none.

        Raises Misuse for names, values or steps that cannot be, StoreDown if the bytes cannot be written.
        """
        with self._lock:
            if self._is_writing:
                raise _inside_another()
            shapes = [self._shapes.get(tuple(metrics)) or self._new_shape(metrics) for metrics, _, _ in rows]
            bodies = [_body_of(shape, *row) for shape, row in zip(shapes, rows, strict=True)]
            try:
                self._is_writing = True
                if self._fd < 0 or self._size > SEGMENT_BYTES:
                    self._open_segment()
                named = [self._named(shape, body) for shape, body in zip(shapes, bodies, strict=True)]
                self._write(pack_many(epoch, self._sequence, run, named, self._salt), len(named))
            except BaseException:
                for shape in shapes:
                    shape.uses = 0  # who knows whether its names were written
                raise
            finally:
                self._is_writing = False

    def fact(self, run: bytes, epoch: int, what: str, value: object, at_ns: int | None = None) -> None:
        """Write a fact. value: what msgpack holds; at_ns: None for now. Raises Misuse if it does not, StoreDown if it cannot be written."""
        try:
            if at_ns is None:  # never back, whatever happens to the clock: what is said later in one process counts
                at_ns = self._fact_ns = max(time.time_ns(), self._fact_ns)
            body = encode_fact(what, at_ns, value)
        except (TypeError, ValueError, OverflowError) as error:
            raise Misuse(f"a {what} fact cannot be stored: {error}", hint="use texts, numbers, lists and dicts") from error
        with self._lock:
            if self._is_writing:
                raise _inside_another()
            try:
                self._is_writing = True
                if self._fd < 0 or self._size > SEGMENT_BYTES:
                    self._open_segment()
                self._append(FACT, run, epoch, body)
            finally:
                self._is_writing = False

    @property
    def written(self) -> int:
        """How many frames it wrote."""
        return self._sequence

    @property
    def is_shown(self) -> bool:
        """Tell whether it holds a segment."""
        return self._fd >= 0

    def show(self) -> None:
        """Hold a segment from now on, so that others see that this process lives before it writes. Raises StoreDown."""
        with self._lock:
            if self._is_writing:
                raise _inside_another()
            if self._fd < 0:
                self._open_segment()

    def sync(self) -> None:
        """Bring everything that was written onto the disk."""
        with self._lock:
            if self._fd >= 0:
                os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the segment; the next call opens another one."""
        with self._lock:
            self._close_segment()

    def _append(self, kind: int, run: bytes, epoch: int, body: bytes) -> None:
        self._write(pack(kind, epoch, self._sequence, run, body, self._salt), 1)

    def _named(self, shape: "_Shape", body: bytes) -> tuple[int, bytes]:
        """Give kind and body of a frame of points, with their names now and then."""
        uses, shape.uses = shape.uses, shape.uses + 1
        if uses < 2 or uses % NAME_AGAIN == 0:
            return NAMED, SIZE.pack(len(shape.names)) + shape.names + body
        return POINTS, body

    def _write(self, frames: bytes, count: int) -> None:
        before, sequence = self._size, self._sequence
        try:
            if os.write(self._fd, frames) != len(frames):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._size = before + len(frames)
            self._sequence = sequence + count
            if self.power:
                os.fdatasync(self._fd)
        except BaseException as error:  # also KeyboardInterrupt between the write and its count
            self._recover(before, sequence, len(frames), count)
            if isinstance(error, OSError):
                raise _cannot_write(self.folder, error) from error
            raise

    def _recover(self, before: int, sequence: int, width: int, count: int) -> None:
        """Make file and counters agree after a call that was broken off: its frames are whole, or gone."""
        try:
            if os.fstat(self._fd).st_size == before + width:
                if self.power:  # after a failed sync nobody knows what the disk holds
                    raise OSError
                self._size, self._sequence = before + width, sequence + count
                return
            os.ftruncate(self._fd, before)
            self._size, self._sequence = before, sequence
        except OSError:
            self._sequence = sequence + count
            self._close_segment()

    def _new_shape(self, metrics: Mapping[str, float]) -> _Shape:
        if wrong := check_metric_names(tuple(metrics)):
            raise Misuse(f"these metrics cannot be logged: {wrong}", hint="a metric has a printable name and a number")
        if len(self._shapes) >= MOST_SHAPES:
            self._shapes.clear()
        shape = self._shapes[tuple(metrics)] = _Shape(tuple(metrics))
        return shape

    def _open_segment(self) -> None:
        """Create aside, lock, then rename: nobody ever sees an unlocked segment of a living writer."""
        self._number += 1  # also for one that fails: somebody may have seen its name
        name = f"{self.id}-{self._number:06d}.log"
        aside = self.folder / f"{name}.new"
        fd = -1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # it could not be made when the store was opened, or was taken away
            fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX)
            aside.rename(self.folder / name)
            if self.power:
                sync_folder(self.folder)
        except BaseException as error:
            if fd >= 0:
                os.close(fd)
                for left in (aside, self.folder / name):
                    with contextlib.suppress(OSError):
                        left.unlink()
            if isinstance(error, OSError):
                raise _cannot_write(self.folder, error) from error
            raise
        self._close_segment()  # not before: in between the writer would pass for dead
        self._fd, self._size, self._salt = fd, 0, salt_of(name)
        for shape in self._shapes.values():
            shape.uses = 0
        if self._number and self.on_full is not None:
            self.on_full()

    def _close_segment(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _become_new(self) -> None:
        """Start as another writer: nothing of an older one is touched but the descriptor."""
        self._close_segment()
        self.id = os.urandom(8).hex()
        self._number, self._sequence, self._size, self._salt = -1, 0, 0, 0
        self._shapes = {}

    def _after_fork(self) -> None:
        self._lock, self._is_writing = threading.RLock(), False  # another thread of the parent may have held it
        self._become_new()


class Tail(NamedTuple):
    """What a segment holds past an offset. `data` starts at `offset`; frames and damage are placed in `data`."""

    name: str
    fd: int
    offset: int
    size: int
    data: bytes
    read: Scan

    @property
    def writer(self) -> str:
        return self.name[:16]


def segments(folder: Path, writers: Iterable[str] | None = None) -> list[str]:
    """List the segments' names, oldest of each writer first; of these writers only, if given."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".log"))
    except (FileNotFoundError, NotADirectoryError):  # a store that could not be made yet
        names = []
    if writers is None:
        return names
    wanted = set(writers)
    return [name for name in names if name[:16] in wanted]


@contextlib.contextmanager
def open_segments(folder: Path, names: Iterable[str]) -> Iterator[dict[str, int]]:
    """Open segments for reading, name to descriptor. One that is deleted in between stays readable through it."""
    opened: dict[str, int] = {}
    try:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                opened[name] = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
        yield opened
    finally:
        for fd in opened.values():
            give_back(fd)


def read_tail(name: str, fd: int, offset: int, *, whole: bool) -> Tail:
    """Read a segment from an offset: all of it, or a window that grows until it holds one good frame."""
    window, size = WINDOW_BYTES, os.fstat(fd).st_size
    salt = salt_of(name)
    while True:
        wanted = max(0, size - offset)
        data = _pread(fd, wanted if whole else min(window, wanted), offset)
        read = scan(data, salt)
        if read.frames or len(data) >= wanted:
            return Tail(name, fd, offset, size, data, read)
        window *= 2  # one frame, or one damaged range, is larger than the window


def living_writers(folder: Path) -> set[str]:
    """Give the writers whose process, on this machine, is still there: it holds a segment."""
    with open_segments(folder, segments(folder)) as opened:
        return {name[:16] for name, fd in opened.items() if not _try_lock(fd, fcntl.LOCK_SH)}


def try_lock(fd: int) -> bool:
    """Take `flock` on a descriptor if nobody else holds it. `give_back` undoes it."""
    return _try_lock(fd, fcntl.LOCK_EX)


def give_back(fd: int) -> None:
    """Give back a descriptor, and the lock on it. To close it is not enough: a child that another thread forked meanwhile has a copy
    of it, and would hold the lock for as long as it lives."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries onto the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(folder: Path, name: str, text: str) -> None:
    """Write a file of a folder, made if it is not there: whole and on the disk when this returns, or as it was."""
    folder.mkdir(exist_ok=True)
    aside = folder / f".{name}"
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(folder / name)
    sync_folder(folder)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pread(fd: int, size: int, offset: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := os.pread(fd, size, offset)):  # Linux gives at most 2 GiB a call
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _body_of(shape: _Shape, metrics: Mapping[str, float], step: int, at_ns: int) -> bytes:
    try:
        if step != NO_STEP:
            return shape.body(shape.id, step, at_ns, *metrics.values())
    except struct.error as error:
        raise _bad_value(metrics, step) from error
    raise _bad_value(metrics, step)


def _bad_value(metrics: Mapping[str, float], step: int | None) -> Misuse:
    for name, value in metrics.items():
        try:
            struct.pack("<d", value)
        except struct.error:
            return Misuse(f"metric {name!r} is {type(value).__name__}, not a number", hint="pass a float or an int")
    return Misuse(f"step {step!r} is not a whole number of 64 bits, or is the lowest of them", hint="pass an int, or leave it out")


def _inside_another() -> StoreDown:
    return StoreDown(
        "the journal cannot be written from inside another call of the same thread",
        hint="in a signal handler, set a flag or raise, and log when the call that it interrupted has returned",
    )


def _cannot_write(folder: Path, error: OSError) -> StoreDown:
    reason = "too large for the file size limit of this process (ulimit -f)" if error.errno == errno.EFBIG else error.strerror
    return StoreDown(
        f"the journal in {folder} cannot be written: {reason}",
        hint="make room or mend the disk, then call again; nothing that was acknowledged is lost",
    )


def _after_fork_in_child() -> None:
    for writer in list(_living):
        writer._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
