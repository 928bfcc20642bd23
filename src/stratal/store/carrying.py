"""Carrying: a snapshot of a store in a folder becomes one on PostgreSQL, for a team that has outgrown one machine.

Laws: 1 all rows of all tables are there, or none: they are counted before the one transaction is committed. 2 nothing is written over:
the database holds only what a new one does. 3 files are verified on the way, and there before any row names them.
Both databases have the same columns (tables.py), so a row needs no conversion but for U+0000, which PostgreSQL's texts cannot hold.
"""

import contextlib
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy.exc import SQLAlchemyError

from stratal.core.clock import SystemClock
from stratal.core.errors import Bug, Conflict, Misuse, OutcomeUnknown, StoreDown
from stratal.core.progress import Progress, silent
from stratal.store.backups import DATABASE, Restored, Snapshot, errors_of, lacks, take_blobs, verified
from stratal.store.migrating import newest_version, open_database
from stratal.store.store import Store
from stratal.store.upgrading import check_here

if TYPE_CHECKING:  # whoever has no such store needs no driver
    from stratal.store.postgres import PostgresDatabase

# What the driver says of a copy that was cut stands in the error; without a handler it would be written to stderr, too.
logging.getLogger("psycopg").addHandler(logging.NullHandler())
# Rows between two words of progress.
_TOLD_ROWS = 1000
# What a new database says of itself, which is not the snapshot's to say.
_ITS_OWN = ("about", "alembic_version")
# What each new database holds one row of: the head of an empty log, and MLflow's experiment 0. The snapshot's take their place.
_FIRST = ("registry_audit_head", "mlflow_experiment")
# What strangers make a server write that began there too soon: how often they were turned away. The snapshot's takes its place, too.
_OF_STRANGERS = ("access_refusal",)


class _Table(NamedTuple):
    name: str
    columns: tuple[str, ...]
    rows: int

    @property
    def quoted(self) -> str:
        return f'"{self.name}"'


def restore_into(
    target: Path, store: Store, *, name: str | None = None, allow_lacking: bool = False, progress: Progress = silent
) -> Restored:
    """Fill an empty store on PostgreSQL with a snapshot, by default the newest one. Takes time by the size of the database.

    Raises Misuse for a store in a folder, Conflict if it holds something, Damaged if the backup is not what was written: then no row is
    there. Journals stay behind: stop who writes to the old store before its last backup.
    """
    check_here(store, "stratal backup restore")
    clock = SystemClock()
    began_s = clock.monotonic_s()
    if store.address is None:
        raise Misuse(f"{store.url} is a folder", hint="name the folder itself: stratal backup restore BACKUP FOLDER")
    snapshot, source = verified(target, name)
    engine = cast("PostgresDatabase", store.database).engine()
    with _opened(snapshot, source) as rows:
        tables, is_committing = _in_order(rows), False
        try:
            with engine.begin() as began:
                _check_is_new(began, tables, store.url)
            lacking = take_blobs(target, source, snapshot, store.blobs, progress)
            if lacking and not allow_lacking:
                raise lacks(snapshot, lacking)
            with engine.begin() as began:  # nobody else begins something here meanwhile
                began.exec_driver_sql(f"lock table {', '.join(table.quoted for table in tables)} in share row exclusive mode")
                _check_is_new(began, tables, store.url)
                _carry(rows, began, tables, progress)
                is_committing = True
        except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
            said = str(getattr(error, "orig", None) or error).partition("\n")[0]
            if is_committing and getattr(error, "connection_invalidated", False):
                raise OutcomeUnknown(
                    f"{store.url} was lost while all of the snapshot was committed: {said}",
                    hint="restore once more: if it says that something is there, all of it is",
                ) from error
            raise StoreDown(
                f"{store.url} does not take the snapshot: {said}", hint="nothing of it is there; mend this, then again"
            ) from error
        finally:
            engine.dispose()
    took_s = clock.monotonic_s() - began_s
    return Restored(snapshot=snapshot, folder=store.url, blobs=snapshot.blobs - len(lacking), lacking=tuple(lacking), took_s=took_s)


