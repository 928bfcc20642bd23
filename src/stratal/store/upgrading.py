"""Upgrading: a migration that somebody asks for, and is told of. Opening an older store does the same by itself."""

import contextlib
import sqlite3
from pathlib import Path

from stratal.core.errors import Misuse, NotFound, StoreDown
from stratal.core.records import Record
from stratal.store.migrating import newest_version, open_database
from stratal.store.store import Store

DATABASE = "stratal.db"


class Migration(Record, frozen=True, kw_only=True):
    """found: the schema that the store has, or had; wanted: this release's. backup: the file that keeps it as it was."""

    found: int
    wanted: int
    backup: str | None = None


def check_here(store: Store, what: str) -> None:
    """Raise Misuse for a store behind a server: its folder here is only a spool."""
    if store.remote:
        raise Misuse(
            f"{what} works where the store lies, and this one is {store.remote}", hint="call it on that machine, with --store FOLDER"
        )


def check_folder(store: Store) -> None:
    """Raise Misuse for a store whose database is not in its folder."""
    if store.url.startswith("postgresql:"):
        raise Misuse(
            f"{store.url} is in PostgreSQL: whatever opens it first with this release migrates it, in one transaction",
            hint="pg_dump it before; then `stratal doctor` opens it, and says its schema",
        )


def schema_of(folder: Path) -> int:
    """Give the schema version of a store's database without touching it. Raises NotFound if there is none."""
    path = folder / DATABASE
    if not path.is_file():
        raise NotFound(f"there is no store in {folder}", hint="name it with --store, or see where you are")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return int(connection.execute("pragma user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise StoreDown(f"{path} cannot be read: {error}", hint="restore a backup into a new folder: stratal backup restore") from error


def migrate_store(folder: Path, *, dry_run: bool = False) -> Migration:
    """Bring a store to this release's schema. A copy of its database is made first, and kept.

    Raises Misuse if a newer release made it, StoreDown if it cannot be migrated; then it is as it was."""
    found, wanted = schema_of(folder), newest_version()
    if found == wanted or (dry_run and found < wanted):
        return Migration(found=found, wanted=wanted)
    before = set(folder.glob("*.backup.db"))
    open_database(folder / DATABASE, is_asked=True).close()
    made = sorted(set(folder.glob("*.backup.db")) - before)
    return Migration(found=found, wanted=wanted, backup=str(made[-1]) if made else None)
