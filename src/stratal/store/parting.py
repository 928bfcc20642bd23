"""Parting: a writer of which the server has refused something is sent run by run, so that what is refused of one run stops no other.

Each run's frames of a segment become a segment of their own, of a writer that is the run's: a function of the bytes on the disk, made anew
whenever they are sent. So nothing of it has to be remembered: how far it has come says the server, as of any segment
(docs/decisions/015).

Laws (tested): 1 the parts of a segment hold every good frame of it after the given offset once, each run's in order. 2 what a part holds is
only added to as its segment grows, however and by whom it is made: what was sent of it stays true. 3 points of a part never need
names that stand elsewhere. 4 a part is put away when all of its segment is on the server, and not before.
"""

import contextlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile

import msgspec

from stratal.core.ids import is_id
from stratal.core.records import Record, from_json, to_json
from stratal.store.frames import HEADER, NAMED, POINTS, SIZE, Frame, pack_many, read_names, salt_of
from stratal.store.journal import read_tail, sync_folder, write_durably

_SHAPE_BYTES = 8


class Parted(Record, frozen=True, kw_only=True):
    """A writer that is sent run by run, from an offset of one of its segments on. refused: runs by id, and why."""

    segment: str
    offset: int
    refused: dict[str, str] = {}


class Marks:
    """What a folder remembers: writers that are parted, runs that somebody has set aside, and those that were thrown away then."""

    def __init__(self, folder: Path) -> None:
        self._parted, self._aside = folder / "parted", folder / "set-aside"
        self._discarded, self._writers, self._blobs = folder / "discarded", folder / "discarded-writers", folder / "discarded-blobs"

    def parted(self) -> dict[str, Parted]:
        """Give the writers that are parted."""
        return {path.name: from_json(path.read_text(), Parted) for path in _files(self._parted)}

    def part(self, writer: str, parted: Parted) -> None:
        """Remember that a writer is parted, durably."""
        write_durably(self._parted, writer, to_json(parted))

    def forget(self, writer: str) -> None:
        """Forget a writer of which nothing is left here."""
        (self._parted / writer).unlink(missing_ok=True)

    def aside(self) -> dict[str, str]:
        """Give the runs that were set aside, by id, with why they had been refused."""
        return {path.name: path.read_text() for path in _files(self._aside) if is_id(path.name)}

    def set_aside(self, run: str, why: str) -> None:
        """Do not send what is here of a run, durably."""
        write_durably(self._aside, run, why)

    def bring_back(self, run: str) -> None:
        """Send what is here of a run again."""
        (self._aside / run).unlink(missing_ok=True)

    def discarded(self) -> dict[str, set[str]]:
        """Give the runs of which some writers' frames are never sent, by id, and these writers. They lie in segments that others share."""
        return {path.name: _texts(self._writers / path.name) for path in _files(self._discarded) if is_id(path.name)}

    def discard(self, run: str, writers: Iterable[str], digests: Iterable[str]) -> None:
        """Never send what some writers hold here of a run that is set aside, durably; what later ones say of it is another thing.

        digests: of blobs that it names. Raises FileNotFoundError if it is not set aside: one rename decides, whoever brings it back at
        the same time."""
        write_durably(self._blobs, run, to_json(sorted({*digests, *_texts(self._blobs / run)})))
        write_durably(self._writers, run, to_json(sorted({*writers, *self.discarded().get(run, ())})))
        self._discarded.mkdir(exist_ok=True)
        (self._aside / run).rename(self._discarded / run)
        sync_folder(self._discarded)
        sync_folder(self._aside)

    def forget_discarded(self) -> None:
        """Forget runs of which no segment is left here."""
        for path in (*_files(self._discarded), *_files(self._writers)):
            path.unlink(missing_ok=True)

    def discarded_blobs(self) -> dict[str, set[str]]:
        """Give the blobs that discarded runs name, by run. Other runs may name them, too."""
        return {path.name: _texts(path) for path in _files(self._blobs) if is_id(path.name)}

    def forget_blobs(self, run: str) -> None:
        """Forget which blobs a run named: none of them is here any more."""
        (self._blobs / run).unlink(missing_ok=True)


