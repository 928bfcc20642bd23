"""The compactor: moves facts and points from journals into the database, each exactly once.

A tick: 1 open the segments and read what lies past their offsets, without a transaction; 2 begin; 3 per segment move the
offset from what was read to the new one, and leave the segment out if somebody else was faster; 4 apply facts, points,
last values; 5 commit. A command drains the journals that it depends on inside its own transaction, steps 2 to 4.

A large fact is applied piece by piece, each in a transaction of its own, and the last one in that of its frame: each piece may be applied
any number of times, so whoever dies in between leaves nothing that the next one does not finish.

Laws (tested, with kills at every named point): 1 a frame is applied once, in the transaction that moves its offset. 2 the
order in which journals arrive does not change series. 3 a segment is unlinked only when nobody writes it, all of it is
applied, the database file itself holds the outcome, and the server that the store is shipped to, if any, has it.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
from sqlalchemy import bindparam, select, update

from stratal.core.errors import Conflict
from stratal.core.people import Identity
from stratal.store.bounding import bounded, is_large
from stratal.store.columns import Rows, gather, hidden_from, keep, number_steps, sort_series, starts_at, superseded_at
from stratal.store.database import Database, Transaction, insert
from stratal.store.frames import FACT, NAMED, NO_STEP, POINTS, Fact, Frame, encode_fact, read_fact, read_names
from stratal.store.journal import Tail, open_segments, read_tail, segments, try_lock
from stratal.store.keeping import blocks_to_fold, fold_blocks, keep_points
from stratal.store.latest import LAGGING, lagging_runs, next_steps, rebuild, tell_forks, update_values
from stratal.store.marks import forget_shipped, is_shipped, shipped_to, spool_url
from stratal.store.names import OFFSET, Names, RunRow, ensure_runs, find_run, join_runs, offset_of
from stratal.store.relays import has_repeats, without_repeats
from stratal.store.tables import damage, kept_fact, participant, segment

# Who acts when nobody asked for it.
SYSTEM = Identity(name="stratal")
# Dead segments, or bytes of them, that are worth a checkpoint and its sync.
MANY_DEAD, MANY_DEAD_BYTES = 16, 16 << 20
# Bytes of journals that a process settles by itself though another one settles for it: no more than to ask the other takes.
LITTLE_BYTES = 4 << 10
# Seconds between two pieces of a fact: the gate is not handed over, and who gave it back would have it again before who waits is awake.
GIVE_WAY_S = 0.001
# Bytes of journals that a command settles in its own transaction; of more it has ticks settle what is there first. A guess: half a second.
MOST_DRAINED_BYTES = 1 << 20

_ADD_SEGMENT = insert(segment).on_conflict_do_nothing()
_MOVE_OFFSET = (
    update(segment).where(segment.c.name == bindparam("segment_name"), segment.c.offset == bindparam("old")).values(offset=bindparam("new"))
)
_DONE = (
    update(segment).where(segment.c.name == bindparam("segment_name")).values(state=bindparam("new_state"), torn=bindparam("torn_bytes"))
)
_ADD_DAMAGE = insert(damage).on_conflict_do_nothing()
_PARTICIPANTS = select(participant.c.writer).where(participant.c.run == bindparam("id"))
_KEEP_FACT = insert(kept_fact).on_conflict_do_nothing()


class PlacedFact(NamedTuple):
    """A fact that counts, and the row of its run. sender: who sent it, as a server has checked; '' where names are only asserted."""

    fact: Fact
    run: RunRow
    sender: str = ""


class FactApplier(Protocol):
    """What gives facts their meaning: the trunk above.

    Laws: 1 each fact is given once. 2 what cannot be read is given back before anything of it is written, and kept raw. 3 the pieces of a
    fact, applied one after the other, and each any number of times, make what the fact makes.
    """

    @property
    def kinds(self) -> Collection[str]: ...

    def apply(self, tx: Transaction, facts: Sequence[PlacedFact], names: Names) -> Sequence[Fact]: ...

    def pieces(self, fact: Fact) -> Sequence[Fact]: ...


class Settler:
    """Settles the journals of one folder into one database."""

    def __init__(self, folder: Path, database: Database, applier: FactApplier) -> None:
        self.folder = folder
        self._database = database
        self._applier = applier
        # Has another process settle what there is, and tells whether it has.
        self.have_settled: Callable[[], bool] | None = None
        self.names = Names()
        database.on_rollback.append(self.names.forget)  # ids that it gave are void

    def settle(self) -> int:
        """Settle everything that journals hold now, and give the number of frames, 1 if another process did it; what comes meanwhile is
        left to the next."""
        sizes = self._sizes()
        waiting_bytes, is_behind = self._waiting(sizes)
        if not waiting_bytes and not is_behind:
            return 0
        if self._leave(waiting_bytes):
            return 1
        total = 0
        while frames := self.tick(sizes):  # not until nothing is left: beside a busy writer there always is
            total += frames
        self.catch_up()
        return total

    def tick(self, sizes: Mapping[str, int] | None = None) -> int:
        """Settle at most a window of each segment; 0 if there was nothing. sizes: how far to go in which, None: in all."""
        with open_segments(self.folder, segments(self.folder) if sizes is None else sizes) as opened:
            tails = [tail for tail in self._read_tails(opened, whole=False, sizes=sizes) if tail.read.frames]
            if not tails:
                return 0
            lasts = self.begin_large(tails)
            with self.transaction() as tx:
                touched = self.apply(tx, tails, lasts=lasts)
        for run in touched:
            self.fold(run)
        return sum(frame.stretch for tail in tails for frame in tail.read.frames)

    def leave_much(self) -> bool:
        """Have what waits settled by the process that does so for this one, if there is one and it is more than a little; tell whether it
        has done so."""
        return self.have_settled is not None and self._leave(self.waiting_bytes())

    def waiting_bytes(self) -> int:
        """Give how many bytes of journals are not applied yet."""
        return self._waiting(self._sizes())[0]

    def drain(self, tx: Transaction, writers: Iterable[str], *, most_bytes: int | None = None) -> bool:
        """Inside a command's transaction: apply everything that these writers have written up to now. False, and nothing is done, if it is
        more than most_bytes."""
        with open_segments(self.folder, segments(self.folder, writers)) as opened:
            offsets = {name: offset_of(tx, name) for name in opened}
            waiting = {name: fd for name, fd in opened.items() if os.fstat(fd).st_size > offsets[name]}
            if most_bytes is not None and sum(os.fstat(fd).st_size - offsets[name] for name, fd in waiting.items()) > most_bytes:
                return False
            tails = [read_tail(name, fd, offsets[name], whole=True) for name, fd in waiting.items()]
            self.apply(tx, [tail for tail in tails if tail.read.frames])
        return True

    def participants(self, tx: Transaction, runs: Iterable[bytes]) -> set[str]:
        """Give the writers that are known to have written to these runs."""
        return {writer for run in runs for (writer,) in tx.rows(_PARTICIPANTS, id=run)}

    def catch_up(self) -> None:
        """Bring the rows of wide runs up to date that ticks left behind."""
        with self._database.look(SYSTEM) as tx:
            waiting = lagging_runs(tx)
        for id in waiting:
            with self.transaction() as tx:
                run = find_run(tx, id)
                if run is not None and run.is_lagging:
                    rebuild(tx, run)

    def fold(self, id: bytes) -> None:
        """Rewrite a run's blocks as chunks, or as fewer blocks, if it is time."""
        with self._database.read(SYSTEM) as tx:
            run = find_run(tx, id)
            if run is None or not blocks_to_fold(tx, run.no):
                return
        try:
            with self.transaction() as tx:
                self._database.fault("inside fold")
                if not fold_blocks(tx, run.no, blocks_to_fold(tx, run.no)):
                    raise Conflict("another process folded these blocks first")
        except Conflict:
            return

    def begin_large(
        self, tails: Sequence[Tail], *, actor: Identity = SYSTEM, sender: str = "", check: Callable[[Transaction], object] | None = None
    ) -> dict[tuple[str, int], Fact]:
        """Apply large facts that tails begin with, but for their last pieces; give these by writer and sequence, for `apply`.

        sender: as for `apply`. check: is asked in each transaction whether it may be."""
        lasts = {}
        for tail in tails:
            frame = tail.read.frames[0]
            if is_large(frame) and (last := self._begin(tail, frame, actor, sender, check)) is not None:
                lasts[tail.writer, frame.sequence] = last
        return lasts

    def apply(
        self, tx: Transaction, tails: Sequence[Tail], *, sender: str = "", lasts: Mapping[tuple[str, int], Fact] | None = None
    ) -> set[bytes]:
        """Apply tails whose offset is still what was read; give the ids of the runs that have new points.

        sender: the author of all that is in them, whatever they say, as a server has checked; '' where authors are only asserted.
        lasts: last pieces of facts of which all others are applied."""
        claimed = [tail for tail in tails if self._claim(tx, tail)]
        self._define_names(tx, claimed)
        facts = [fact for tail in claimed for fact in self._facts(tx, tail)]
        points = self._points(tx, claimed)
        runs = ensure_runs(tx, {fact.run for fact in facts} | {run for run, _, _ in points})
        # what is left over is of runs that were purged
        points, facts = {place: rows for place, rows in points.items() if place[0] in runs}, [fact for fact in facts if fact.run in runs]
        self._apply_facts(tx, facts, runs, sender, lasts or {})
        self._database.fault("before points")
        for (id, epoch, writer), rows in points.items():
            row = find_run(tx, id)  # again: facts and points before may have changed it, and forks of it
            assert row is not None
            self._apply_points(tx, row, epoch, writer, rows)
        join_runs(tx, {(fact.run, fact.writer) for fact in facts} | {(run, writer) for run, _, writer in points})
        came = Counter[bytes]()
        for (id, _, _), groups in points.items():
            came[id] += sum(group.values.size for group in groups)
        for id in runs:  # one event a tick and run, however much of it came
            tx.emit("run", id.hex(), f'{{"points":{came[id]}}}' if came[id] else "{}")
        self._database.fault("after points")
        return {id for id, _, _ in points}

    @contextlib.contextmanager
    def transaction(self, actor: Identity = SYSTEM) -> Iterator[Transaction]:
        """Open a write transaction in which journals may be settled."""
        with self._database.write(actor) as tx:
            yield tx

    def sweep(self, *, at_once: bool = False) -> int:
        """Unlink dead segments if there are enough of them (or `at_once`); give how many went."""
        sizes = self._sizes()
        if not at_once and len(sizes) < MANY_DEAD and sum(sizes.values()) < MANY_DEAD_BYTES:
            return 0
        with open_segments(self.folder, sizes) as opened:
            dead: dict[str, int] = {}
            size = 0
            for tail in self._read_tails(opened, whole=True):
                if (
                    tail.read.frames
                    or self._is_kept(tail.name)
                    or not try_lock(tail.fd)
                    or os.fstat(tail.fd).st_size != tail.offset + len(tail.data)
                ):
                    continue  # something left, somebody writes, or wrote just now
                dead[tail.name] = len(tail.data)
                size += tail.size
            if not dead or not (at_once or len(dead) >= MANY_DEAD or size >= MANY_DEAD_BYTES):
                return 0
            with self.transaction() as tx:
                for name, torn in dead.items():
                    tx.run(_ADD_SEGMENT, name=name, offset=0, state="live")
                    tx.run(_DONE, segment_name=name, new_state="shipped" if is_shipped(self.folder, name) else "done", torn_bytes=torn)
            if not self._database.checkpoint():
                return 0
            self._database.fault("before unlink")
            for name in dead:
                (self.folder / name).unlink(missing_ok=True)
                forget_shipped(self.folder, name)
                self._database.fault("after unlink")
            return len(dead)

    def _sizes(self) -> dict[str, int]:
        with open_segments(self.folder, segments(self.folder)) as opened:
            return {name: os.fstat(fd).st_size for name, fd in opened.items()}

    def _waiting(self, sizes: Mapping[str, int]) -> tuple[int, bool]:
        """Give how many bytes of segments of these sizes are not applied yet, and whether rows of runs lag behind what is."""
        with self._database.look(SYSTEM) as tx:
            *offsets, behind = tx.together(*((OFFSET, {"segment_name": name}) for name in sizes), (LAGGING, {}))
        applied = [rows[0][0] if rows else 0 for rows in offsets]
        return sum(max(0, size - done) for size, done in zip(sizes.values(), applied, strict=True)), bool(behind)

    def _leave(self, waiting_bytes: int) -> bool:
        return self.have_settled is not None and waiting_bytes > LITTLE_BYTES and self.have_settled()

    def _is_kept(self, name: str) -> bool:
        """Tell whether a server that this store, or spool, is shipped to still needs a segment."""
        store = self.folder.parent
        return (shipped_to(store) or spool_url(store)) is not None and not is_shipped(self.folder, name)

    def _read_tails(self, opened: dict[str, int], *, whole: bool, sizes: Mapping[str, int] | None = None) -> list[Tail]:
        with self._database.look(SYSTEM) as tx:
            offsets = {name: offset_of(tx, name) for name in opened}
        tails: list[Tail] = []
        behind: set[str] = set()  # writers of which an earlier segment still holds something: their points must come in order
        for name, fd in opened.items():
            size = os.fstat(fd).st_size if sizes is None else sizes[name]
            if whole or (size > offsets[name] and name[:16] not in behind):
                tail = read_tail(name, fd, offsets[name], whole=whole)
                tail = tail if whole else bounded(tail)
                tails.append(tail)
                if tail.offset + len(tail.data) < size:
                    behind.add(tail.writer)
        return tails

    def _claim(self, tx: Transaction, tail: Tail) -> bool:
        self._database.fault("before offset")
        if tail.offset == 0:
            tx.run(_ADD_SEGMENT, name=tail.name, offset=0, state="live")
        if tx.run(_MOVE_OFFSET, segment_name=tail.name, old=tail.offset, new=tail.offset + tail.read.end) != 1:
            return False
        self._note_damage(tx, tail, tail.read.damage)
        return True

    def _note_damage(self, tx: Transaction, tail: Tail, ranges: Iterable[tuple[int, int]]) -> None:
        tx.many(_ADD_DAMAGE, [{"segment": tail.name, "start": tail.offset + a, "stop": tail.offset + b} for a, b in ranges])

    def _define_names(self, tx: Transaction, tails: Sequence[Tail]) -> None:
        for tail in tails:
            for frame in tail.read.frames:
                if frame.kind == NAMED:
                    self.names.define(tx, *read_names(tail.data, frame))

    def _facts(self, tx: Transaction, tail: Tail) -> list[Fact]:
        found = []
        for frame in tail.read.frames:
            if frame.kind in (POINTS, NAMED):
                continue
            if frame.kind == FACT:
                try:
                    found.append(read_fact(tail.data, frame, tail.writer))
                    continue
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    self._note_damage(tx, tail, [(frame.start, frame.stop)])
            body = tail.data[frame.start : frame.stop]
            self._keep(tx, Fact(tail.writer, frame.sequence, frame.run, frame.epoch, f"frame kind {frame.kind}", 0, None), body, "unknown")
        return found

    def _points(self, tx: Transaction, tails: Sequence[Tail]) -> dict[tuple[bytes, int, str], list[Rows]]:
        points: dict[tuple[bytes, int, str], list[Rows]] = {}
        for tail in tails:
            frames: list[Frame] = [frame for frame in tail.read.frames if frame.kind in (POINTS, NAMED)]
            found, nameless = gather(tail.data, frames, lambda shape: self.names.keys_of(tx, shape))
            self._note_damage(tx, tail, [(frame.start, frame.stop) for frame in nameless])
            for (run, epoch), rows in found.items():
                points.setdefault((run, epoch, tail.writer), []).extend(rows)
        return points

    def _begin(self, tail: Tail, frame: Frame, actor: Identity, sender: str, check: Callable[[Transaction], object] | None) -> Fact | None:
        """Apply a large fact but for its last piece, and give that one; None if it has to be applied whole."""
        try:
            fact = read_fact(tail.data, frame, tail.writer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        *before, last = self._applier.pieces(fact)
        for piece in before:
            with self.transaction(actor) as tx:
                if check is not None:
                    check(tx)
                if offset_of(tx, tail.name) != tail.offset:
                    return None  # somebody was faster
                run = ensure_runs(tx, [fact.run]).get(fact.run)
                if run is None or ((limit := superseded_at(fact.epoch, run.takeovers)) is not None and fact.at_ns >= limit):
                    return None  # it was purged, or the fact counts for nothing
                self._applier.apply(tx, [PlacedFact(piece, run, sender)], self.names)
            time.sleep(GIVE_WAY_S)
        return last

    def _apply_facts(
        self, tx: Transaction, facts: Sequence[Fact], runs: dict[bytes, RunRow], sender: str, lasts: Mapping[tuple[str, int], Fact]
    ) -> None:
        counted = []
        for fact in facts:
            run = runs[fact.run]
            limit = superseded_at(fact.epoch, run.takeovers)
            if fact.what not in self._applier.kinds:
                self._keep(tx, fact, encode_fact(fact.what, fact.at_ns, fact.value), "unknown")
            elif limit is not None and fact.at_ns >= limit:
                self._keep(tx, fact, encode_fact(fact.what, fact.at_ns, fact.value), "superseded")
            else:
                counted.append(PlacedFact(lasts.get((fact.writer, fact.sequence), fact), run, sender))
        self._database.fault("before facts")
        for fact in self._applier.apply(tx, counted, self.names):
            self._keep(tx, fact, encode_fact(fact.what, fact.at_ns, fact.value), "unreadable")

    def _apply_points(self, tx: Transaction, run: RunRow, epoch: int, writer: str, groups: list[Rows]) -> None:
        rows = sort_series(groups)
        if has_repeats(tx, run.id, writer):
            if (fresh := without_repeats(tx, run, epoch, rows)) is None:
                return
            rows = fresh
        if (rows.points.steps == NO_STEP).any():
            rows = number_steps(rows, _following(tx, run, epoch, rows.series))
        keep_points(tx, run.no, epoch, rows)
        limit = hidden_from(epoch, run.takeovers)
        counting = rows if limit is None else keep(rows, rows.points.steps < limit)
        if counting is not None:
            update_values(tx, run, epoch, counting, self.names)
        tell_forks(tx, run, epoch, int(rows.points.steps.min()))

    def _keep(self, tx: Transaction, fact: Fact, body: bytes, reason: str) -> None:
        tx.run(
            _KEEP_FACT, writer=fact.writer, sequence=fact.sequence, run=fact.run, epoch=fact.epoch, what=fact.what,
            at_ns=fact.at_ns, body=body, reason=reason,
        )  # fmt: skip


def _following(tx: Transaction, run: RunRow, epoch: int, keys: Iterable[int]) -> dict[int, int]:
    """Give the next free step of series that are logged without steps; after a takeover they go on at its step."""
    known = next_steps(tx, run)
    following = {}
    for key in keys:
        last_epoch, free = known.get(key, (-1, 0))
        restart = starts_at(epoch, last_epoch, run.takeovers)
        following[key] = free if restart is None else restart
    return following


class Meaningless:
    """Gives no fact a meaning: all are kept raw."""

    kinds: Collection[str] = ()

    def apply(self, tx: Transaction, facts: Sequence[PlacedFact], names: Names) -> Sequence[Fact]:
        """Is never given one."""
        return [placed.fact for placed in facts]

    def pieces(self, fact: Fact) -> Sequence[Fact]:
        """Give it whole."""
        return [fact]
