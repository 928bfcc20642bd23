"""Collecting garbage: blobs that nobody needs, what dead processes left half-written, dead journals, and events of long ago.

Laws (tested): 1 a blob that a row of uses names, a claim, or a kept fact, is never collected. 2 a blob that was put or renewed within
the grace period is never collected, whoever settles its fact when. 3 a writer that saves the very content that is being collected has
it, or writes it anew. 4 whatever dies in the middle, nothing that is needed is gone, and the next collection finishes.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import bindparam, select

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Misuse
from stratal.core.records import Record, to_json
from stratal.store.arriving import count_old_parts, drop_old_parts
from stratal.store.events import count_old_events, drop_old_events
from stratal.store.files.blobs import Digest, Leftover
from stratal.store.files.disk import unlink_unless_held
from stratal.store.proofs import drop_old_proofs
from stratal.store.quotas.counting import drop_unnamed
from stratal.store.store import Store
from stratal.store.tables import blob_use
from stratal.store.uses import kept_blobs, used_blobs

# Events are for who follows them, and for webhooks; the registry's log is elsewhere. A million rows is some 150 MB: a guess.
EVENTS_KEPT = 1_000_000
# Parts of segments that were sealed are compared by a sender that died before it deleted its file. A guess: it is back within a month.
PARTS_S = 30 * 86_400
# Blobs that are looked at again and unlinked while nobody can save one: a millisecond or two.
_BATCH = 200

_IS_USED = select(blob_use.c.digest).where(blob_use.c.digest == bindparam("one")).limit(1)


class Collected(Record, frozen=True, kw_only=True):
    """What was collected, or would be. blobs: digests; size_bytes: theirs and of what was left half-written; leftovers: files.

    parts: rows that say how segments of other machines arrived."""

    dry_run: bool
    blobs: tuple[Digest, ...]
    leftovers: tuple[str, ...]
    size_bytes: int
    journals: int
    events: int
    parts: int


def collect(store: Store, *, grace_s: float, events_s: float, events_kept: int = EVENTS_KEPT, dry_run: bool) -> Collected:
    """Collect what nobody needs and is older than `grace_s`, events older than `events_s`,
    and all but the newest `events_kept`. dry_run: only say what would go.

    grace_s: longer than the time between the saving of a file and the fact or row that names it, anywhere.
    Raises StoreDown if the store cannot be written.
    """
    if not (grace_s >= 0 and events_s >= 0 and events_kept >= 0):
        raise Misuse("an age or a number below zero is none", hint="give 0 or more")
    now_ns = store.clock.now_ns()
    cutoff_ns, events_ns = now_ns - int(grace_s * SECOND_NS), now_ns - int(events_s * SECOND_NS)
    with store.query() as tx:  # settles first: what journals name is needed
        used = used_blobs(tx) | kept_blobs(tx)
        events = count_old_events(tx, before_ns=events_ns, keep=events_kept)
        parts = count_old_parts(tx, before_ns=now_ns - PARTS_S * SECOND_NS)
    blobs_ns = cutoff_ns + store.blobs.clock_shift_ns()
    unused = [(found.digest, found.size_bytes) for found in store.blobs.entries() if found.young_ns < blobs_ns and found.digest not in used]
    halves, segments = list(store.blobs.leftovers(older_than_ns=blobs_ns)), list(_segments_never_shown(store, cutoff_ns))
    journals = 0
    if not dry_run:
        batches = [unused[start : start + _BATCH] for start in range(0, len(unused), _BATCH)]
        unused = [found for batch in batches for found in _unlink(store, batch, blobs_ns)]
        halves = [half for half in halves if _drop_half(store, half, blobs_ns)]
        segments = [(path, size) for path, size in segments if _unlink_segment(store, path)]
        journals = store.settler.sweep(at_once=True)
    done = Collected(
        dry_run=dry_run,
        blobs=tuple(digest for digest, _ in unused),
        leftovers=(*(f"blobs/{half.name}" for half in halves), *(f"journal/{path.name}" for path, _ in segments)),
        size_bytes=sum(size for _, size in (*unused, *segments)) + sum(half.size_bytes for half in halves),
        journals=journals,
        events=events,
        parts=parts,
    )
    if not dry_run:
        with store.command() as tx:
            drop_old_events(tx, before_ns=events_ns, keep=events_kept)
            drop_old_proofs(tx)
            drop_old_parts(tx, before_ns=now_ns - PARTS_S * SECOND_NS)
            drop_unnamed(tx, before_ns=cutoff_ns)
            tx.emit("collected", "store", to_json({"blobs": len(done.blobs), "size_bytes": done.size_bytes, "events": events}))
    return done


def _unlink(store: Store, batch: Sequence[tuple[Digest, int]], cutoff_ns: int) -> list[tuple[Digest, int]]:
    """Unlink those of a batch that are still old and unused; nobody can put or renew a blob meanwhile."""
    gone = []
    with store.blobs.alone(), store.database.read(store.actor()) as tx:
        for digest, size in batch:
            if tx.value(_IS_USED, one=digest) is None and store.blobs.drop(digest, older_than_ns=cutoff_ns):
                gone.append((digest, size))
                store.database.fault("after a blob")
    return gone


def _segments_never_shown(store: Store, cutoff_ns: int) -> Iterator[tuple[Path, int]]:
    for path in sorted(store.journals.glob("*.log.new")):
        with contextlib.suppress(FileNotFoundError):
            if (found := path.stat()).st_mtime_ns < cutoff_ns:
                yield path, found.st_size


def _drop_half(store: Store, half: Leftover, cutoff_ns: int) -> bool:
    store.database.fault("before a leftover")
    return store.blobs.drop_leftover(half.name, older_than_ns=cutoff_ns)


def _unlink_segment(store: Store, path: Path) -> bool:
    store.database.fault("before a leftover")
    return unlink_unless_held(path)  # held: a segment whose writer lives after all
