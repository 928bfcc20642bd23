"""The database in one file: SQLite, its gate, and this process's connections to it.

Writers of all processes wait in the kernel's queue (`flock` on write.lock) and not in SQLite's polling, which starves some.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect

from stratal.core.clock import Clock
from stratal.core.errors import Bug, Conflict, StoreDown, StratalError
from stratal.core.people import Identity
from stratal.store.database import Database
from stratal.store.deadlines import ended_by, too_long
from stratal.store.statements import Compiled, Row, Transaction

# Waits for a checkpoint of another process at most; writers queue on the gate before. A guess that is never tight.
BUSY_S = 30
# Between two looks for events: a look costs 0.05 ms, and nobody sees the difference on a page.
POLL_S = 0.05

SQLITE: Dialect = sqlite.dialect(paramstyle="qmark")


class _Driver:
    dialect = SQLITE

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, compiled: Compiled, values: Row) -> sqlite3.Cursor:
        try:
            return self._connection.execute(compiled.sql, values)
        except sqlite3.Error as error:
            raise _ours(error) from error

    def run_together(self, asked: Sequence[tuple[Compiled, Row]]) -> list[list[Row]]:
        return [self.run(compiled, values).fetchall() for compiled, values in asked]

    def run_many(self, compiled: Compiled, rows: Sequence[Row]) -> None:
        try:
            self._connection.executemany(compiled.sql, rows)
        except sqlite3.Error as error:
            raise _ours(error) from error


class SqliteDatabase(Database):
    """One SQLite file."""

    _connection: sqlite3.Connection | None
    _readers: list[sqlite3.Connection]

    def __init__(self, path: Path, *, power: bool = False, clock: Clock | None = None) -> None:
        self.path = path
        self.power = power
        self._retired: list[sqlite3.Connection] = []
        super().__init__(name=str(path.parent), clock=clock)

    @contextlib.contextmanager
    def write(self, actor: Identity) -> Iterator[Transaction]:
        with self._one_writer:
            if self._connection is not None and self._connection.in_transaction:
                raise Bug("a transaction was opened inside another one", hint="pass the outer one on")
            with self._gate():
                connection = self._writer()
                try:
                    with _errors():
                        connection.execute("begin immediate")
                    yield Transaction(_Driver(connection), now_ns=self.clock.now_ns(), actor=actor, is_write=True)
                    self.fault("before commit")
                    if self._connection is not connection:
                        raise Bug("this process was forked inside a transaction, which is its parent's", hint="fork before or after it")
                    with _errors():
                        connection.execute("commit")
                except BaseException:  # also an interrupt right after `begin`
                    if self._connection is connection and connection.in_transaction:
                        connection.execute("rollback")
                    self.forget()
                    raise
                self.fault("after commit")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._one_writer, self._gate():
            yield

    @contextlib.contextmanager
    def read(self, actor: Identity) -> Iterator[Transaction]:
        with self._reader() as connection:
            with _errors():
                connection.execute("begin")
            yield Transaction(_Driver(connection), now_ns=self.clock.now_ns(), actor=actor, is_write=False)

    @contextlib.contextmanager
    def look(self, actor: Identity) -> Iterator[Transaction]:
        with self._reader() as connection:
            yield Transaction(_Driver(connection), now_ns=self.clock.now_ns(), actor=actor, is_write=False)

    def checkpoint(self) -> bool:
        """Move the write-ahead log into the database file; True if all of it is there, and synced."""
        with self._one_writer, _errors():
            busy, log, done = self._writer().execute("pragma wal_checkpoint(passive)").fetchone()
        return not busy and log == done

    def version(self) -> int:
        with self._one_writer, _errors():
            return int(self._writer().execute("pragma user_version").fetchone()[0])

    def wait_for_events(self, most_s: float, *, heard: int) -> None:
        time.sleep(min(most_s, POLL_S))  # a file tells nobody

    def close(self) -> None:
        with self._one_writer:
            self._retired, connection = self._readers, self._connection
            if self._gate_fd >= 0:
                os.close(self._gate_fd)
            self._fresh()
            while self._retired:  # one that is in use is closed by who uses it
                self._retired.pop().close()
            if connection is not None:
                connection.close()

    def connect(self) -> sqlite3.Connection:
        """Open one more connection, set up as all are."""
        with _errors():
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
            for pragma in (
                "journal_mode=wal",
                f"synchronous={'full' if self.power else 'normal'}",
                f"busy_timeout={BUSY_S * 1000}",
                "foreign_keys=on",
                "wal_autocheckpoint=16000",  # 64 MiB of log: a checkpoint syncs twice; at the default of 4 MiB that was a third of a trial
                "cache_size=-65536",
            ):
                connection.execute(f"pragma {pragma}")
        return connection

    def _fresh(self) -> None:
        self._connection = None
        self._readers = []
        self._gate_fd = -1

    def _orphan(self) -> None:
        """Copies of the parent's idle connections are closed: SQLite counts locks per process, and
        would take those that only the parent holds for the child's own. Busy ones are left alone and never closed.
        """
        for connection in (*self._readers, self._connection):
            if connection is not None and not connection.in_transaction:
                connection.close()
            _orphans.append(connection)
        _orphans.append(self._readers)
        if self._gate_fd >= 0:
            os.close(self._gate_fd)

    def _writer(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that nobody else reads by."""
        readers, connection = self._readers, self._take_reader()
        try:
            with ended_by(connection.interrupt):
                yield connection
        except sqlite3.OperationalError as error:  # of a row that was fetched
            raise _ours(error) from error
        finally:
            if self._readers is readers and connection.in_transaction:
                connection.execute("rollback")
            if readers is self._retired:
                connection.close()
            else:
                readers.append(connection)  # not to those of a child that was forked meanwhile

    def _take_reader(self) -> sqlite3.Connection:
        with contextlib.suppress(IndexError):
            return self._readers.pop()
        return self.connect()

    @contextlib.contextmanager
    def _gate(self) -> Iterator[None]:
        if self._gate_fd < 0:
            with _errors():
                self._gate_fd = os.open(self.path.parent / "write.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        gate = self._gate_fd
        try:
            with _errors():
                fcntl.flock(gate, fcntl.LOCK_EX)
            yield
        finally:
            if self._gate_fd == gate:  # else this is a child that was forked inside: it has none
                fcntl.flock(gate, fcntl.LOCK_UN)


_orphans: list[object] = []


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _ours(error) from error


def _ours(error: sqlite3.Error | OSError) -> StratalError:
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
        return too_long()
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict(f"the store refused a row: {error}", hint="read the present state and decide again")
    if isinstance(error, sqlite3.DatabaseError | OSError):
        spoilt = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        hint = "see stratal doctor; stratal backup restore makes a new store" if spoilt else "free the disk, then try again"
        return StoreDown(f"the database cannot be used: {error}", hint=f"{hint}; nothing has changed")
    return Bug(f"the driver was used wrongly: {error}")
