"""Arriving: a server's side of shipments. Frames of writers on other machines are applied at once, each exactly once.

They are applied in the transaction that moves the segment's offset, as a tick applies a local journal; no journal file is
written. So the offset row is the one place that says what has arrived: there is no file to lock, sweep or lose, a repeat
can be told after years, and any number of servers over one database can take shipments (docs/decisions/007). What a quota has no
room for stays where it is, with all that comes after it in its segment; what comes before it is taken.

Laws (tested): 1 `accept` returns only when the frames are as durable as the store is. 2 a frame is applied once, however
often, in whatever cuts and from however many senders it arrives. 3 a repeat with other bytes is refused, and one that
cannot be compared (it was cut otherwise, or its parts were dropped long after it was sealed) is not acknowledged but answered with
the offset. 4 what is refused leaves nothing behind. 5 nobody elsewhere goes on with what a writer of this machine, or an import, has begun:
its own frames would be passed over.
"""

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
from sqlalchemy import bindparam, delete, func, select, update

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Misuse, NotFound, StratalError
from stratal.core.people import Identity
from stratal.store.admitting import admitted
from stratal.store.bounding import bounded, first_frames, rest_of
from stratal.store.database import Row, Transaction, insert
from stratal.store.frames import FACT, NAMED, POINTS, SIZE, Frame, Scan, check_metric_names, read_fact, read_names, salt_of, scan
from stratal.store.journal import Tail, segments
from stratal.store.quotas.rules import OverQuota
from stratal.store.settling import Settler
from stratal.store.shipments import ALIVE_S, OtherBytes, OtherOffset, OtherOwner, Part, Seal, SegmentParts, SegmentState, WriterState
from stratal.store.tables import remote_writer, run, segment, shipment

_STATE = select(segment.c.offset, segment.c.state).where(segment.c.name == bindparam("segment_name"))
_SEGMENTS = (
    select(segment.c.name, segment.c.offset, segment.c.state)
    .where(segment.c.name >= bindparam("first"), segment.c.name < bindparam("last"))
    .order_by(segment.c.name)
)
_PARTS = (
    select(shipment.c.start, shipment.c.stop, shipment.c.digest)
    .where(shipment.c.segment == bindparam("segment_name"), shipment.c.start >= bindparam("first"), shipment.c.start < bindparam("last"))
    .order_by(shipment.c.start)
)
_ADD_PART = insert(shipment)
_SEAL = (
    update(segment)
    .where(segment.c.name == bindparam("segment_name"))
    .values(state="done", torn=bindparam("torn_bytes"), sealed_ns=bindparam("now"))
)
_NOTE = insert(segment).on_conflict_do_nothing()
_SEALED = select(segment.c.name).where(segment.c.state == "done", segment.c.sealed_ns < bindparam("before"))
_OLD_PARTS = select(func.count()).select_from(shipment).where(shipment.c.segment.in_(_SEALED))
_DROP_PARTS = delete(shipment).where(shipment.c.segment.in_(_SEALED))
_OPEN = insert(remote_writer).on_conflict_do_nothing()
_OWNER = select(remote_writer.c.owner).where(remote_writer.c.writer == bindparam("id"))
_SEEN = (
    update(remote_writer)
    .where(remote_writer.c.writer == bindparam("id"), remote_writer.c.owner == bindparam("sender"))
    .values(seen_ns=bindparam("now"))
)
_ALIVE = select(remote_writer.c.writer).where(remote_writer.c.seen_ns > bindparam("since"))
_EXPERIMENT = select(run.c.experiment).where(run.c.id == bindparam("run_id"))
_LAST = 2**62

# Raises Forbidden if somebody may not write to one of these runs, as they are now; of none, if they may write nothing at all.
MayWrite = Callable[[Transaction, Identity, set[bytes]], None]
# Raises Forbidden if somebody may not write to what their frames name: experiment:NAME.
MayPut = Callable[[Transaction, Identity, str], None]
# Is told what somebody has made: experiment:NAME.
Created = Callable[[Transaction, Identity, str], None]
# Is told the experiments into which runs were put; raises OverQuota if one has no room for them.
Placed = Callable[[Transaction, Iterable[str]], None]


