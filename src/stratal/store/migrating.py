"""Opening a database at today's schema. Alembic is loaded only when the file is of another version."""

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from stratal.core.clock import Clock, to_utc
from stratal.core.errors import Misuse, StoreDown
from stratal.core.people import Identity
from stratal.store.database import Database, insert
from stratal.store.sqlite import SqliteDatabase
from stratal.store.tables import about
from stratal.version import __version__

if TYPE_CHECKING:
    from stratal.store.postgres import PostgresDatabase

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "migrations"
TARGET = "head"
# The schema that began to say which release made it.
_ABOUT_SINCE = 10
_RELEASE = select(about.c.value).where(about.c.name == "release")
_NEW_ABOUT = insert(about)
_SAY_ABOUT = _NEW_ABOUT.on_conflict_do_update(index_elements=["name"], set_={"value": _NEW_ABOUT.excluded.value})
_HINT = "make room or mend the disk, then call again; the store is as it was"


def newest_version() -> int:
    """Give the schema version of this release: the highest number of a revision file."""
    return max((int(path.name[:4]) for path in (FOLDER / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")), default=0)


def open_database(path: Path, *, power: bool = False, clock: Clock | None = None, is_asked: bool = False) -> SqliteDatabase:
    """Open, make or migrate a database. An older one is backed up first, into a file beside it, which is kept.

    is_asked: somebody asked for the migration, and need not be warned that it was done.

    Raises Misuse if it is of a newer release, and says which one. Raises StoreDown if it cannot be migrated, for want of room for
    example: then it is as it was.
    """
    database = SqliteDatabase(path, power=power, clock=clock)
    found, wanted = database.version(), newest_version()
    if found > wanted:
        raise _too_new(database, found, wanted)
    if found < wanted:
        with _one_at_a_time(path):
            found = database.version()  # another process may have done it while this one waited
            if found < wanted:
                _bring_up(database, found, wanted, log.info if is_asked else log.warning)
    return database


def open_service(dsn: str, name: str, *, clock: Clock | None = None) -> "PostgresDatabase":
    """Open, make or migrate a database of a PostgreSQL server. Its backups are its own; a migration that fails changes nothing.

    Raises Misuse if it is of a newer release, and says which one. Raises StoreDown if it cannot be reached or migrated.
    """
    try:
        from stratal.store.postgres import PostgresDatabase  # whoever has no such store needs no driver
    except ImportError as error:
        raise Misuse(f"a store on PostgreSQL needs psycopg: {error}", hint="pip install 'stratal[postgres]'") from error

    database = PostgresDatabase(dsn, name=name, clock=clock)
    found, wanted = database.version(), newest_version()
    if found > wanted:
        raise _too_new(database, found, wanted)
    if found < wanted:
        with database.alone():
            found = database.version()  # another process may have done it while this one waited
            if found < wanted:
                _migrate(database.engine(), wanted)
                log.info("the store %s was migrated from schema %d to %d", name, found, wanted)
    return database


def _bring_up(database: SqliteDatabase, found: int, wanted: int, say: Callable[..., None]) -> None:
    """Back up and migrate while nobody else writes, processes of the older release included."""
    with database.alone():
        backup = _back_up(database, found) if found else None
        try:
            _migrate(_engine(database), wanted)
        except BaseException:
            if backup is not None:
                backup.unlink(missing_ok=True)  # the database is as it was
            raise
    if backup is not None:
        say("the store %s was migrated from schema %d to %d; as it was it is kept in %s", database.name, found, wanted, backup.name)


def _too_new(database: Database, found: int, wanted: int) -> Misuse:
    try:
        with database.read(Identity(name="stratal")) as tx:
            release = tx.value(_RELEASE)
    except StoreDown:  # the tables of another time may be others
        release = None
    finally:
        database.close()
    by = f", made by stratal {release}" if release else ""
    wants = f"'stratal>={release}'" if release else "-U stratal"
    return Misuse(
        f"the store {database.name} has schema {found}{by}; this is stratal {__version__}, which knows schema {wanted}",
        hint=f"install a newer release: pip install {wants}",
    )


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    try:
        with (path.parent / "migrate.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise StoreDown(f"the database cannot be migrated: {error.strerror}", hint=_HINT) from error


def _back_up(database: SqliteDatabase, version: int) -> Path:
    """Copy the database, whole and synced, or leave nothing. Under the time of now: an older backup is never overwritten."""
    path = database.path
    now = to_utc(database.clock.now_ns()).strftime("%Y%m%dT%H%M%S")
    target = path.with_name(f"{path.stem}-schema{version}-{now}.backup.db")
    aside = target.with_suffix(".new")
    try:
        with contextlib.closing(database.connect()) as source, contextlib.closing(sqlite3.connect(aside)) as copy:
            source.backup(copy)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.rename(target)
    except (sqlite3.Error, OSError) as error:
        raise StoreDown(f"the database cannot be backed up before it is migrated: {error}", hint=_HINT) from error
    finally:
        for left in (aside, aside.with_name(f"{aside.name}-journal")):
            left.unlink(missing_ok=True)
    return target


def _engine(database: SqliteDatabase) -> Engine:
    connection = database.connect()
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    event.listen(engine, "begin", lambda began: began.exec_driver_sql("begin immediate"))
    return engine


def _migrate(engine: Engine, version: int) -> None:
    """Run all missing revisions in one transaction, and close the engine."""
    from alembic.config import Config  # slow to import, and needed once per store and release
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    scripts = ScriptDirectory.from_config(config)
    try:
        with EnvironmentContext(config, scripts, fn=lambda revision, _: scripts._upgrade_revs(TARGET, revision)) as context:
            with engine.begin() as began:
                context.configure(connection=began, transactional_ddl=True)
                context.run_migrations()
                if engine.dialect.name == "sqlite":
                    began.exec_driver_sql(f"pragma user_version = {version}")
                if version >= _ABOUT_SINCE:
                    began.execute(_SAY_ABOUT, [{"name": "release", "value": __version__}, {"name": "schema", "value": str(version)}])
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise StoreDown(f"the database cannot be made or migrated: {getattr(error, 'orig', error)}", hint=_HINT) from error
    finally:
        engine.dispose()
