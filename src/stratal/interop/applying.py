"""Applying a source exactly once: its frames and the mark of how far it was read go into the database in one transaction.

A source is settled like the journal of a writer of its own: the offset of that journal is the place in the source. Whoever
is killed loses the batch in hand, and nothing counts twice. It is read here; a store behind a URL is sent batch after batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

from stratal.core.errors import Misuse, OutcomeUnknown
from stratal.core.ids import short
from stratal.core.progress import Progress
from stratal.interop.batches import MOST_BATCH_BYTES, MOST_NAME, MOST_SOURCES, Batch, Mark, SourceId, Standing
from stratal.interop.foreign import Remark
from stratal.interop.framing import Framer
from stratal.interop.operations import ImportStore
from stratal.interop.port import Source
from stratal.interop.report import ImportedRun, Tally
from stratal.store.store import Store

# Times that one batch is sent to a server that is lost in the middle of it.
TRIES = 3


class Applied(NamedTuple):
    """What became of one source. run: None if nothing of it has been imported yet."""

    run: ImportedRun | None
    tally: Tally
    remarks: list[Remark]
    is_unchanged: bool = False


class Standings:
    """What a store has of sources that are applied in turn, asked for many at once."""

    def __init__(self, store: Store, sources: Sequence[Source]) -> None:
        self._imports, self._sources = ImportStore(store), sources
        self._known: dict[SourceId, Standing] = {}
        self._asked = 0

    def of(self, number: int) -> Standing:
        """Give it of a source by its number, ascending."""
        id = _id_of(self._sources[number])
        if number >= self._asked:
            ids = [_id_of(source) for source in self._sources[number : number + MOST_SOURCES]]
            self._known = dict(zip(ids, self._imports.look(sources=ids), strict=True))
            self._asked = number + len(ids)
        # Once only: the second time it is a copy of a source that was applied a moment ago.
        return self._known.pop(id, None) or self._imports.look(sources=[id])[0]


def apply_source(store: Store, source: Source, progress: Progress, standing: Standing | None = None) -> Applied:
    """Apply what a source says past its mark. Raises Conflict if another import of it is under way, StoreDown as any write."""
    return _Applying(store, source, progress, standing or ImportStore(store).look(sources=[_id_of(source)])[0]).run()


def is_unchanged(store: Store, source: Source) -> bool:
    """Tell whether all that a state says was applied already."""
    [standing] = ImportStore(store).look(sources=[_id_of(source)])
    return bool(standing.mark.place) and source.digest(standing.mark.place) == standing.mark.digest


class _Applying:
    """One source on its way into a store."""

    def __init__(self, store: Store, source: Source, progress: Progress, standing: Standing) -> None:
        self._store, self._source, self._progress = store, source, progress
        self._imports = ImportStore(store)
        self._standing, self._mark = standing, standing.mark
        self._tally = Tally.earlier(self._mark.counts)
        self._framer = Framer(store, self._tally)
        self._remarks: list[Remark] = []

    def run(self) -> Applied:
        source, mark = self._source, self._mark
        if self._standing.is_purged:
            remark = Remark(f"{source.name}: its run {short(self._standing.run)} was purged here, and is not imported again")
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
            run = ImportedRun(id=self._standing.run, foreign=self._source.run.run, is_new=not self._standing.has_begun)
        return Applied(run, self._tally, self._remarks, is_unchanged)

    def _commit(self, place: int) -> None:
        said = self._framer.take()
        batch = Batch(
            source=_id_of(self._source),
            name=self._source.name.replace("\0", " ").encode("utf-8", "replace").decode()[:MOST_NAME],
            after=self._mark.place,
            place=place,
            digest=self._source.digest(place),
            counts=self._tally.counts,
            began=None if self._standing.has_begun else said.began,
            bodies=said.bodies,
            deleted=said.deleted,
        )
        if self._store.remote:
            self._mark = self._send(batch, said.files)
        else:
            self._mark = self._imports.apply(run=self._standing.run, batch=batch)
        self._progress(self._source.name, place, self._source.size)

    def _send(self, batch: Batch, files: list[str]) -> Mark:
        """Bring a batch to a server, files first, if there is room for them. If the server is lost in the middle of it, look what became
        of it."""
        if (size := sum(len(body.data) for body in batch.bodies)) > MOST_BATCH_BYTES:
            raise Misuse(
                f"it says {size:,} bytes at one place, and a server takes {MOST_BATCH_BYTES:,}",
                hint="import it where the store lies, with --store FOLDER",
            )
        if files:
            sizes = {digest: self._store.blobs.size_bytes(digest) for digest in files}
            experiment = "" if batch.began is None else batch.began.experiment
            self._imports.check_room(run=self._standing.run, experiment=experiment, sizes=sizes)
            self._store.ship_now(files)
        tries = 0
        while True:
            tries += 1
            try:
                return self._imports.apply(run=self._standing.run, batch=batch)
            except OutcomeUnknown:
                [now] = self._imports.look(sources=[batch.source])
                if (now.mark.place, now.mark.digest) == (batch.place, batch.digest):
                    return now.mark
                if tries >= TRIES:
                    raise


def _id_of(source: Source) -> SourceId:
    return SourceId(foreign=source.run, part=source.part.encode("utf-8", "surrogatepass"))
