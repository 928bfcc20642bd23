"""Examining: what may be wrong with a store, each with what to do. Mends nothing, and never opens for writing what is spoilt."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select

from stratal.core.clock import SECOND_NS
from stratal.core.errors import NotFound, StoreDown, StratalError
from stratal.core.records import Record
from stratal.store.collecting import collect
from stratal.store.files.blobs import Digest, digest_of_file, is_digest
from stratal.store.journal import living_writers, open_segments, segments
from stratal.store.migrating import newest_version
from stratal.store.proofs import old_claims
from stratal.store.store import Store
from stratal.store.tables import damage, event, segment
from stratal.store.upgrading import DATABASE, check_here, schema_of
from stratal.store.uses import used_blobs

GOOD, NOTE, BAD = "good", "note", "bad"
# Free space that is little: a database that is migrated is copied first. And clocks that are off by more confuse orders.
_LITTLE_BYTES, _LITTLE_SHARE, _OFF_S = 1 << 30, 0.05, 60.0
_SOME = 10
# A fact and the file that it names come in one pass; after a day something is wrong, or somebody tries.
_LATE_NS = 86_400 * SECOND_NS

_DAMAGE = select(damage.c.segment, func.sum(damage.c.stop - damage.c.start)).group_by(damage.c.segment).order_by(damage.c.segment)
_OFFSETS = select(segment.c.name, segment.c.offset)
_LATEST_NS = select(func.max(event.c.at_ns))


class Check(Record, frozen=True, kw_only=True):
    """What was looked at. state: good, note or bad; details: some of the things that are meant."""

    name: str
    state: str
    says: str
    hint: str = ""
    details: tuple[str, ...] = ()


def examine(store: Store, *, deep: bool = False) -> Iterator[Check]:
    """Look at everything, one after the other. deep: read each file of the store, and compare it with its digest."""
    check_here(store, "stratal doctor")
    if store.address is not None:
        yield from _examine_elsewhere(store, deep=deep)
        return
    schema = check_schema(store.folder)
    yield schema
    yield check_disk(store.folder)
    yield check_machine_clock(store.folder)
    if schema.name == "database":
        return
    integrity = check_integrity(store.folder)
    yield integrity
    if integrity.state == BAD or schema.state != GOOD:
        return  # what is spoilt is not written to; what is of another release is not migrated unasked
    settled = _check_settling(store)
    yield settled
    if settled.state == BAD:
        return
    yield _check_damage(store)
    yield _check_times(store)
    yield _check_sent(store)
    yield from _examine_files(store, deep=deep)


def _examine_elsewhere(store: Store, *, deep: bool) -> Iterator[Check]:
    """Look at a store in PostgreSQL, whose pages its own server looks after: what is on this machine, and what the rows say."""
    try:
        says = f"{store.url} answers, schema {store.database.version()}"
        yield Check(name="database", state=GOOD, says=says)
    except StratalError as error:
        yield Check(name="database", state=BAD, says=error.message, hint=error.hint)
        return
    yield check_disk(store.folder)
    yield check_machine_clock(store.folder)
    settled = _check_settling(store)
    yield settled
    if settled.state != BAD:
        yield _check_damage(store)
        yield _check_times(store)
        yield _check_sent(store)
        yield from _examine_files(store, deep=deep)


def _examine_files(store: Store, *, deep: bool) -> Iterator[Check]:
    """Look at the files, if the place where they lie is there."""
    try:
        store.blobs.look()
    except StratalError as error:
        yield Check(name="files", state=BAD, says=error.message, hint=error.hint)
        return
    yield _check_needed(store, deep=deep)
    yield _check_garbage(store)


def check_schema(folder: Path) -> Check:
    """Compare the schema with this release's."""
    try:
        found, wanted = schema_of(folder), newest_version()
    except (NotFound, StoreDown) as error:
        if isinstance(error, NotFound) and (waiting := _waiting_bytes(folder)):
            says = f"none yet: {waiting:,} bytes wait in the journals of processes that ended early"
            return Check(name="database", state=NOTE, says=says, hint="whatever reads them makes it: stratal runs; then look again")
        return Check(name="database", state=BAD, says=error.message, hint=error.hint)
    if found == wanted:
        return Check(name="schema", state=GOOD, says=f"schema {found}")
    if found < wanted:
        return Check(name="schema", state=NOTE, says=f"schema {found}, this release has {wanted}", hint="stratal migrate")
    return Check(name="schema", state=BAD, says=f"schema {found}, this release knows {wanted}", hint="pip install -U stratal")


def _waiting_bytes(folder: Path) -> int:
    journal = folder / "journal"
    return sum((journal / name).stat().st_size for name in segments(journal))


def check_disk(folder: Path) -> Check:
    """See how much room there is."""
    usage, counts = shutil.disk_usage(folder), os.statvfs(folder)
    says = f"{usage.free / (1 << 30):,.1f} GiB free of {usage.total / (1 << 30):,.1f}"
    if usage.free < _LITTLE_BYTES or usage.free < _LITTLE_SHARE * usage.total:
        return Check(name="disk", state=NOTE, says=f"only {says}", hint="stratal gc frees what nobody needs; or make room")
    if counts.f_files and counts.f_favail < 10_000:
        return Check(
            name="disk", state=NOTE, says=f"only {counts.f_favail:,} more files fit", hint="stratal gc; or a file system with more inodes"
        )
    return Check(name="disk", state=GOOD, says=says)