class Arrivals:
    """Takes shipments into one store."""

    def __init__(
        self,
        settler: Settler,
        may_write: MayWrite,
        created: Created = lambda _tx, _sender, _on: None,
        placed: Placed = lambda _tx, _experiments: None,
        may_put: MayPut = lambda _tx, _sender, _on: None,
    ) -> None:
        self._settler, self._may_put = settler, may_put
        self._may_write, self._created, self._placed = may_write, created, placed

    def accept(self, name: str, offset: int, data: bytes, damage: Sequence[tuple[int, int]], sender: Identity) -> int:
        """Apply the frames of a shipment, and give the offset before which everything is durable: in front of the first run for which
        there is no room, or the end.

        damage: ranges of `data` that the sender's disk has spoilt. Raises Misuse for bytes that are not whole frames of this
        segment, OtherOffset, OtherBytes, Forbidden, OverQuota if the first frame has no room; then nothing has changed.
        """
        left: Tail | None = _tail_of(name, offset, data, damage)
        reached = offset
        while left is not None:
            taken = bounded(left)
            try:
                reached = self._take_what_fits(taken, sender)
            except StratalError:
                if reached == offset:
                    raise
                return reached  # who sends the rest again is told why
            left = rest_of(left, taken) if reached == taken.offset + taken.read.end else None
        return reached

    def _take_what_fits(self, tail: Tail, sender: Identity) -> int:
        while True:
            crowded: list[int] = []
            try:
                return self._take(tail, sender, crowded)
            except OverQuota:
                if not (frames := [frame for frame in tail.read.frames if frame.sequence < min(crowded, default=0)]):
                    raise
                tail = first_frames(tail, frames)

    def _take(self, tail: Tail, sender: Identity, crowded: list[int]) -> int:
        """Apply a tail in one transaction, but for a large fact. crowded: is told of the facts that had no room, if it raises OverQuota."""
        name, offset, data = tail.name, tail.offset, tail.data
        runs = {frame.run for frame in tail.read.frames}
        author = sender.name if sender.is_authenticated else ""

        def check(tx: Transaction) -> None:
            self._open(admitted(tx), tail.writer, sender)
            self._may_write(tx, sender, runs)

        def check_piece(tx: Transaction) -> None:
            check(tx)
            known, state = _state(tx, name)
            if known == offset:
                _check_live(name, known, state)

        lasts = self._settler.begin_large([tail], actor=sender, sender=author, check=check_piece)
        with self._settler.transaction(sender) as tx:
            check(tx)
            known, state = _state(tx, name)
            if offset < known:
                return _compare(tx, tail, known)
            if offset > known:
                raise OtherOffset(f"{name} is at {known} here, not at {offset}: something before is missing", known)
            _check_live(name, known, state)
            before = _experiments(tx, runs)
            made: list[str] = []
            tx.made, tx.crowded = made, crowded
            touched = self._settler.apply(tx, [tail], sender=author, lasts=lasts)
            after = _experiments(tx, runs)
            if after != before:  # what the frames themselves say of a run must not lead to where its sender may not write
                named = {experiment for _, experiment in after - before if experiment}
                for experiment in sorted(named):
                    self._may_put(tx, sender, f"experiment:{experiment}")
                self._may_write(tx, sender, runs)
                for on in made:  # not sooner: rights on it must not count for what made it
                    self._created(tx, sender, on)
                self._placed(tx, named)
            tx.run(_ADD_PART, segment=name, start=offset, stop=offset + len(data), digest=sha256(data).digest())
        for id in touched:
            self._settler.fold(id)
        return offset + len(data)

    def seal(self, name: str, seal: Seal, sender: Identity) -> int:
        """Note that a segment has ended. Idempotent. Raises OtherOffset if the server is elsewhere, NotFound, Forbidden.

        At 0 also of a writer that is nobody's: what is still on its way of it is refused, and it stays nobody's."""
        with self._settler.transaction(sender) as tx:
            self._may_write(tx, sender, set())
            if seal.offset == 0:
                tx.run(_NOTE, name=name, offset=0, state="live")
            if (owner := tx.value(_OWNER, id=name[:16])) not in (None, sender.name):
                raise _not_yours(name[:16], str(owner), sender)  # as for its frames: who took it for unknown would begin it anew
            if seal.offset:
                self._check_owner(tx, name[:16], sender)
            known, _ = _state(tx, name)
            if known != seal.offset:
                raise OtherOffset(f"{name} is at {known} here, and cannot be sealed at {seal.offset}", known)
            tx.run(_SEAL, segment_name=name, torn_bytes=seal.torn, now=tx.now_ns)
        return known

    def beat(self, writers: Iterable[str], sender: Identity) -> None:
        """Note that the processes of these writers are alive. Those that never sent anything, or belong to others, are passed over."""
        with self._settler.transaction(sender) as tx:
            self._may_write(tx, sender, set())
            for writer in writers:
                tx.run(_SEEN, id=writer, sender=sender.name, now=tx.now_ns)

    def writer(self, tx: Transaction, writer: str, sender: Identity) -> WriterState:
        """Give what is here of a writer; of one that is somebody else's, what there is of one that nobody ever heard of."""
        self._may_write(tx, sender, set())
        is_theirs = tx.value(_OWNER, id=writer) == sender.name
        rows = tx.rows(_SEGMENTS, first=f"{writer}-", last=f"{writer}.") if is_theirs else []  # '.' comes after '-'
        return WriterState(writer=writer, segments=[SegmentState(name=name, offset=at, state=state) for name, at, state in rows])

    def parts(self, tx: Transaction, name: str, since: int, sender: Identity) -> SegmentParts:
        """Give the parts of a segment that begin at `since` or later. Raises NotFound, Forbidden."""
        self._may_write(tx, sender, set())
        self._check_owner(tx, name[:16], sender)
        known, state = _state(tx, name)
        rows = tx.rows(_PARTS, segment_name=name, first=since, last=_LAST)
        return SegmentParts(name=name, offset=known, state=state, parts=[_part(row) for row in rows])

    def _open(self, tx: Transaction, writer: str, sender: Identity) -> None:
        _own(tx, writer, sender, self._settler.folder)

    def _check_owner(self, tx: Transaction, writer: str, sender: Identity) -> None:
        owner = tx.value(_OWNER, id=writer)
        if owner is None or (sender.is_authenticated and owner != sender.name):  # nobody learns whose it is, nor that it is there
            raise NotFound(f"writer {writer} has sent nothing to this store")
        if owner != sender.name:
            raise _not_yours(writer, owner, sender)