class Part:
    """What a segment holds of one run, as a segment. start: how much of it has gone already; is_left: what is left is not made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.start, self.data = 0, bytearray()
        self.source_bytes = 0  # that it was made of
        self.is_left = False
        self._salt, self._named = salt_of(name), set[int]()

    @property
    def end(self) -> int:
        """Where it ends now."""
        return self.start + len(self.data)

    def add(self, data: bytes, frame: Frame, names: dict[int, bytes]) -> None:
        """Add a frame, or a stretch of them."""
        width = frame.stop - frame.start + HEADER
        self.source_bytes += width * frame.stretch
        if not self.is_left:
            bodies = (data[at : at + width - HEADER] for at in range(frame.start, frame.start + width * frame.stretch, width))
            made = (self._with_names(frame.kind, body, names) for body in bodies)
            self.data += pack_many(frame.epoch, frame.sequence, frame.run, made, self._salt)

    def leave(self) -> None:
        """Drop what was made of it: it waits in its segment."""
        self.is_left, self.data = True, bytearray()

    def went(self, offset: int) -> None:
        """Drop what the server has."""
        del self.data[: offset - self.start]
        self.start = offset

    @contextlib.contextmanager
    def file(self, folder: Path) -> Iterator[int]:
        """Give it as a file without a name, whose bytes before `start` are a hole."""
        with TemporaryFile(dir=folder) as file:
            file.seek(self.start)
            file.write(self.data)
            file.flush()
            yield file.fileno()

    def _with_names(self, kind: int, body: bytes, names: dict[int, bytes]) -> tuple[int, bytes]:
        if kind == NAMED:
            skip = SIZE.size + SIZE.unpack_from(body)[0]
            self._named.add(int.from_bytes(body[skip : skip + _SHAPE_BYTES], "little"))
        elif kind == POINTS and (shape := int.from_bytes(body[:_SHAPE_BYTES], "little")) not in self._named and shape in names:
            self._named.add(shape)
            return NAMED, names[shape] + body
        return kind, body


class Parts:
    """The parts of one segment from an offset on, by run, in the order in which they begin. Read on as the segment grows."""

    def __init__(self, name: str, since: int) -> None:
        self.name, self.since, self.at = name, since, 0
        self.of_run: dict[bytes, Part] = {}
        self._names: dict[int, bytes] = {}  # as a frame holds them, by shape

    def read_on(self, fd: int) -> int:
        """Read what came, and give how many bytes after it are no frame, or not one yet."""
        while True:
            tail = read_tail(self.name, fd, self.at, whole=False)
            for frame in tail.read.frames:
                if frame.kind == NAMED:
                    self._define(tail.data, frame)
                if (left := behind(frame, self.since - tail.offset)) is not None:
                    self._part(frame.run).add(tail.data, left, self._names)
            if not tail.read.frames:
                return len(tail.data)
            self.at += tail.read.end

    def waiting_bytes(self) -> int:
        """Give about how many bytes have not gone."""
        return sum(part.source_bytes if part.is_left else len(part.data) for part in self.of_run.values())

    def _define(self, data: bytes, frame: Frame) -> None:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            shape, _ = read_names(data, frame)
            self._names.setdefault(shape, data[frame.start : frame.start + SIZE.size + SIZE.unpack_from(data, frame.start)[0]])

    def _part(self, run: bytes) -> Part:
        if run not in self.of_run:
            self.of_run[run] = Part(part_name(self.name, run))
        return self.of_run[run]


def part_writer(writer: str, run: bytes) -> str:
    """Give the writer that is one run's of a parted writer. Kept for ever: what a server has of it is found by this name."""
    return sha256(f"{writer} {run.hex()}".encode()).hexdigest()[:16]


def part_name(name: str, run: bytes) -> str:
    """Give the name of what a segment holds of a run."""
    return part_writer(name[:16], run) + name[16:]


def behind(frame: Frame, since: int) -> Frame | None:
    """Give what of a stretch lies behind an offset, None for nothing."""
    width = frame.stop - frame.start + HEADER
    skip = max(0, (since - frame.start + HEADER) // width)
    if skip >= frame.stretch:
        return None
    start, sequence = frame.start + skip * width, frame.sequence + skip
    return frame._replace(start=start, stop=start + width - HEADER, sequence=sequence, stretch=frame.stretch - skip)


def _texts(path: Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return set(from_json(path.read_text(), list[str]))
    return set()


def _files(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return []
