"""Opening a database at today's schema. Alembic is loaded only when the file is of another version."""

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from stratal.core.clock import Clock
from stratal.core.errors import Misuse, StoreDown
from stratal.store.database import Database

FOLDER = Path(__file__).parent / "migrations"
TARGET = "head"


def newest_version() -> int:
    """Give the schema version of this release: the highest number of a revision file."""
    return max((int(path.name[:4]) for path in (FOLDER / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")), default=0)


def open_database(path: Path, *, power: bool = False, clock: Clock | None = None) -> Database:
    """Open, make or migrate a database. Raises Misuse if it is of a newer release; an older one is backed up first."""
    database = Database(path, power=power, clock=clock)
    found, wanted = database.version(), newest_version()
    if found > wanted:
        raise Misuse(
            f"the store {path.parent} has schema {found}, this release knows {wanted}",
            hint="install a newer release: pip install -U stratal",
        )
    if found < wanted:
        with _one_at_a_time(path):
            found = database.version()  # another process may have done it while this one waited
            if 0 < found < wanted:
                _back_up(path, found)
            if found < wanted:
                _migrate(database, wanted)
    return database


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with (path.parent / "migrate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _back_up(path: Path, version: int) -> None:
    target = path.with_name(f"{path.stem}-schema{version}.backup.db")
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def _migrate(database: Database, version: int) -> None:
    """Run all missing revisions in one transaction."""
    from alembic.config import Config  # slow to import, and needed once per store and release
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import StaticPool

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    scripts = ScriptDirectory.from_config(config)
    connection = database.connect()
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    event.listen(engine, "begin", lambda began: began.exec_driver_sql("begin immediate"))
    try:
        with EnvironmentContext(config, scripts, fn=lambda revision, _: scripts._upgrade_revs(TARGET, revision)) as context:
            with engine.begin() as began:
                context.configure(connection=began, transactional_ddl=True)
                context.run_migrations()
                began.exec_driver_sql(f"pragma user_version = {version}")
    except sqlite3.Error as error:
        raise StoreDown(f"the database cannot be made: {error}") from error
    finally:
        connection.close()
