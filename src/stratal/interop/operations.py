"""Operations of imports: what a store has of a source, and the next batch of it, applied exactly once, here or at a server.

At a server the sender must be allowed to write to the run's experiment, or becomes its maker. Authors are those that the source names, as
in a folder; who has imported it stands in its mark, as the server knows them. A file is linked only if the sender has sent its bytes.
"""

from collections.abc import Iterator, Sequence

import msgspec

from stratal.core.errors import Conflict, Misuse, Refused
from stratal.core.ids import RunId, is_id, short, to_bytes
from stratal.core.people import Role
from stratal.interop.batches import MOST_BATCH_BYTES, MOST_SOURCES, Batch, Body, Mark, SourceId, Standing
from stratal.interop.bounds import is_storable
from stratal.interop.foreign import Began, Deleted, ForeignId
from stratal.interop.framing import writer_of
from stratal.interop.report import Tally
from stratal.interop.store import experiment_deleted, find_mark, has_begun, move_mark, run_of
from stratal.registry.facts import EVALUATION, VALIDATION
from stratal.registry.manifests import read_checked_manifest
from stratal.registry.names import check_model_name
from stratal.registry.store import adding
from stratal.registry.store.models import Registered
from stratal.registry.store.rows import numbers_so_far, reserve_numbers
from stratal.store.admitting import Unseen, admitted, tell_made
from stratal.store.arriving import check_body
from stratal.store.database import Transaction
from stratal.store.frames import FACT, NAMED, POINTS, encode_fact, pack_many, read_fact, salt_of, scan
from stratal.store.journal import Tail
from stratal.store.names import find_run, is_buried, offset_of
from stratal.store.operations import operation
from stratal.store.proofs import is_proved
from stratal.store.quotas.holding import check_files, check_grown, check_run
from stratal.store.quotas.rows import usage
from stratal.store.store import Store
from stratal.store.uses import check_named
from stratal.tracking.facts import (
    ALERT,
    ARTIFACT,
    DEFINE,
    EDGE,
    END,
    MEDIA,
    NOTE,
    PARAMS,
    START,
    STATE,
    TAGS,
    ArtifactFact,
    EdgeFact,
    MediaFact,
    Start,
)  # fmt: skip
from stratal.tracking.operations.bounds import check_start
from stratal.tracking.store import deleting

# The largest number of a version that an import may ask for: whoever asks for more leaves too few for those to come. A guess.
MOST_VERSION = 1_000_000
# How far beyond the highest version a number may be, of a model that has versions: else each contributor could use up the numbers.
MOST_BEYOND = 10_000
# What a batch may say of its run: how it began stands apart, and what captured it was not foreign.
_SAID = frozenset((PARAMS, TAGS, NOTE, ARTIFACT, EDGE, STATE, MEDIA, DEFINE, ALERT, END))


