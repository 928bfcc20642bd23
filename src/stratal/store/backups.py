"""Backups of a store, while others write: snapshots of the database over one pool of blobs, in a folder of its own.

    BACKUP/blobs/ab/cdef...        each blob once, whichever snapshots need it; never written over
    BACKUP/snapshots/20261127T211904Z/{stratal.db, blobs.txt, manifest.json}

Laws (tested, with kills and flipped bits): 1 what was acknowledged before a backup began is in it. 2 a snapshot is there whole or not
at all, and a backup that dies leaves older ones as they were. 3 each blob is verified as it is copied, both ways; a spoilt one is said,
and never put over a good one. 4 a restore gives the store of the snapshot or leaves nothing, and writes over nothing.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from stratal.core.clock import SystemClock, to_utc
from stratal.core.errors import Conflict, Damaged, Misuse, NotFound, StoreDown
from stratal.core.progress import Progress, silent
from stratal.core.records import Record, from_json, to_json
from stratal.store.events import latest_seq
from stratal.store.files.blobs import Blobs, Digest, digest_of_file, is_digest
from stratal.store.journal import sync_folder
from stratal.store.sqlite import SqliteDatabase
from stratal.store.store import Store
from stratal.store.upgrading import check_here
from stratal.store.uses import kept_blobs, used_blobs
from stratal.version import __version__

FORMAT = 1
DATABASE, MANIFEST, BLOBS = "stratal.db", "manifest.json", "blobs.txt"
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}(\.[0-9]{1,6})?Z")
_PIECE = 1 << 20


class Snapshot(Record, frozen=True, kw_only=True):
    """One backup of a store. digest: of the database's file; latest: the number of its last event."""

    name: str
    at_ns: int
    store: str
    release: str
    schema: int
    digest: str
    size_bytes: int
    blobs: int
    blob_bytes: int
    latest: int
    format: int = FORMAT


class BackedUp(Record, frozen=True, kw_only=True):
    """What a backup did. copied: blobs that were not there; missing, damaged: those that the store lost; dropped: old snapshots."""

    snapshot: Snapshot
    copied: int
    copied_bytes: int
    missing: tuple[Digest, ...]
    damaged: tuple[Digest, ...]
    dropped: tuple[str, ...]
    took_s: float


class Restored(Record, frozen=True, kw_only=True):
    """What a restore did. lacking: blobs that the backup does not have whole, where that was allowed."""

    snapshot: Snapshot
    folder: str
    blobs: int
    lacking: tuple[Digest, ...]
    took_s: float


def back_up(store: Store, target: Path, *, keep: int | None = None, progress: Progress = silent) -> BackedUp:
    """Back a store up into a folder, beside what writes to it; blobs that are there already are not copied again.

    keep: how many snapshots stay, the newest; None: all. Raises Misuse if the folder is of something else, Conflict if another backup runs
    there, StoreDown if it cannot be written.
    """
    if keep is not None and keep < 1:
        raise Misuse(f"{keep} snapshots cannot be kept", hint="keep 1 or more")
    check_here(store, "stratal backup")
    if not isinstance(source := store.database, SqliteDatabase):
        raise Misuse(
            f"{store.url} is in PostgreSQL, which is backed up by its own tools",
            hint="pg_dump, or base backups, for the database, and after it a copy of its files' place: docs/postgres.md",
        )
    began_s = store.clock.monotonic_s()
    target = _prepared(store, target)
    with _alone(target), errors_of(target):
        for left in (*(target / "snapshots").glob(".*"), *(target / "blobs").glob("*/.*")):  # of backups that died
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        store.settle()  # all that was acknowledged up to now
        with store.database.read(store.actor()) as tx:
            for digest in filter(is_digest, used_blobs(tx) | kept_blobs(tx)):
                store.blobs.renew(digest)  # young, and so no collection takes one that the snapshot is about to name
        aside = target / "snapshots" / f".{secrets.token_hex(8)}"
        aside.mkdir()
        snapshot, needed = _copy_database(store, source, aside, progress)
        store.database.fault("after the database")
        sizes, copied, copied_bytes, missing, damaged = _copy_blobs(store, needed, target / "blobs", progress)
        (aside / BLOBS).write_text("".join(f"{digest} {size}\n" for digest, size in sizes.items()))
        snapshot = msgspec.structs.replace(snapshot, blobs=len(sizes), blob_bytes=sum(sizes.values()))
        (aside / MANIFEST).write_text(to_json(snapshot))
        for path in aside.iterdir():
            _sync(path)
        sync_folder(aside)
        store.database.fault("before the name")
        aside.rename(target / "snapshots" / snapshot.name)
        sync_folder(target / "snapshots")
        dropped = _drop_old(target, keep) if keep is not None else ()
    took_s = store.clock.monotonic_s() - began_s
    return BackedUp(
        snapshot=snapshot, copied=copied, copied_bytes=copied_bytes, missing=tuple(missing), damaged=tuple(damaged), dropped=dropped,
        took_s=took_s,
    )  # fmt: skip


