"""Counting: what experiments hold, kept up to date in the transaction that changes it. O(1) for a run or a file, whatever there is.

A file counts once per experiment, however many of its runs hold it, by the size that its runs say; deleted runs count until they are
purged. What a run used, and what was captured of it, is linked without a size, and counts nothing. Neither does a file for which
there was no room: its row waits, without bytes, until they come. One for which there was room counts from then on, before a run names
it: so many files that are sent at once do not all find the same room.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import bindparam, delete, or_, select, update

from stratal.core.records import to_json
from stratal.store.database import Transaction, insert
from stratal.store.proofs import claims_of, claims_of_runs
from stratal.store.quotas.rows import quotas_said, to_usage
from stratal.store.quotas.rules import BITS, Usage, is_nearly
from stratal.store.quotas.tables import blob, quota, use
from stratal.store.shipments import MOST_BLOB_BYTES
from stratal.store.tables import blob_use, run
from stratal.store.uses import uses_of

log = logging.getLogger(__name__)

_new = insert(use).excluded
_ADD = (
    insert(use)
    .on_conflict_do_update(
        index_elements=["experiment"], set_={"runs": use.c.runs + _new.runs, "size_bytes": use.c.size_bytes + _new.size_bytes}
    )
    .returning(use.c.runs, use.c.size_bytes, use.c.told)
)
_TELL = update(use).where(use.c.experiment == bindparam("of")).values(told=bindparam("now_told"))
_USE = select(use.c.runs, use.c.size_bytes, use.c.told).where(use.c.experiment == bindparam("of"))
_one = (blob.c.experiment == bindparam("of"), blob.c.digest == bindparam("what"))
_FILE = select(blob.c.size_bytes, blob.c.runs, blob.c.is_waiting, blob.c.at_ns).where(*_one)
_ADD_FILE = insert(blob)
_SET_FILE = update(blob).where(*_one).values({name: bindparam(f"now_{name}") for name in ("size_bytes", "runs", "is_waiting", "at_ns")})
_DROP_FILE = delete(blob).where(*_one)
_MOVES = [
    statement
    for table in (use, blob, quota)
    for statement in (
        delete(table).where(table.c.experiment == bindparam("new")),
        update(table).where(table.c.experiment == bindparam("old")).values(experiment=bindparam("new")),
    )
]

_RUNS = select(run.c.id, run.c.experiment)
_USES = select(blob_use.c.digest, blob_use.c.holder).where(blob_use.c.holder.like("run:%"))
_USED = select(use.c.experiment, use.c.runs, use.c.size_bytes).where(or_(use.c.runs != 0, use.c.size_bytes != 0))
_FILES = select(blob.c.experiment, blob.c.digest, blob.c.size_bytes, blob.c.runs, blob.c.is_waiting, blob.c.at_ns)
_UNNAMED = select(blob.c.experiment, blob.c.digest).where(blob.c.runs == 0, blob.c.at_ns < bindparam("before"))
_CLEAR = [delete(use), delete(blob)]
_ADD_USE = insert(use)


class CountedFile(NamedTuple):
    """A file of an experiment. size_bytes: 0 where nobody says it; runs: that hold it, 0 while it is on its way.

    is_waiting: its bytes found no room; at_ns: when room was asked for, before a run named it."""

    size_bytes: int = 0
    runs: int = 0
    is_waiting: int = 0
    at_ns: int = 0

    @property
    def counted_bytes(self) -> int:
        """What it counts."""
        return 0 if self.is_waiting else self.size_bytes


class Counts(NamedTuple):
    """Everything that is counted. used: (runs, bytes) by experiment; files: by experiment and digest."""

    used: dict[str, tuple[int, int]]
    files: dict[tuple[str, str], CountedFile]


def count_start(tx: Transaction, holder: str, before: str, experiment: str) -> bool:
    """A run is in `experiment` from now on, and was in `before`, '' for none; tell whether there was room for it.

    holder: as which it holds files."""
    if before == experiment:
        return True
    for digest in {
        *uses_of(tx, holder),
        *claims_of(tx, holder),
    }:  # that came before the start, or with the run
        file = find_file(tx, before, digest) or CountedFile()
        uncount_file(tx, before, digest)
        count_file(tx, experiment, digest, file.size_bytes)
    if before:
        add_use(tx, before, runs=-1)
    now = add_use(tx, experiment, runs=1)
    return now is None or now.most_runs is None or now.runs <= now.most_runs


def count_purge(tx: Transaction, experiment: str, digests: Iterable[str]) -> None:
    """A run is gone, and held these files."""
    for digest in digests:
        uncount_file(tx, experiment, digest)
    if experiment:
        add_use(tx, experiment, runs=-1)


def count_file(tx: Transaction, experiment: str, digest: str, size_bytes: int, *, is_new: bool = True) -> None:
    """A run of an experiment holds a file. is_new: it did not before. size_bytes: as the run says, 0 if it does not."""
    known, said = find_file(tx, experiment, digest), _possible(size_bytes)
    if known is None:
        return _put(tx, experiment, digest, None, CountedFile(said, 1))
    size = max(known.size_bytes, said)
    if is_new or size != known.size_bytes:
        _put(tx, experiment, digest, known, known._replace(size_bytes=size, runs=known.runs + is_new))
    return None


def uncount_file(tx: Transaction, experiment: str, digest: str) -> None:
    """A run of an experiment holds a file no more."""
    if (known := find_file(tx, experiment, digest)) is None:
        return
    _put(tx, experiment, digest, known, known._replace(runs=known.runs - 1) if known.runs > 1 else None)


def count_asked(tx: Transaction, experiment: str, digest: str, size_bytes: int, *, is_waiting: bool) -> None:
    """The bytes of a file that a run is about to name are about to come; or wait, where there is no room for them, and do not count."""
    known = find_file(tx, experiment, digest)
    if known is None:
        _put(tx, experiment, digest, None, CountedFile(size_bytes, 0, int(is_waiting), tx.now_ns))
    elif known.is_waiting and not is_waiting:
        _put(tx, experiment, digest, known, known._replace(is_waiting=0))


def drop_unnamed(tx: Transaction, *, before_ns: int) -> int:
    """Forget files that were on their way long ago, and that no run has named; give their number."""
    found = tx.rows(_UNNAMED, before=before_ns)
    for experiment, digest in found:
        _put(tx, experiment, digest, find_file(tx, experiment, digest), None)
    return len(found)


def count_rename(tx: Transaction, old: str, new: str) -> None:
    """An experiment has another name, under which there was none."""
    for statement in _MOVES:
        tx.run(statement, old=old, new=new)


def add_use(tx: Transaction, experiment: str, *, runs: int = 0, size: int = 0) -> Usage | None:
    """Add to what an experiment holds; give what it holds then, if anything was said of it."""
    if not (runs or size):
        return None
    found = tx.row(_ADD, experiment=experiment, runs=runs, size_bytes=size, told=0)
    assert found is not None
    return _tell(tx, experiment, *found) if experiment else None


def find_file(tx: Transaction, experiment: str, digest: str) -> CountedFile | None:
    """Give a file of an experiment, None if it has none such."""
    row = tx.row(_FILE, of=experiment, what=digest)
    return CountedFile(*row) if row else None


def tell_nearly(tx: Transaction, experiment: str) -> None:
    """Tell of limits of which most is used, once each, until there is room again."""
    if (found := tx.row(_USE, of=experiment)) is not None:
        _tell(tx, experiment, *found)


def counted(tx: Transaction) -> Counts:
    """Give what the counters say."""
    return Counts(
        {name: (int(runs), int(size)) for name, runs, size in tx.rows(_USED)},
        {(name, digest): CountedFile(*row) for name, digest, *row in tx.rows(_FILES)},
    )


def count_anew(tx: Transaction, sizes: Mapping[tuple[str, str], int]) -> Counts:
    """Count everything that is there. sizes: by experiment and digest, as runs say. O(runs + files)."""
    homes = {f"run:{bytes(id).hex()}": str(experiment) for id, experiment in tx.rows(_RUNS)}
    before = counted(tx).files
    files: dict[tuple[str, str], CountedFile] = {}
    for digest, holder in {*tx.rows(_USES), *claims_of_runs(tx)}:
        if (experiment := homes.get(holder)) is not None:
            place = (experiment, str(digest))
            known = before.get(place, CountedFile())
            # Of a path at which a run put another file later only what was counted then is known.
            size = max(_possible(sizes.get(place, 0)), known.size_bytes)
            files[place] = known._replace(size_bytes=size, runs=files.get(place, CountedFile()).runs + 1)
    files |= {place: file for place, file in before.items() if not file.runs and place not in files}
    used: dict[str, tuple[int, int]] = {}
    for experiment in homes.values():
        runs, size = used.get(experiment, (0, 0))
        used[experiment] = (runs + bool(experiment), size)
    for (experiment, _), file in files.items():
        runs, size = used.get(experiment, (0, 0))
        used[experiment] = (runs, size + file.counted_bytes)
    return Counts({name: each for name, each in used.items() if any(each)}, files)


def wrong_counts(now: Counts, before: Counts) -> list[str]:
    """Give the experiments of which counts differ."""
    wrong = {name for name in {*before.used, *now.used} if before.used.get(name) != now.used.get(name)}
    wrong |= {place[0] for place in {*before.files, *now.files} if before.files.get(place) != now.files.get(place)}
    return sorted(wrong)


def write_counts(tx: Transaction, counts: Counts) -> None:
    """Put counts in place of those that are there."""
    for statement in _CLEAR:
        tx.run(statement)
    tx.many(_ADD_USE, [{"experiment": name, "runs": runs, "size_bytes": size, "told": 0} for name, (runs, size) in counts.used.items()])
    tx.many(_ADD_FILE, [{"experiment": name, "digest": what, **file._asdict()} for (name, what), file in counts.files.items()])


def _possible(size_bytes: int) -> int:
    """Give a size that a file can have for what a run says: many that it cannot have would not fit into a sum."""
    return min(max(size_bytes, 0), MOST_BLOB_BYTES)


def _put(tx: Transaction, experiment: str, digest: str, old: CountedFile | None, new: CountedFile | None) -> None:
    """Put a file in the place of what is known of it, None for nothing, and count the difference."""
    if new is None:
        tx.run(_DROP_FILE, of=experiment, what=digest)
    elif old is None:
        tx.run(_ADD_FILE, experiment=experiment, digest=digest, **new._asdict())
    else:
        tx.run(_SET_FILE, of=experiment, what=digest, **{f"now_{name}": value for name, value in new._asdict().items()})
    add_use(tx, experiment, size=(new.counted_bytes if new else 0) - (old.counted_bytes if old else 0))


def _tell(tx: Transaction, experiment: str, runs: int, size: int, told: int) -> Usage | None:
    said = quotas_said(tx, experiment)
    if not said and not told:
        return None
    now, now_told = to_usage(experiment, runs, size, said), 0
    for what, used, limit in now.parts():
        if not is_nearly(used, limit):
            continue
        now_told |= BITS[what]
        if not told & BITS[what]:
            tx.emit("quota", f"experiment:{experiment}", to_json({"of": what, "used": used, "limit": limit}))
            log.warning("quota nearly used experiment=%s of=%s used=%d limit=%d", experiment, what, used, limit)
    if now_told != told:
        tx.run(_TELL, of=experiment, now_told=now_told)
    return now