class ImportStore:
    """How far sources have been imported, and the step on."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.VIEWER, is_scoped=True)
    def look(self, *, sources: list[SourceId]) -> list[Standing]:
        """Say what is here of some sources. What its reader may not see is as what is not here."""
        if len(sources) > MOST_SOURCES:
            raise Misuse(f"{len(sources):,} sources are too many at once", hint=f"look for at most {MOST_SOURCES}")
        runs: dict[str, RunId] = {}
        with self._store.query() as tx:
            return [_standing(tx, source, runs) for source in sources]

    @operation(needs=Role.VIEWER, is_scoped=True)
    def check_room(self, *, run: RunId, experiment: str, sizes: dict[str, int]) -> None:
        """Raise OverQuota if a run's files, by digest, have no room, before they are sent: `apply` would refuse them. experiment: where the
        run will be, if it is not here. Of an experiment that its reader may not see nothing is said."""
        with self._store.query() as tx:
            row = find_run(tx, to_bytes(run))
            if row is not None and tx.sees is not None and row.experiment not in tx.sees:
                row = None
            home = row.experiment if row is not None and row.experiment else experiment
            if tx.sees is None or home in tx.sees:
                if row is None:
                    check_run(tx, home)
                check_files(tx, home, sizes)

    @operation(needs=Role.CONTRIBUTOR)
    def apply(self, *, run: RunId, batch: Batch) -> Mark:
        """Apply what a source says next. run: as `look` gave it. Key: (source, place). Raises Conflict if another import was faster,
        OverQuota, and Refused for a file that was not sent; then nothing has changed."""
        batch.check()
        source = batch.source
        writer = writer_of(source)
        with self._store.settler.transaction(self._store.actor()) as opened:
            tx = admitted(opened)
            before = find_mark(tx, writer)
            _check_run(tx, run, source.foreign, before)
            start, experiment = _start(tx, run, batch.began)
            if start:
                check_run(tx, experiment)
            mark = Mark(
                place=batch.place,
                digest=batch.digest,
                frames=before.frames + len(start) + len(batch.bodies),
                counts=Tally(batch.counts).stored(),
                run=run,
            )
            if before.place != batch.after:
                before = Mark(place=batch.after)  # which is not there: the mark will not move
            move_mark(tx, writer, before, mark, tool=source.foreign.tool, name=batch.name)
            held_bytes = usage(tx, experiment).size_bytes
            tail = _tail(tx, _segment_of(tx, writer, before), run, [*start, *batch.bodies], before, mark)
            _check_said(tx, tail, tail.read.frames[0].stop if start else 0)
            self._store.settler.apply(tx, [tail])
            check_grown(tx, experiment, held_bytes)
            if batch.deleted is not None:
                _delete(tx, run, batch.deleted)
            tell_made(tx)
        self._store.settler.fold(to_bytes(run))
        return mark


class ImportedModels:
    """Versions of models that were imported."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def register_imported(
        self, *, name: str, digest: str, origin: RunId, path: str, number: int | None = None, last: int = 0
    ) -> Registered:
        """Make a version, or give the one that these bytes are already. Key: (name, digest). digest: of its manifest. origin: the run
        that it came from, which need not be here yet. number: that it had, and has here if no version has it and it is not
        far beyond all that there are; last: the largest that was given there, which no other version will have, within the same bound.

        Where a server asks, the caller has sent the manifest and all files: so nobody is given what was only named."""
        check_model_name(name)
        if not is_storable(path) or len(path) > 1000:
            raise Misuse(f"{path!r:.80} is no path in a run")
        if not 0 <= last <= MOST_VERSION or not (number is None or 0 < number <= MOST_VERSION):
            raise Misuse(f"{number!r:.40} and {last!r:.40} are no numbers of versions", hint=f"they go from 1 to {MOST_VERSION:,}")
        to_bytes(origin)
        manifest = read_checked_manifest(self._store, digest, _check_sent)
        with self._store.command() as tx:
            _check_viewed(tx, origin)
            adding.ensure_model(tx, name)
            most = _most_number(tx, name)
            reserve_numbers(tx, name, min(last, most))  # first: a version that must take another number takes none of its siblings'
            number = number if number is not None and number <= most else None
            version, is_new = adding.register(tx, name, digest, origin, path, manifest, number=number)
        return Registered(version=version, is_new=is_new)


def _most_number(tx: Transaction, name: str) -> int:
    """Give the largest number that an import may take, or reserve: a model without versions is whoever brings them."""
    reserved, highest = numbers_so_far(tx, name)
    return MOST_VERSION if highest is None else max(reserved, highest + MOST_BEYOND)


def _standing(tx: Transaction, source: SourceId, runs: dict[str, RunId]) -> Standing:
    """Say what is here of a source. runs: ids that other sources asked for will have, by the digests of foreign runs."""
    known = runs.setdefault(source.foreign.digest, run_of(tx, source.foreign))
    mark = find_mark(tx, writer_of(source))
    id = RunId(mark.run) if mark.run else known
    row = find_run(tx, to_bytes(id))
    if tx.sees is not None and row is not None and row.experiment not in tx.sees:
        return Standing(mark=Mark(), run=source.foreign.new_id(), has_begun=False, is_purged=False)
    return Standing(mark=mark, run=id, has_begun=has_begun(tx, id), is_purged=is_buried(tx, to_bytes(id)))


def _check_run(tx: Transaction, run: RunId, foreign: ForeignId, mark: Mark) -> None:
    """Raise Conflict, Refused or Misuse unless a run is the one that a foreign id stands for."""
    if not is_id(run) or not run.endswith(foreign.digest):
        raise Misuse(f"{run!r:.40} is no id of that foreign run", hint="ask for it with `look`")
    there = mark.run or run_of(tx, foreign)
    if find_run(tx, to_bytes(there)) is not None and there != run:
        _check_viewed(tx, there)
        raise Conflict("another import has begun this run", hint="import again: only what is new is added")
    if is_buried(tx, to_bytes(run)):
        raise Refused(f"run {short(run)} was purged here, and is not imported again")