def snapshots(target: Path) -> list[Snapshot]:
    """List the snapshots of a backup, the newest first. Raises NotFound if there is no backup."""
    folder = target / "snapshots"
    if not folder.is_dir():
        raise NotFound(f"{target} is no backup of a store", hint="make one: stratal backup make FOLDER")
    found = [from_json((path / MANIFEST).read_text(), Snapshot) for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda each: each.name, reverse=True)


def verify(target: Path, name: str | None = None, *, progress: Progress = silent) -> tuple[Snapshot, list[Digest]]:
    """Read all of a snapshot, and give the blobs that are missing or spoilt. Raises Damaged if its database is."""
    snapshot, folder = verified(target, name)
    listed = _told_of(_listed(folder), snapshot, progress)
    return snapshot, [digest for digest in listed if not _is_whole(_place(target / "blobs", digest), digest)]


def restore(target: Path, folder: Path, *, name: str | None = None, allow_lacking: bool = False, progress: Progress = silent) -> Restored:
    """Make a store of a snapshot, by default the newest one, in a folder that is not there or empty.

    allow_lacking: go on without blobs that the backup does not have whole. Raises Conflict if there is something, Damaged if the backup is
    not what was written; then nothing is left.
    """
    clock = SystemClock()
    began_s = clock.monotonic_s()
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is not empty", hint="restore into a new folder; nothing is ever written over")
    snapshot = _chosen(target, name)
    source = target / "snapshots" / snapshot.name
    aside = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
    with errors_of(folder):
        aside.mkdir(parents=True)
        try:
            if _copy(source / DATABASE, aside / DATABASE, lambda done: progress("database", done, snapshot.size_bytes)) != snapshot.digest:
                raise Damaged(f"the database of the snapshot {snapshot.name} is not what was written", hint="choose another one, with --at")
            lacking = _bring_blobs(target / "blobs", _told_of(_listed(source), snapshot, progress), aside / "blobs")
            if lacking and not allow_lacking:
                raise lacks(snapshot, lacking)
            (aside / "journal").mkdir()
            for path in aside.iterdir():
                _sync(path)
            sync_folder(aside)
            if folder.exists():
                folder.rmdir()  # it was empty
            aside.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    took_s = clock.monotonic_s() - began_s
    return Restored(snapshot=snapshot, folder=str(folder), blobs=snapshot.blobs - len(lacking), lacking=tuple(lacking), took_s=took_s)


def verified(target: Path, name: str | None) -> tuple[Snapshot, Path]:
    """Give a snapshot and its folder. Raises Damaged if its database is not what was written."""
    snapshot = _chosen(target, name)
    folder = target / "snapshots" / snapshot.name
    if digest_of_file(folder / DATABASE) != snapshot.digest:
        raise Damaged(f"the database of the snapshot {snapshot.name} is not what was written", hint="choose another snapshot, with --at")
    return snapshot, folder


