"""Shipping: a sender's side of shipments. One pass brings all whole frames of a folder's journals to a server, in order.

A pass keeps nothing that must outlive it: it goes on from what the server says it has, after comparing that with its own
files. So it may be killed anywhere, and two of them may race.

Laws (tested): 1 frames of a writer, or of a run of one that is parted, arrive in the order in which they were written, blobs before the
facts that name them; where a server cannot take a blob now, what was written before its fact arrives, and so do all other writers.
2 a segment is deleted, or marked as shipped, only if its writer is gone and the server has acknowledged or shown the digest
of every byte up to its last frame, or of every part of it (parting.py). 3 what is refused of one run stops no other, of the same writer
neither; other bytes than the server has stop their writer.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path

import msgspec

from stratal.core.errors import Conflict, Damaged, Forbidden, Misuse, NotFound, StoreDown, StratalError
from stratal.core.ids import short
from stratal.store.calling import Busy, Overtaken, Server
from stratal.store.files.blobs import digest_of_file, is_digest
from stratal.store.files.disk import DiskBlobs
from stratal.store.frames import FACT, Frame, read_fact
from stratal.store.held import Held, HeldFiles
from stratal.store.journal import Tail, give_back, living_writers, open_segments, read_tail, segments, try_lock
from stratal.store.marks import is_shipped, mark_shipped
from stratal.store.parting import Marks, Part, Parted, Parts, part_writer
from stratal.store.quotas.rules import OverQuota
from stratal.store.shipments import BEAT_S, MOST_SHIPMENT_BYTES, Home, OtherBytes, OtherOffset, OtherOwner, Seal

# Answers of the same segment or blob that bring nothing forward, after which a pass gives up. A race of two senders needs two.
MOST_DETOURS = 5
# Seconds between two tries of what was refused, of a process that ships without end; who waits for it tries at once.
AGAIN_S = 60.0
# Up to this size, sending a blob that is there already costs less than to ask first. A guess.
SMALL_BLOB_BYTES = 16 << 10
# What a server says of what it does not take, and of which other runs may have nothing.
_REFUSALS = (Forbidden, Misuse, NotFound, OverQuota)


class BlobWaits(Busy):
    """The server has no room for a blob now, cannot reach the place of blobs, or is being sent it by somebody else (is_on_its_way)."""

    def __init__(self, error: Busy) -> None:
        super().__init__(error.message, hint=error.hint)
        self.wait_s, self.is_on_its_way = error.wait_s, isinstance(error, Overtaken)


@dataclass
class Shipped:
    """What a shipper has done so far. segments: those that have ended and are whole on the server."""

    frames: int = 0
    size_bytes: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    segments: int = 0
    # What the last pass met that the server will never take, and why.
    refused: list[str] = field(default_factory=list)
    # The same by writer, as far as it is one's.
    refused_of: dict[str, str] = field(default_factory=dict)


class Shipper:
    """Ships one folder of journals. keeps: dead segments are marked as shipped, not deleted. told: is told bytes that went out."""

    def __init__(self, folder: Path, server: Server, *, keeps: bool, told: Callable[[int], None] = lambda _size: None) -> None:
        self._folder, self._journals = folder, folder / "journal"
        self._blobs = DiskBlobs(folder / "blobs")
        self._server, self._keeps, self._told = server, keeps, told
        self._known: dict[str, int] = {}  # how far the server is, by our own knowledge
        self._sent: set[str] = set()  # blobs that the server has, as this pass knows
        self._held = HeldFiles(folder)
        self._experiments: dict[bytes, str] = {}  # of runs whose start was read here
        self._marks = Marks(folder)
        self._parted: dict[str, Parted] = {}
        self._aside: dict[str, str] = {}
        self._discarded: dict[str, set[str]] = {}
        self._parts: dict[str, Parts] = {}  # by segment
        self._runs: dict[str, set[bytes]] = {}  # by parted writer
        self._closed: set[str] = set()  # writers of which the server takes nothing more but parts
        self._again_s = 0.0
        self._next_beat_s = 0.0
        self._beaten: set[str] = set()
        self._blobs_wait: Busy | None = None  # why blobs are not tried before a time
        self._blobs_at_s = 0.0
        self.done = Shipped()

    def ship(self, *, insists: bool = True) -> bool:
        """Make one pass; False if another process is at it. insists: try what was refused a moment ago, too. Raises StoreDown if the
        server cannot be reached or is busy."""
        with _alone(self._folder) as is_alone:
            if not is_alone:
                return False
            self.done.refused, self.done.refused_of = [], {}
            self._sent.clear()  # a server may collect what nothing names any more
            self._parted, self._aside, self._discarded = self._marks.parted(), self._marks.aside(), self._marks.discarded()
            self._ship_held()
            self._closed &= self._parted.keys()
            if is_time := insists or time.monotonic() >= self._again_s:
                self._again_s = time.monotonic() + AGAIN_S
            self._parts = {name: parts for name, parts in self._parts.items() if self._stays_left(name, parts, is_time)}
            waits: BlobWaits | None = None
            for writer, names in groupby(self._waiting(), lambda name: name[:16]):
                try:
                    self._ship_writer(list(names))
                except BlobWaits as error:
                    waits = error if waits is None or waits.is_on_its_way else waits
                except (OtherBytes, Damaged, *_REFUSALS) as error:
                    self._refuse(f"writer {writer}: {_why(error)}")
                    self.done.refused_of[writer] = error.message
            for writer in self._parted.keys() - {name[:16] for name in self._waiting()}:
                self._marks.forget(writer)
            if not self._marks.parted():  # what is discarded was refused, and so of a writer that is parted
                self._marks.forget_discarded()
            if waits is not None:
                raise waits
            return True

    def beat(self) -> None:
        """Say which writers here are alive, if it is time again or one is new: until then its run passes for lost. From the first time
        on passes say it, too, however long a blob takes."""
        living = living_writers(self._journals)
        living |= {part_writer(writer, run) for writer in living & self._runs.keys() for run in self._runs[writer]}
        there = living & {name[:16] for name, offset in self._known.items() if offset}  # of others a server takes no beat
        if time.monotonic() >= self._next_beat_s or not there <= self._beaten:
            self._next_beat_s, self._beaten = time.monotonic() + BEAT_S, there
            if living:
                self._server.beat(sorted(living))

    def ship_blobs(self, digests: Iterable[str]) -> None:
        """Ship those of these blobs that are here: what a command names need not be named by any fact. Raises as `ship`."""
        for digest in digests:
            self._ship_blob(digest)

    def waiting_bytes(self) -> int:
        """Give how many bytes of journals the server is not known to have."""
        total = 0
        for name in self._waiting():
            if name in self._parts:
                total += self._parts[name].waiting_bytes()
                continue
            with contextlib.suppress(FileNotFoundError):
                total += (self._journals / name).stat().st_size - self._known.get(name, 0)
        return total

    def drop_blobs(self, before_ns: int) -> int:
        """Delete blobs of a spool that the server has or discarded runs named, and that were last written before a time; give how many.
        Only where no run waits: it may name the same."""
        dropped = self._drop_discarded(before_ns)
        for path in (self._folder / "blobs").glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime_ns < before_ns and self._server.received(path.parent.name + path.name) is None:
                    path.unlink()
                    dropped += 1
        return dropped

    def _drop_discarded(self, before_ns: int) -> int:
        """Drop blobs that the server may not have: so nobody may save one meanwhile, and rely on it. If somebody does, the next time."""
        discarded, dropped = self._marks.discarded_blobs(), 0
        needless = set().union(*discarded.values()) - {held.digest for held in self._held.all()}
        if needless:
            with contextlib.suppress(Conflict, FileNotFoundError), self._blobs.alone():
                dropped = sum(self._blobs.drop(digest, older_than_ns=before_ns) for digest in needless)
        for run, digests in discarded.items():
            if not any(map(self._blobs.has, digests)):
                self._marks.forget_blobs(run)
        return dropped

    def _waiting(self) -> list[str]:
        return [name for name in segments(self._journals) if not is_shipped(self._journals, name)]

    def _ship_writer(self, names: list[str]) -> None:
        writer = names[0][:16]
        while writer not in self._parted:
            if not names:
                return
            with open_segments(self._journals, names[:1]) as opened:
                try:
                    if opened and not self._ship_segment(names[0], opened[names[0]]):
                        return  # what follows must not arrive before it
                    names = names[1:]
                except OtherOwner:  # run by run it would be begun anew, and be there twice
                    raise
                except _REFUSALS:
                    self._part(Parted(segment=names[0], offset=self._meet(names[0], opened[names[0]], 0)))
        self._ship_parted(writer, names)

    def _part(self, parted: Parted) -> None:
        """Send a writer run by run from now on."""
        self._parted[parted.segment[:16]] = parted
        self._marks.part(parted.segment[:16], parted)

    def _ship_parted(self, writer: str, names: list[str]) -> None:
        """Ship what is here of a writer, each run by itself and in order."""
        if writer not in self._closed:
            self._close(writer)
        refused: dict[str, str] = {}
        for name in names:
            with open_segments(self._journals, [name]) as opened:
                if opened:
                    self._ship_parts(name, opened[name], refused)
        for run, why in refused.items():
            if run not in self._aside:
                self._refuse(f"{self._named(run)} waits here, its process's other runs do not: {why}")
                self.done.refused_of[writer] = f"{self._named(run)}: {why}"
        if refused != self._parted[writer].refused:
            self._part(msgspec.structs.replace(self._parted[writer], refused=refused))

    def _close(self, writer: str) -> None:
        """Have the server take nothing more of a writer itself: what of it is still on its way would be there twice."""
        parted = self._parted[writer]
        with open_segments(self._journals, [parted.segment]) as opened:
            while opened:
                try:
                    self._server.seal(parted.segment, Seal(offset=parted.offset))
                    break
                except (OtherOffset, NotFound):
                    met = self._meet(parted.segment, opened[parted.segment], 0)
                    if met == parted.offset:
                        break  # an older server, which seals nothing of which it has nothing
                    parted = msgspec.structs.replace(parted, offset=met)
                    self._part(parted)
        self._closed.add(writer)

    def _ship_parts(self, name: str, fd: int, refused: dict[str, str]) -> None:
        """Ship a segment of a parted writer. refused: is told of runs that wait, and why; of those that are in it already, all waits."""
        parted = self._parted[name[:16]]
        since = parted.offset if name == parted.segment else 0
        parts = self._parts.setdefault(name, Parts(name, since))
        torn = parts.read_on(fd)
        for run, writers in self._discarded.items():
            if name[:16] in writers:
                parts.of_run.pop(bytes.fromhex(run), None)
        self._runs.setdefault(name[:16], set()).update(parts.of_run)
        for id, part in parts.of_run.items():
            run = id.hex()
            if run in self._aside:
                refused[run] = self._aside[run]
            elif part.is_left:
                refused.setdefault(run, parted.refused.get(run, ""))
            if run not in refused:
                try:
                    self._ship_part(part)
                except OtherBytes as error:
                    refused[run] = _why(error)
                    if part.start:  # perhaps the server was set back: made anew, it may fit
                        self._make_anew(parts)
                except (Damaged, *_REFUSALS) as error:
                    refused[run] = _why(error)
            if run in refused:
                part.leave()
        if not any(part.is_left for part in parts.of_run.values()):
            self._finish_parts(parts, fd, torn)

    def _ship_part(self, part: Part) -> None:
        if part.data or part.name not in self._known:
            with part.file(self._folder) as made:
                self._bring(part.name, made)
            part.went(self._known[part.name])

    def _finish_parts(self, parts: Parts, fd: int, torn: int) -> None:
        """Put a segment away if its writer is gone and all of it is on the server."""
        if not try_lock(fd) or os.fstat(fd).st_size != parts.at + torn:
            return
        try:
            for part in parts.of_run.values():
                self._server.seal(part.name, Seal(offset=part.end))
        except (OtherOffset, NotFound):  # it was set back
            self._make_anew(parts)
            return
        self._make_anew(parts)
        self._put_away(parts.name)

    def _make_anew(self, parts: Parts) -> None:
        """Forget what was made of a segment, and how much of that has gone."""
        self._parts.pop(parts.name, None)
        for part in parts.of_run.values():
            self._known.pop(part.name, None)

    def _stays_left(self, name: str, parts: Parts, is_time: bool) -> bool:
        """Tell whether what is left of parts is still not to be sent; else they are made anew. Another process may have sent it."""
        refused = self._parted[name[:16]].refused if name[:16] in self._parted else {}
        waits = self._aside.keys() if is_time else self._aside.keys() | refused.keys()
        return name[:16] in self._parted and {run.hex() for run, part in parts.of_run.items() if part.is_left} <= waits

    def _ship_segment(self, name: str, fd: int) -> bool:
        """Ship what a segment holds now. False if some of it is left, or may come yet."""
        tail = self._bring(name, fd)
        return tail is not None and self._finish(tail)

    def _bring(self, name: str, fd: int) -> Tail | None:
        """Ship the frames that a segment holds now, and give what follows them, None if something may come yet."""
        size, detours = os.fstat(fd).st_size, 0
        if name not in self._known:
            self._known[name] = self._meet(name, fd, 0)
        while True:
            tail = read_tail(name, fd, self._known[name], whole=False)
            if not tail.read.frames:
                return tail
            if tail.offset >= size:
                return None  # its writer goes on; the next pass does, too
            try:
                self._known[name] = self._send(tail)
            except OtherOffset as error:
                detours += 1
                if detours > MOST_DETOURS:
                    raise StoreDown(f"{name} does not get on: {error.message}", hint="another sender may be at it; try again") from error
                self._known[name] = self._meet(name, fd, self._known[name])

    def _send(self, tail: Tail) -> int:
        if tail.read.end > MOST_SHIPMENT_BYTES:
            raise Misuse(f"{tail.name} holds a frame of {tail.read.end:,} bytes at {tail.offset}; a server takes {MOST_SHIPMENT_BYTES:,}")
        frames = self._ship_blobs(tail)
        data = tail.data[: frames[-1].end]
        damage = [each for each in tail.read.damage if each[1] <= len(data)]
        acknowledged = self._server.ship(tail.name, tail.offset, data, damage)
        taken = [frame for frame in frames if tail.offset + frame.end <= acknowledged]  # not all, if one had no room
        if not taken or acknowledged != tail.offset + taken[-1].end:  # a repeat of something that we did not know of: compare it first
            raise OtherOffset(f"{tail.name} is at {acknowledged} there", acknowledged)
        self.done.frames += sum(frame.stretch for frame in taken)
        self.done.size_bytes += taken[-1].end
        self._went_out(len(data))
        return acknowledged

    def _meet(self, name: str, fd: int, since: int) -> int:
        """Give how far the server is, after comparing what it has from `since` on with the file. Raises OtherBytes."""
        try:
            there = self._server.parts(name, since)
        except NotFound:
            return 0  # never heard of, or lost since then
        if there.offset < since:
            return self._meet(name, fd, 0)  # it was set back, to a backup for example
        if since == 0 < there.offset and not there.parts and there.state == "done":
            raise OtherBytes(
                f"{name} was sealed at {there.offset} there, so long ago that what it was compared by is dropped",
                hint=f"the server has all of it, unless the file was changed since: delete {self._journals / name}",
            )
        at, size = since, os.fstat(fd).st_size
        for part in there.parts:
            is_here = part.start == at <= part.stop <= size
            if not is_here or sha256(os.pread(fd, part.stop - at, at)).hexdigest() != part.digest:
                raise OtherBytes(_differs(name, part.start), hint="see docs/offline.md")
            at = part.stop
        if at != there.offset:
            raise OtherBytes(_differs(name, at), hint="see docs/offline.md")
        return at

    def _finish(self, tail: Tail) -> bool:
        """Put a segment away if its writer is gone and all of it is on the server. False if it may grow."""
        if not try_lock(tail.fd) or os.fstat(tail.fd).st_size != tail.offset + len(tail.data):
            return False
        try:
            if tail.offset and self._server.seal(tail.name, Seal(offset=tail.offset, torn=len(tail.data))) != tail.offset:
                return False
        except (OtherOffset, NotFound):  # it was set back, to a backup for example: the next pass compares all of it
            del self._known[tail.name]
            return False
        del self._known[tail.name]
        self._put_away(tail.name)
        return True

    def _put_away(self, name: str) -> None:
        if self._keeps:
            mark_shipped(self._journals, name)
        else:
            (self._journals / name).unlink(missing_ok=True)
        self.done.segments += 1

    def _ship_blobs(self, tail: Tail) -> list[Frame]:
        """Ship what the frames name, and give those that may follow: all before the first whose blob has to wait. Raises BlobWaits if
        that is none."""
        for number, frame in enumerate(tail.read.frames):
            if frame.kind == FACT:
                try:
                    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                        self._ship_named(frame.run, read_fact(tail.data, frame, tail.writer).value)
                except BlobWaits:
                    if not number:
                        raise
                    return tail.read.frames[:number]
        return tail.read.frames

    def _ship_named(self, run: bytes, value: object) -> None:
        """Ship the blobs that a fact of a run names."""
        if isinstance(value, dict) and isinstance(said := value.get("experiment"), str):  # its start, which it may go on from
            self._experiments[run] = said
        files = {file["digest"] for file in files_in(value)}
        for digest in digests_in(value):
            self._ship_file(digest, Home(run.hex(), self._experiments.get(run, "")) if digest in files else None)

    def _ship_file(self, digest: str, home: Home | None) -> None:
        """Ship a blob; if there is no room for it as a run's file, let it wait here, and go on with the facts that name it."""
        try:
            self._ship_blob(digest, home)
        except OverQuota as error:
            assert home is not None
            held = Held(digest=digest, run=home.run, experiment=home.experiment, why=error.message)
            self._held.add(held)
            self._refuse(_says_held(held))
            self._sent.add(digest)  # it is seen to: not once more for each fact

    def _ship_held(self) -> None:
        """Ship files that found no room before, if it is time to ask again."""
        is_time = self._held.is_time()
        for held in list(self._held.all()):
            try:
                if is_time:
                    self._ship_blob(held.digest, held.home)
                    self._held.drop(held.digest)
                    continue
            except (OverQuota, Forbidden, NotFound, BlobWaits) as error:
                self._held.add(held := msgspec.structs.replace(held, why=error.message))
            self._refuse(_says_held(held))

    def _ship_blob(self, digest: str, home: Home | None = None) -> None:
        if digest in self._sent or not self._blobs.has(digest):
            return  # not here: it was shipped and dropped, or is no blob at all
        began_s = time.monotonic()
        if self._blobs_wait is not None and began_s < self._blobs_at_s:
            raise BlobWaits(self._blobs_wait)
        try:
            self._send_blob(digest, home)
        except Overtaken as error:  # others need not wait for it
            raise BlobWaits(error) from error
        except Busy as error:
            self._blobs_wait, now_s = error, time.monotonic()
            self._blobs_at_s = now_s + max(error.wait_s, 2 * (now_s - began_s))  # so that points have two thirds of the time
            raise BlobWaits(error) from error

    def _send_blob(self, digest: str, home: Home | None) -> None:
        path = self._blobs.path(digest)
        size, detours = path.stat().st_size, 0
        offset = 0 if size <= SMALL_BLOB_BYTES else self._server.received(digest, home, size)
        is_new = offset is not None
        while offset is not None:
            try:
                got = self._server.put_blob(path, digest, offset, self._went_out, home)
                if got == size:
                    break
                offset = got
            except OtherOffset as error:
                offset = error.offset
            except Damaged:
                if digest_of_file(path) != digest:
                    self._refuse(f"blob {digest}: its file here is spoilt; the facts that name it are shipped without it")
                    return
                offset = 0  # spoilt on the way, now or in an earlier try
            detours += 1
            if detours > MOST_DETOURS:
                raise StoreDown(f"blob {digest[:12]}… does not get on", hint="another sender may be at it; try again")
        self._sent.add(digest)
        self.done.blobs += is_new
        self.done.blob_bytes += size if is_new else 0

    def _went_out(self, size: int) -> None:
        self._told(size)
        if self._next_beat_s:
            with contextlib.suppress(StoreDown):  # the transfer itself tells whether the server is there
                self.beat()

    def _named(self, run: str) -> str:
        experiment = self._experiments.get(bytes.fromhex(run), "")
        return f"run:{short(run)}{f' of {experiment}' if experiment else ''}"

    def _refuse(self, why: str) -> None:
        if why not in self.done.refused:  # of a file that waits, and of whose run the start is refused, too
            self.done.refused.append(why)


def digests_in(value: object) -> Iterator[str]:
    """Give every text in a fact's value that is a digest, or ends with one: facts of any kind may name blobs."""
    if isinstance(value, str):
        if is_digest(text := value.removeprefix("sha256:")):
            yield text
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from digests_in(key)
            yield from digests_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from digests_in(item)


def files_in(value: object) -> Iterator[dict[str, object]]:
    """Give what has a digest and a size: files of a run."""
    if isinstance(value, dict):
        if "size_bytes" in value and isinstance(value.get("digest"), str):
            yield value
        for item in value.values():
            yield from files_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from files_in(item)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """One pass at a time: not needed for safety, but two would do everything twice."""
    fd = os.open(folder / "ship.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield try_lock(fd)
    finally:
        give_back(fd)


def _differs(name: str, at: int) -> str:
    return f"{name} differs from what the server has of it, from byte {at} on: its writer runs twice, or a disk lost bytes"


def _why(error: StratalError) -> str:
    return f"{error.message}; {error.hint}" if isinstance(error, Forbidden | OverQuota) and error.hint else error.message


def _says_held(held: Held) -> str:
    return f"file {held.digest[:12]}… of run:{short(held.run)} waits here, its run does not: {held.why}"
