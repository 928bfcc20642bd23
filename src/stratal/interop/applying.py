"""Applying a source exactly once: its frames and the mark of how far it was read go into the database in one transaction.

A source is settled like the journal of a writer of its own: the offset of that journal is the place in the source. Whoever
is killed loses the batch in hand, and nothing counts twice.
"""

from collections.abc import Callable
from typing import NamedTuple

from stratal.core.ids import RunId, short, to_bytes
from stratal.interop.foreign import Began, ForeignId, Remark
from stratal.interop.framing import Body, Framer, writer_of
from stratal.interop.port import Source
from stratal.interop.report import ImportedRun, Tally
from stratal.interop.store import Mark, find_mark, has_begun, move_mark, run_of
from stratal.store.database import Transaction
from stratal.store.frames import FACT, encode_fact, pack, salt_of, scan
from stratal.store.journal import Tail
from stratal.store.names import is_buried
from stratal.store.store import Store
from stratal.tracking.facts import EDGE, START, EdgeFact, Start

# Told after each transaction: the source, how far it is, and where it ends.
Progress = Callable[[str, int, int], None]


class Applied(NamedTuple):
    """What became of one source. run: None if nothing of it has been imported yet."""

    run: ImportedRun | None
    tally: Tally
    remarks: list[Remark]
    is_unchanged: bool = False


def apply_source(store: Store, source: Source, progress: Progress) -> Applied:
    """Apply what a source says past its mark. Raises Conflict if another import of it is under way, StoreDown as any write."""
    return _Applying(store, source, progress).run()


def is_unchanged(store: Store, source: Source) -> bool:
    """Tell whether all that a state says was applied already."""
    with store.query() as tx:
        mark = find_mark(tx, writer_of(source.run.tool, source.run.digest, source.part))
    return bool(mark.place) and source.digest(mark.place) == mark.digest


class _Applying:
    """One source on its way into a store."""

    def __init__(self, store: Store, source: Source, progress: Progress) -> None:
        self._store, self._source, self._progress = store, source, progress
        self._writer = writer_of(source.run.tool, source.run.digest, source.part)
        with store.query() as tx:
            self._mark = find_mark(tx, self._writer)
            id = RunId(self._mark.run) if self._mark.run else run_of(tx, source.run)
            self._was_new = not has_begun(tx, id)
            self._purged = id if is_buried(tx, to_bytes(id)) else ""
        self._tally = Tally.earlier(self._mark.counts)
        self._framer = Framer(store, self._tally)
        self._remarks: list[Remark] = []

    def run(self) -> Applied:
        source, mark = self._source, self._mark
        if self._purged:
            remark = Remark(f"{source.name}: its run {short(self._purged)} was purged here, and is not imported again")
            return Applied(None, Tally(), [remark], is_unchanged=True)
        if source.is_state:
            return self._replace()
        if mark.place and (source.size < mark.place or source.digest(mark.place) != mark.digest):
            self._remarks.append(
                Remark(
                    f"{source.name} is not what it was: its first part was rewritten since it was imported; nothing of it was added."
                    " Restore it, or import it into another store",
                    is_loss=True,
                )
            )
            return self._applied()
        if mark.place and source.size == mark.place:
            return self._applied(is_unchanged=True)
        self._read()
        return self._applied()

    def _replace(self) -> Applied:
        """Say a state again, if it has changed. What it said before is not counted a second time."""
        if self._mark.place:
            if self._source.digest(self._mark.place) == self._mark.digest:
                return self._applied(is_unchanged=True)
            self._tally.counts.clear()
        self._read()
        return self._applied()

    def _read(self) -> None:
        source, mark = self._source, self._mark
        place = mark.place
        for said in source.read(mark.place):
            if isinstance(said, Remark):
                self._remarks.append(said)
                continue
            if said.place <= mark.place:
                continue
            if said.place > place:  # never between what is said at one place
                if self._framer.is_full:
                    self._commit(place)
                place = said.place
            for statement in said.statements:
                self._framer.say(statement)
        if place > self._mark.place:
            self._commit(place)

    def _applied(self, *, is_unchanged: bool = False) -> Applied:
        run = None
        if self._mark.run:
            run = ImportedRun(id=RunId(self._mark.run), foreign=self._source.run.run, is_new=self._was_new)
        return Applied(run, self._tally, self._remarks, is_unchanged)

    def _commit(self, place: int) -> None:
        began, bodies = self._framer.take()
        digest = self._source.digest(place)
        with self._store.settler.transaction(self._store.actor()) as tx:
            id = run_of(tx, self._source.run)
            start = self._start(tx, id, began)
            mark = Mark(
                place=place,
                digest=digest,
                frames=self._mark.frames + len(start) + len(bodies),
                counts=self._tally.stored(),
                run=id,
            )
            move_mark(tx, self._writer, self._mark, mark, tool=self._source.run.tool, name=self._source.name)
            self._store.settler.apply(tx, [self._tail(id, [*start, *bodies], place)])
        self._mark = mark
        self._store.settler.fold(to_bytes(id))
        self._progress(self._source.name, place, self._source.size)

    def _start(self, tx: Transaction, id: RunId, began: Began | None) -> list[Body]:
        """Give the start of a run that has not begun; what another source of it said first stands."""
        if began is None or has_begun(tx, id):
            return []
        start = Start(
            experiment=began.experiment,
            name=began.name,
            kind=began.kind,
            group=began.group,
            job_type=began.job_type,
            parent=run_of(tx, began.parent) if began.parent else None,
            user=began.user,
            capture=began.capture,
        )
        said = [Body(FACT, encode_fact(START, began.at_ns, start))]
        if (origin := _known(tx, began.forked_from)) is not None:
            edge = EdgeFact(verb="used", target=f"run:{origin}", role="fork")
            said.append(Body(FACT, encode_fact(EDGE, began.at_ns, edge)))
        return said

    def _tail(self, id: RunId, bodies: list[Body], place: int) -> Tail:
        name = f"{self._writer}-000000.log"
        salt, run = salt_of(name), to_bytes(id)
        data = b"".join(pack(body.kind, 0, self._mark.frames + n, run, body.data, salt) for n, body in enumerate(bodies))
        offset = self._mark.place
        return Tail(name, -1, offset, len(data), data, scan(data, salt)._replace(end=place - offset))


def _known(tx: Transaction, foreign: ForeignId | None) -> RunId | None:
    """Give the run that a foreign id stands for, if the store has it."""
    if foreign is None:
        return None
    id = run_of(tx, foreign)
    return id if has_begun(tx, id) else None