def greet(tx: Transaction, writer: str, sender: Identity, journals: Path) -> None:
    """Note that a writer elsewhere is about to send something: it is alive. journals: of this machine. Raises Misuse for what is no
    writer's id, Forbidden if it belongs to somebody else."""
    if re.fullmatch(r"[0-9a-f]{16}", writer) is None:
        raise Misuse(f"{writer[:80]!r} is no writer", hint="a writer's id has 16 hex digits")
    _own(tx, writer, sender, journals)
    tx.run(_SEEN, id=writer, sender=sender.name, now=tx.now_ns)


def keep_alive(tx: Transaction, writer: str, *, is_alive: bool = True) -> None:
    """Note that a writer of this process is alive, or is no more: other machines cannot see its journal."""
    tx.run(_OPEN, writer=writer, owner=tx.actor.name, opened_ns=tx.now_ns)
    tx.run(_SEEN, id=writer, sender=tx.actor.name, now=tx.now_ns if is_alive else 0)


def count_old_parts(tx: Transaction, *, before_ns: int) -> int:
    """Count the parts of segments that were sealed before a time."""
    return int(tx.value(_OLD_PARTS, before=before_ns))


def drop_old_parts(tx: Transaction, *, before_ns: int) -> int:
    """Drop the parts of segments that were sealed before a time; give how many. Their offsets stay: nothing is applied twice.

    Only long after: a sender that died between sealing and deleting its file compares it with them."""
    return tx.run(_DROP_PARTS, before=before_ns)


def alive_elsewhere(tx: Transaction) -> set[str]:
    """Give the writers on other machines that were alive a moment ago."""
    return {str(writer) for (writer,) in tx.rows(_ALIVE, since=tx.now_ns - int(ALIVE_S * SECOND_NS))}


def everybody(_tx: Transaction, _sender: Identity, _runs: set[bytes]) -> None:
    """Let everybody write to every run."""


def _own(tx: Transaction, writer: str, sender: Identity, journals: Path) -> None:
    """Let a writer be of who sends first by it. Raises Forbidden if it is somebody else's, or writes here."""
    owner = tx.value(_OWNER, id=writer)
    if owner is None:
        begun = any(offset for _, offset, _ in tx.rows(_SEGMENTS, first=f"{writer}-", last=f"{writer}."))  # one at 0 was only sealed
        if begun or segments(journals, [writer]):
            raise OtherOwner(f"writer {writer} is one of this server's own machine", hint="a writer elsewhere has an id of its own")
        tx.run(_OPEN, writer=writer, owner=sender.name, opened_ns=tx.now_ns)
    elif owner != sender.name:
        raise _not_yours(writer, owner, sender)