def check_machine_clock(folder: Path) -> Check:
    """Compare the clock of the machine with that of the disk."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
            off_s = abs(time.time() - os.fstat(file.fileno()).st_mtime)
    except OSError as error:
        return Check(
            name="folder", state=BAD, says=f"{folder} cannot be written: {error.strerror}", hint="check its owner, rights and mount"
        )
    if off_s > _OFF_S:
        return Check(
            name="clock", state=BAD, says=f"the disk's clock is {off_s:.0f} s off", hint="set the clocks (NTP); leases rely on them"
        )
    return Check(name="clock", state=GOOD, says="machine and disk agree")


def check_integrity(folder: Path) -> Check:
    """Let SQLite look at every page, and at references between rows."""
    path = folder / DATABASE
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            said = [str(row[0]) for row in connection.execute(f"pragma integrity_check({_SOME})")]
            dangling = connection.execute("pragma foreign_key_check").fetchmany(_SOME)
    except sqlite3.Error as error:
        said, dangling = [str(error)], []
    if said != ["ok"] or dangling:
        details = tuple(text for text in said if text != "ok") + tuple(f"{table} row {row} names no {of}" for table, row, of, _ in dangling)
        return Check(
            name="database", state=BAD, says="the database is spoilt", details=details,
            hint="stop its writers, keep the folder, and restore a backup into a new one: stratal backup restore",
        )  # fmt: skip
    return Check(name="database", state=GOOD, says="each page and reference is whole")


def _check_settling(store: Store) -> Check:
    names = segments(store.journals)
    with open_segments(store.journals, names) as opened:
        size = sum(os.fstat(fd).st_size for fd in opened.values())
    try:
        store.settle()
    except StratalError as error:
        return Check(name="journals", state=BAD, says=f"what was logged cannot be settled: {error.message}", hint=error.hint)
    with store.database.read(store.actor()) as tx:
        offsets = {name: int(at) for name, at in tx.rows(_OFFSETS)}
    living = living_writers(store.journals)
    torn = []
    with open_segments(store.journals, segments(store.journals)) as opened:
        for name, fd in opened.items():
            left = os.fstat(fd).st_size - offsets.get(name, 0)
            if left > 0 and name[:16] not in living:
                torn.append(f"{name}: {left} bytes at its end are no whole call")
    says = f"{len(names):,} segments, {size / (1 << 20):.1f} MiB, all settled; {len(living)} processes write"
    if torn:
        return Check(
            name="journals", state=NOTE, says=f"{says}; {len(torn)} end in the middle of a call that never returned",
            details=tuple(torn[:_SOME]),
            hint="nothing that was acknowledged is missing; stratal gc takes them away",
        )  # fmt: skip
    return Check(name="journals", state=GOOD, says=says)


def _check_damage(store: Store) -> Check:
    with store.database.read(store.actor()) as tx:
        found = [(str(name), int(lost)) for name, lost in tx.rows(_DAMAGE)]
    if not found:
        return Check(name="damage", state=GOOD, says="no journal was ever spoilt")
    return Check(
        name="damage", state=BAD,
        says=f"{sum(lost for _, lost in found):,} bytes of {len(found)} journals were spoilt on disk, and passed over",
        details=tuple(f"{name}: {lost} bytes" for name, lost in found[:_SOME]),
        hint="what else they held is kept; look at the disk (smartctl, dmesg), and at runs of that time",
    )  # fmt: skip


def _check_times(store: Store) -> Check:
    with store.database.read(store.actor()) as tx:
        ahead_s = (int(tx.value(_LATEST_NS) or 0) - tx.now_ns) / SECOND_NS
    if ahead_s > _OFF_S:
        return Check(
            name="times", state=NOTE, says=f"the last event is {ahead_s:,.0f} s in the future", hint="a clock was wrong: set it (NTP)"
        )
    return Check(name="times", state=GOOD, says="nothing is of the future")


def _check_needed(store: Store, *, deep: bool) -> Check:
    with store.database.read(store.actor()) as tx:
        needed = sorted(map(Digest, filter(is_digest, used_blobs(tx))))
    missing = [digest for digest in needed if not store.blobs.has(digest)]
    spoilt = [d for d in needed if store.blobs.has(d) and digest_of_file(store.blobs.path(d)) != d] if deep else []
    if missing or spoilt:
        return Check(
            name="files", state=BAD, says=f"of {len(needed):,} files that are needed {len(missing):,} are missing, {len(spoilt):,} spoilt",
            details=tuple([f"missing {d}" for d in missing] + [f"spoilt {d}" for d in spoilt])[:_SOME],
            hint="copy them out of a backup: BACKUP/blobs has them under the same names",
        )  # fmt: skip
    looked = "each as it was stored" if deep else "there; --deep reads them, too"
    return Check(name="files", state=GOOD, says=f"{len(needed):,} files that are needed: {looked}")


def _check_sent(store: Store) -> Check:
    with store.database.read(store.actor()) as tx:
        waiting = old_claims(tx, before_ns=tx.now_ns - _LATE_NS)
    if not waiting:
        return Check(name="sent", state=GOOD, says="whoever named a file has sent it")
    return Check(
        name="sent", state=NOTE, says=f"{len(waiting):,} files that were named more than a day ago were not sent, and are not read there",
        details=tuple(f"{sender} named {digest} in {holder}" for digest, holder, sender in waiting[:_SOME]),
        hint="whoever named a file saves it once more, in any run; or purge those runs",
    )  # fmt: skip


def _check_garbage(store: Store) -> Check:
    found = collect(store, grace_s=86_400, events_s=90 * 86_400, dry_run=True)
    count = len(found.blobs) + len(found.leftovers)
    if count == 0:
        return Check(name="garbage", state=GOOD, says="nothing that nobody needs")
    return Check(
        name="garbage", state=NOTE, says=f"{count:,} files ({found.size_bytes / (1 << 20):,.1f} MiB) that nobody needs", hint="stratal gc"
    )