def take_blobs(target: Path, source: Path, snapshot: Snapshot, blobs: Blobs, progress: Progress) -> list[Digest]:
    """Put a snapshot's blobs into a place of blobs, verified; give those that are not there whole."""
    lacking = []
    for digest in _told_of(_listed(source), snapshot, progress):
        place = _place(target / "blobs", digest)
        if not _is_whole(place, digest):
            lacking.append(digest)
        elif not blobs.has(digest):
            blobs.put_file(place)
    return lacking


def lacks(snapshot: Snapshot, lacking: Sequence[Digest]) -> Damaged:
    """Give the error of a backup that does not have all blobs of a snapshot whole."""
    return Damaged(
        f"the backup lacks {len(lacking)} of {snapshot.blobs} blobs, or has them spoilt: {lacking[0][:12]}…",
        hint="choose another snapshot with --at; or take what there is with --allow-lacking",
    )


def _prepared(store: Store, target: Path) -> Path:
    target = target.expanduser().absolute()
    if target == store.folder or store.folder in target.parents:
        raise Misuse(f"{target} lies in the store itself", hint="choose another disk: what is lost with the store is no backup")
    if target.exists() and not target.is_dir():
        raise Misuse(f"{target} is a file", hint="a backup is a folder")
    if target.exists() and any(target.iterdir()) and not (target / "snapshots").is_dir():
        raise Misuse(f"{target} holds something else", hint="choose a new folder, or one with a backup")
    with errors_of(target):
        for part in ("snapshots", "blobs"):
            (target / part).mkdir(parents=True, exist_ok=True)
    return target


def _copy_database(store: Store, of: SqliteDatabase, aside: Path, progress: Progress) -> tuple[Snapshot, set[str]]:
    """Copy the database as one read snapshot, and read out of the copy what that very snapshot needs."""
    path = aside / DATABASE
    with contextlib.closing(of.connect()) as source, contextlib.closing(sqlite3.connect(path)) as copy:
        progress("database", 0, 1)  # in one step: one of several begins anew whenever somebody writes
        source.backup(copy)
        progress("database", 1, 1)
    database = SqliteDatabase(path, clock=store.clock)
    with database.read(store.actor()) as tx:
        used, perhaps, latest = used_blobs(tx), kept_blobs(tx), latest_seq(tx)
    schema = database.version()
    database.close()
    with contextlib.closing(sqlite3.connect(path)) as copy:
        copy.execute("pragma journal_mode=delete")
        if (said := copy.execute("pragma quick_check").fetchone()[0]) != "ok":
            raise Damaged(f"the database is spoilt: {said}", hint="see `stratal doctor`; restore an older backup into a new folder")
    now_ns = store.clock.now_ns()
    snapshot = Snapshot(
        name=to_utc(now_ns).strftime("%Y%m%dT%H%M%S.%fZ"), at_ns=now_ns, store=str(store.folder), release=__version__, schema=schema,
        digest=digest_of_file(path), size_bytes=path.stat().st_size, blobs=0, blob_bytes=0, latest=latest,
    )  # fmt: skip
    return snapshot, {digest for digest in used if is_digest(digest)} | {digest for digest in perhaps if store.blobs.has(digest)}


def _copy_blobs(
    store: Store, needed: set[str], pool: Path, progress: Progress
) -> tuple[dict[Digest, int], int, int, list[Digest], list[Digest]]:
    sizes: dict[Digest, int] = {}
    missing: list[Digest] = []
    damaged: list[Digest] = []
    copied = copied_bytes = 0
    for done, digest in enumerate(map(Digest, sorted(needed)), 1):
        progress("files", done, len(needed))
        place = _place(pool, digest)
        if not store.blobs.has(digest):
            if not place.exists():
                missing.append(digest)
                continue
        elif not place.exists() or place.stat().st_size != store.blobs.size_bytes(digest):
            place.parent.mkdir(exist_ok=True)
            aside = place.with_name(f".{secrets.token_hex(8)}")
            if _copy(store.blobs.path(digest), aside) != digest:
                aside.unlink()
                damaged.append(digest)
                continue
            aside.chmod(0o444)
            store.database.fault("before a blob")
            aside.rename(place)
            copied, copied_bytes = copied + 1, copied_bytes + place.stat().st_size
        sizes[digest] = place.stat().st_size
    return sizes, copied, copied_bytes, missing, damaged