def _check_viewed(tx: Transaction, run: str) -> None:
    """Raise Unseen for a run that is here, and that who acts may not view."""
    row = find_run(tx, to_bytes(run))
    if row is not None and tx.may_view is not None and not tx.may_view(f"experiment:{row.experiment}"):
        raise Unseen(tx.actor.name)


def _check_sent(tx: Transaction, digest: str) -> None:
    check_named(tx, digest)
    if tx.may_read is not None and not is_proved(tx, digest, tx.actor.name):
        raise Refused(f"{tx.actor.name} has not sent the bytes of blob {digest[:12]}…", hint="send them first, then register the version")


def _start(tx: Transaction, id: RunId, began: Began | None) -> tuple[list[Body], str]:
    """Give the start of a run that has not begun, and its experiment; what another source of it said first stands."""
    row = find_run(tx, to_bytes(id))
    if began is None or has_begun(tx, id):
        return [], row.experiment if row else ""
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
    check_start(start)
    said = [Body(FACT, encode_fact(START, began.at_ns, start))]
    if (origin := _known(tx, began.forked_from)) is not None:
        edge = EdgeFact(verb="used", target=f"run:{origin}", role="fork")
        said.append(Body(FACT, encode_fact(EDGE, began.at_ns, edge)))
    return said, start.experiment


def _delete(tx: Transaction, id: RunId, said: Deleted) -> None:
    """Put a run into the bin. One that went there with its experiment comes back with it, if that is in the bin here, too."""
    row = find_run(tx, to_bytes(id))
    if row is None:
        return
    if deleting.mark_deleted(tx, row.no, experiment_deleted(tx, row.no) if said.with_experiment else None):
        tx.emit("deleted", f"run:{id}")


def _known(tx: Transaction, foreign: ForeignId | None) -> RunId | None:
    """Give the run that a foreign id stands for, if the store has it."""
    if foreign is None:
        return None
    id = run_of(tx, foreign)
    return id if has_begun(tx, id) else None


def _segment_of(tx: Transaction, writer: str, before: Mark) -> str:
    """Give the segment of a source: one of a name that nobody can ship, for anybody could work out the writer of an import to come."""
    name = f"{writer}-import.log"
    return name if offset_of(tx, name) == before.place else f"{writer}-000000.log"  # of those that earlier releases began


def _tail(tx: Transaction, name: str, id: RunId, bodies: Sequence[Body], before: Mark, mark: Mark) -> Tail:
    """Give frames as if a writer had written them between two places of a source. Raises Misuse, Conflict."""
    if any(body.kind not in (FACT, NAMED, POINTS) for body in bodies) or sum(len(body.data) for body in bodies) > 2 * MOST_BATCH_BYTES:
        raise Misuse("a batch holds facts and points, and not too many of them")
    if offset_of(tx, name) != before.place:  # then nothing would be applied, and nobody told
        raise Conflict("a writer of the same name is elsewhere", hint="tell an admin: somebody ships under the name of an import")
    salt, run = salt_of(name), to_bytes(id)
    data = pack_many(0, before.frames, run, bodies, salt)
    return Tail(name, -1, before.place, len(data), data, scan(data, salt)._replace(end=mark.place - before.place))


def _check_said(tx: Transaction, tail: Tail, after: int) -> None:
    """Raise Misuse for frames past `after` that no import makes, Refused for files that were only named."""
    for frame in tail.read.frames:
        check_body(tail.data, frame)
        if frame.kind != FACT or frame.start < after:
            continue
        fact = read_fact(tail.data, frame, tail.writer)
        if fact.what not in _SAID:
            raise Misuse(f"an import says nothing of kind {fact.what!r:.40}")
        if fact.what == STATE and isinstance(fact.value, dict) and fact.value.get("kind") in (EVALUATION, VALIDATION):
            raise Misuse("an import states nothing that gates read: its authors are the source's", hint="evaluate it here: st.evaluate")
        try:
            digests = list(_named(fact.what, fact.value))
        except msgspec.ValidationError as error:
            raise Misuse(f"a fact of kind {fact.what!r} cannot be read: {error}") from error
        for digest in digests:
            check_named(tx, digest)


def _named(what: str, value: object) -> Iterator[str]:
    """Give the digests of the files that a fact links."""
    if what == ARTIFACT:
        yield msgspec.convert(value, ArtifactFact).digest
    elif what == MEDIA:
        yield from (file.digest for entry in msgspec.convert(value, MediaFact).entries for file in entry.files)
    elif what == EDGE and (edge := msgspec.convert(value, EdgeFact)).is_file and edge.target.startswith("sha256:"):
        yield edge.target.removeprefix("sha256:")