def _not_yours(writer: str, owner: str, sender: Identity) -> OtherOwner:
    if sender.is_authenticated:
        return OtherOwner(f"writer {writer} is not {sender.name}'s", hint="ship its journal with a token of whoever began to")
    return OtherOwner(f"writer {writer} belongs to {owner}, not to {sender.name}", hint=f"ship it as {owner} (STRATAL_USER)")


def frames_of(data: bytes, salt: int, damage: Sequence[tuple[int, int]]) -> list[Frame]:
    """Read a shipment: good frames without a gap, but for the declared damage. Raises Misuse. O(bytes), whatever they hold."""
    frames: list[Frame] = []
    at = 0
    for start, stop in (*damage, (len(data), len(data))):
        if not at <= start <= stop <= len(data):
            raise Misuse("the ranges of damage overlap, or lie outside")
        read = scan(data[at:start], salt, is_whole=True)
        if read.end != start - at:
            raise Misuse(
                f"the bytes from {at + read.end} are no whole frame of this segment", hint="send whole frames; a torn tail stays at home"
            )
        frames += [frame._replace(start=frame.start + at, stop=frame.stop + at) for frame in read.frames] if at else read.frames
        at = stop
    if not frames or (damage and damage[-1][1] == len(data)):
        raise Misuse("a shipment ends with a good frame", hint="damage that no frame follows is a torn tail")
    return frames


def _tail_of(name: str, offset: int, data: bytes, damage: Sequence[tuple[int, int]]) -> Tail:
    frames = frames_of(data, salt_of(name), damage)
    reached = -1
    for frame in frames:
        check_body(data, frame)
        if not reached < frame.sequence < 2**63 - frame.stretch:
            raise Misuse("the frames are not in the order in which they were written")
        reached = frame.sequence + frame.stretch - 1
    return Tail(name, -1, offset, offset + len(data), data, Scan(frames, len(data), list(damage)))


def check_body(data: bytes, frame: Frame) -> None:
    """Refuse bodies that no writer of ours makes: what settling trusts of its own disk, it must not trust of the network."""
    try:
        if frame.kind == FACT:
            what, at_ns = read_fact(data, frame, "")[4:6]
            wrong = not 0 < len(what) <= 500 or not -(2**63) <= at_ns < 2**63
        elif frame.kind == NAMED:
            _, names = read_names(data, frame)
            skip = SIZE.size + SIZE.unpack_from(data, frame.start)[0]
            wrong = (
                bool(check_metric_names(names)) or len(set(names)) != len(names) or frame.stop - frame.start != skip + 24 + 8 * len(names)
            )
        else:
            wrong = frame.kind == POINTS and (frame.stop - frame.start < 32 or (frame.stop - frame.start) % 8 != 0)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, struct.error) as error:
        raise Misuse(f"a frame of kind {frame.kind} cannot be read: {error}") from error
    if wrong or frame.epoch >= 2**31:
        raise Misuse(f"a frame of kind {frame.kind} holds what no writer writes")


def _compare(tx: Transaction, tail: Tail, known: int) -> int:
    """Acknowledge a repeat whose bytes are those that are here; else say how far the server is."""
    at, stop = tail.offset, tail.offset + len(tail.data)
    for part in map(_part, tx.rows(_PARTS, segment_name=tail.name, first=tail.offset, last=stop)):
        if part.stop <= stop:
            if sha256(tail.data[part.start - tail.offset : part.stop - tail.offset]).hexdigest() != part.digest:
                raise OtherBytes(f"{tail.name} holds other bytes from {part.start} to {part.stop} here")
            at = part.stop if part.start == at else at
    if at != stop:
        raise OtherOffset(f"{tail.name} is at {known} here, and was not cut like this before", known)
    return known


def _experiments(tx: Transaction, runs: set[bytes]) -> set[tuple[bytes, str]]:
    """Give runs with their experiments; those that are not there are left out."""
    found = ((id, tx.value(_EXPERIMENT, run_id=id)) for id in runs)
    return {(id, str(experiment)) for id, experiment in found if experiment is not None}


def _check_live(name: str, known: int, state: str) -> None:
    if state != "live":
        raise OtherBytes(f"{name} was sealed at {known}: it has no more frames", hint="a copy of its writer may be running elsewhere")


def _state(tx: Transaction, name: str) -> tuple[int, str]:
    found = tx.row(_STATE, segment_name=name)
    return (int(found[0]), str(found[1])) if found else (0, "live")


def _part(row: Row) -> Part:
    start, stop, digest = row
    return Part(start=start, stop=stop, digest=bytes(digest).hex())