def _bring_blobs(pool: Path, listed: Iterable[Digest], blobs: Path) -> list[Digest]:
    """Copy a snapshot's blobs, verified; give those that are not there whole."""
    blobs.mkdir()
    lacking = []
    for digest in listed:
        target = _place(blobs, digest)
        target.parent.mkdir(exist_ok=True)
        place = _place(pool, digest)
        if not place.is_file() or _copy(place, target) != digest:
            target.unlink(missing_ok=True)
            lacking.append(digest)
            continue
        target.chmod(0o444)
    return lacking


def _drop_old(target: Path, keep: int) -> tuple[str, ...]:
    """Drop snapshots but the newest, then blobs that none needs."""
    found = snapshots(target)
    for old in found[keep:]:
        place = target / "snapshots" / old.name
        place.rename(aside := place.with_name(f".{old.name}"))
        shutil.rmtree(aside)
    if len(found) > keep:
        needed = {digest for each in found[:keep] for digest, _ in _listed(target / "snapshots" / each.name)}
        for path in (target / "blobs").glob("[0-9a-f][0-9a-f]/*"):
            if path.parent.name + path.name not in needed:
                path.unlink()
    return tuple(old.name for old in found[keep:])


def _chosen(target: Path, name: str | None) -> Snapshot:
    found = snapshots(target)
    chosen = [each for each in found if name is None or each.name.startswith(name)]
    if not chosen:
        there = ", ".join(each.name for each in found[:5]) or "none"
        raise NotFound(f"{target} has no snapshot {name or ''}".rstrip(), hint=f"there are: {there}")
    if chosen[0].format > FORMAT:
        raise Misuse(
            f"the snapshot {chosen[0].name} was made by stratal {chosen[0].release}, in a newer format", hint="install a newer release"
        )
    return chosen[0]


def _listed(folder: Path) -> Iterator[tuple[Digest, int]]:
    for line in (folder / BLOBS).read_text().splitlines():
        digest, _, size = line.partition(" ")
        yield Digest(digest), int(size)


def _told_of(listed: Iterable[tuple[Digest, int]], snapshot: Snapshot, progress: Progress) -> Iterator[Digest]:
    """Give digests, and tell after each how many bytes of files are done."""
    done = 0
    for digest, size in listed:
        yield digest
        done += size
        progress("files", done, snapshot.blob_bytes)


def _place(pool: Path, digest: str) -> Path:
    return pool / digest[:2] / digest[2:]


def _is_whole(place: Path, digest: str) -> bool:
    return place.is_file() and digest_of_file(place) == digest


def _copy(source: Path, target: Path, told: Callable[[int], object] = lambda _done: None) -> str:
    """Copy a file, synced, and give the digest of what was read. told: of the bytes that are copied."""
    hashing, done = sha256(), 0
    with source.open("rb") as reading, target.open("xb") as writing:
        while piece := reading.read(_PIECE):
            hashing.update(piece)
            writing.write(piece)
            told(done := done + len(piece))
        writing.flush()
        os.fdatasync(writing.fileno())
    return hashing.hexdigest()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    with (target / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another backup into {target} is running", hint="wait for it") from None
        yield


@contextlib.contextmanager
def errors_of(place: Path) -> Iterator[None]:
    """Be StoreDown for what goes wrong with files at a place that is written."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreDown(
            f"{place} cannot be written: {reason}", hint="make room or mend the disk, then call again; nothing is half there"
        ) from error