def _check_is_new(began: Any, tables: Sequence[_Table], url: str) -> None:
    there = {str(row[0]) for row in began.exec_driver_sql("select table_name from information_schema.tables where table_schema = 'public'")}
    if missing := {table.name for table in tables} - there:
        raise Bug(f"the database lacks tables: {', '.join(sorted(missing))}")
    for table in tables:
        if table.name not in _OF_STRANGERS and _count(began, table) > (table.name in _FIRST):
            raise Conflict(f"{url} holds something already ({table.name})", hint="make a new database: createdb; nothing is written over")


def _count(began: Any, table: _Table) -> int:
    return cast("int", began.exec_driver_sql(f"select count(*) from {table.quoted}").scalar())


@contextlib.contextmanager
def _opened(snapshot: Snapshot, source: Path) -> Iterator[sqlite3.Connection]:
    """Open the snapshot's database where it lies, or, if it is of an older release, a copy that is brought to this one's schema."""
    with contextlib.ExitStack() as leaving:
        if snapshot.schema == newest_version():
            where = f"{(source / DATABASE).absolute().as_uri()}?immutable=1"  # nothing is written beside it: a backup may be read-only
        else:
            copy = Path(leaving.enter_context(tempfile.TemporaryDirectory(prefix="stratal-restore-"))) / DATABASE
            with errors_of(copy):
                shutil.copyfile(source / DATABASE, copy)
            open_database(copy).close()
            where = copy.as_uri()
        yield leaving.enter_context(contextlib.closing(sqlite3.connect(where, uri=True)))


def _carry(rows: sqlite3.Connection, began: Any, tables: Sequence[_Table], progress: Progress) -> None:
    done, total = 0, sum(table.rows for table in tables)
    for name in (*_FIRST, *_OF_STRANGERS):
        began.exec_driver_sql(f"delete from {name}")
    for table in tables:
        columns = ", ".join(f'"{column}"' for column in table.columns)
        with began.connection.driver_connection.cursor().copy(f"copy {table.quoted} ({columns}) from stdin") as copy:
            for row in rows.execute(f"select {columns} from {table.quoted}"):
                copy.write_row([value.replace("\0", "\u2400") if isinstance(value, str) else value for value in row])
                if (done := done + 1) % _TOLD_ROWS == 0:
                    progress("database", done, total)
        if (found := _count(began, table)) != table.rows:
            raise Bug(f"of {table.rows} rows of {table.name} {found} came")
    progress("database", done, total)
    _count_on(began)


def _in_order(rows: sqlite3.Connection) -> list[_Table]:
    """List the snapshot's tables, each after those that its rows name."""
    named = [
        str(row[0])
        for row in rows.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite\\_%' escape '\\'")
    ]
    graph = {
        name: {str(row[2]) for row in rows.execute(f'pragma foreign_key_list("{name}")')} - {name} for name in named if name not in _ITS_OWN
    }
    return [_looked_at(rows, name) for name in TopologicalSorter(graph).static_order()]


def _looked_at(rows: sqlite3.Connection, name: str) -> _Table:
    columns = tuple(str(row[1]) for row in rows.execute(f'pragma table_info("{name}")'))
    return _Table(name, columns, cast("int", rows.execute(f'select count(*) from "{name}"').fetchone()[0]))


def _count_on(began: Any) -> None:
    """Let numbers that the database gives go on after the highest that came."""
    counted = "select table_name, column_name from information_schema.columns where table_schema = 'public' and is_identity = 'YES'"
    for table, column in began.exec_driver_sql(counted).all():
        highest = f'(select max("{column}") from "{table}")'
        began.exec_driver_sql(f"select setval(pg_get_serial_sequence('\"{table}\"', '{column}'), {highest}) where {highest} > 0")
