"""Rows of media: what runs logged beside numbers, by name and step."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select

from stratal.core.ids import to_bytes
from stratal.core.records import Record, from_json, to_json
from stratal.store.columns import LAST_STEP, Takeover, hidden_from
from stratal.store.database import Row, Transaction, insert
from stratal.store.names import Names, RunRow, find_run
from stratal.store.settling import PlacedFact
from stratal.store.tables import key
from stratal.tracking.facts import MediaEntry, MediaFact
from stratal.tracking.tables import media

_ADD = insert(media)
_HIGHEST = (
    select(media.c.epoch, media.c.step)
    .where(media.c.run == bindparam("run_no"), media.c.key == bindparam("key_id"), media.c.epoch <= bindparam("up_to_epoch"))
    .order_by(media.c.epoch.desc(), media.c.step.desc())
    .limit(1)
)
_EPOCHS = select(media.c.epoch).where(media.c.run == bindparam("run_no")).distinct().order_by(media.c.epoch)
_OF_RUN = (
    select(media.c.step, media.c.epoch, media.c.at_ns, media.c.doc)
    .join_from(media, key, key.c.id == media.c.key)
    .where(media.c.run == bindparam("run_no"))
    .order_by(key.c.name, media.c.step, media.c.at_ns, media.c.id)
)
_NAMED = _OF_RUN.where(key.c.name == bindparam("named"))
# Per epoch, because a takeover hides what older epochs have from some step on.
_COUNTS = (
    select(key.c.name, media.c.kind, func.count(), func.min(media.c.step), func.max(media.c.step))
    .join_from(media, key, key.c.id == media.c.key)
    .where(media.c.run == bindparam("run_no"), media.c.epoch == bindparam("of_epoch"), media.c.step <= bindparam("up_to"))
    .group_by(key.c.name, media.c.kind)
)


class MediaRecord(Record, frozen=True, kw_only=True):
    """One media item of a run, and where it stands."""

    step: int
    at_ns: int
    entry: MediaEntry


class MediaSummary(Record, frozen=True, kw_only=True):
    """What is known of one name: its kinds, how many items, and the first and last step."""

    name: str
    kinds: tuple[str, ...]
    items: int
    first_step: int
    last_step: int


def add_media(tx: Transaction, placed: PlacedFact, body: MediaFact, names: Names) -> None:
    """Add the items of one fact; without a step each name takes its own next one, the same for all items of the call."""
    fact, row, _ = placed
    ids = dict(zip(listed := sorted({entry.name for entry in body.entries}), names.key_ids(tx, listed), strict=True))
    steps = {name: body.step if body.step is not None else _next_step(tx, row, id, fact.epoch) for name, id in ids.items()}
    for entry in body.entries:
        tx.run(
            _ADD, run=row.no, key=ids[entry.name], step=steps[entry.name], epoch=fact.epoch, at_ns=fact.at_ns, kind=entry.kind,
            doc=to_json(entry),
        )  # fmt: skip


def media_of(tx: Transaction, run_id: str, name: str | None = None) -> list[MediaRecord]:
    """List a run's media, of one name or of all, in order of step, time, arrival; without what a takeover hid."""
    row = find_run(tx, to_bytes(run_id))
    if row is None:
        return []
    rows = tx.rows(_OF_RUN, run_no=row.no) if name is None else tx.rows(_NAMED, run_no=row.no, named=name)
    return [_record(found) for found in rows if found[0] <= _last_counting(found[1], row.takeovers)]


def media_summaries(tx: Transaction, run_id: str) -> list[MediaSummary]:
    """List the names under which a run has media."""
    row = find_run(tx, to_bytes(run_id))
    if row is None:
        return []
    found = []
    for (epoch,) in tx.rows(_EPOCHS, run_no=row.no):
        found += tx.rows(_COUNTS, run_no=row.no, of_epoch=epoch, up_to=_last_counting(epoch, row.takeovers))
    return _summed(found)


def _summed(rows: Sequence[Row]) -> list[MediaSummary]:
    found: dict[str, MediaSummary] = {}
    for name, kind, count, first, last in rows:
        was = found.get(name, MediaSummary(name=name, kinds=(), items=0, first_step=first, last_step=last))
        found[name] = MediaSummary(
            name=name,
            kinds=tuple(sorted({*was.kinds, kind})),
            items=was.items + count,
            first_step=min(was.first_step, first),
            last_step=max(was.last_step, last),
        )
    return [found[name] for name in sorted(found)]


def _next_step(tx: Transaction, row: RunRow, key_id: int, epoch: int) -> int:
    """Give the step after the highest that counts; after a takeover that is at most the step from which work went on."""
    free = 0
    while (found := tx.row(_HIGHEST, run_no=row.no, key_id=key_id, up_to_epoch=epoch)) is not None:
        earlier, highest = found
        free = max(free, min(int(highest), _last_counting(earlier, row.takeovers), LAST_STEP - 1) + 1)
        epoch = earlier - 1
    return free


def _last_counting(epoch: int, takeovers: Sequence[Takeover]) -> int:
    limit = hidden_from(epoch, takeovers)
    return LAST_STEP if limit is None else limit - 1


def _record(row: Row) -> MediaRecord:
    step, _, at_ns, doc = row
    return MediaRecord(step=step, at_ns=at_ns, entry=from_json(doc, MediaEntry))
