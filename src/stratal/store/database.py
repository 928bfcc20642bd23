"""The database: SQLAlchemy Core writes the statements, the driver runs them.

Statements are compiled once per object and run through `sqlite3` directly: 58 against 382 µs for a small command.
Laws: 1 a `write` block is one transaction: all of it, or nothing. 2 a `read` block is one snapshot. 3 writers of all
processes wait in the kernel's queue (`flock` on write.lock) and not in SQLite's polling, which starves some of them.
4 after a fork the child has connections and locks of its own.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ClauseElement, Insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import insert as insert  # noqa: PLC0414  # its ON CONFLICT compiles for SQLite too, not the other way round
from sqlalchemy.engine import Dialect

from stratal.core.clock import Clock, SystemClock
from stratal.core.errors import Bug, Conflict, StoreDown, StratalError
from stratal.core.people import Identity
from stratal.store.tables import event

# What a driver hands over has no static type; a room's store turns rows into records at once.
Row = tuple[Any, ...]
Value = object
# Waits for a checkpoint of another process at most; writers queue on the gate before. A guess that is never tight.
BUSY_S = 30
# Compiled statements kept; those of the rooms are a few hundred, searches make up new ones for ever.
MOST_COMPILED = 2000

SQLITE: Dialect = sqlite.dialect(paramstyle="qmark")


class Compiled(NamedTuple):
    """SQL text, the order of its parameters, and the values that the statement itself holds."""

    sql: str
    order: tuple[str, ...]
    fixed: Mapping[str, Value]
    statement: ClauseElement  # keeps the id() under which it is cached from being reused

    def bind(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        """Put values into the statement's order. Raises Bug if one is missing."""
        fixed = self.fixed
        try:
            return tuple([values[name] if name in values else fixed[name] for name in self.order])
        except KeyError as error:
            raise Bug(f"a statement was run without its value {error}: {self.sql[:200]}") from error


# Called with every statement that is compiled; the tests compile each for PostgreSQL, too.
on_compile: list[Callable[[ClauseElement], None]] = []
_compiled: "OrderedDict[tuple[int, tuple[str, ...]], Compiled]" = OrderedDict()
_compiling = threading.Lock()


def compile_statement(statement: ClauseElement, columns: tuple[str, ...] = ()) -> Compiled:
    """Compile for SQLite, once per statement (and columns, for inserts). columns: names of the rows' values, for inserts without VALUES."""
    # One insert may be run with other columns, too; all other statements name theirs.
    place = (id(statement), columns if isinstance(statement, Insert) else ())
    found = _compiled.get(place)
    if found is not None:
        return found
    for watch in on_compile:
        watch(statement)
    made = statement.compile(dialect=SQLITE, column_keys=list(columns) or None, compile_kwargs={"render_postcompile": True})
    order = tuple(made.positiontup or ())  # type: ignore[attr-defined]  # there for positional dialects
    required = {name for bind, name in made.bind_names.items() if bind.required}  # type: ignore[attr-defined]
    given = (made.construct_params(_check=False) if order else None) or {}  # type: ignore[call-arg]
    compiled = Compiled(str(made), order, {name: value for name, value in given.items() if name not in required}, statement)
    with _compiling:
        _compiled[place] = compiled
        while len(_compiled) > MOST_COMPILED:
            _compiled.popitem(last=False)
    return compiled


_ADD_EVENT = insert(event)


class Transaction:
    """What a room's store gets to read and write with. Values are bound by name: `tx.row(stmt, name="churn")`."""

    # The experiments whose runs may be seen, where a server asks for somebody; None: all.
    sees: frozenset[str] | None = None

    def __init__(self, connection: sqlite3.Connection, *, now_ns: int, actor: Identity, is_write: bool) -> None:
        self._connection = connection
        self.now_ns = now_ns
        self.actor = actor
        self.is_write = is_write
        self._told: set[tuple[str, str, str]] = set()

    def rows(self, statement: ClauseElement, **values: Value) -> list[Row]:
        """Run and fetch all rows."""
        return self._run(statement, values).fetchall()

    def row(self, statement: ClauseElement, **values: Value) -> Row | None:
        """Run and fetch the first row, None if there is none."""
        found: Row | None = self._run(statement, values).fetchone()
        return found

    def value(self, statement: ClauseElement, **values: Value) -> Any:
        """Run and fetch the first column of the first row, None if there is none."""
        found = self._run(statement, values).fetchone()
        return found[0] if found else None

    def run(self, statement: ClauseElement, **values: Value) -> int:
        """Run and give the number of rows changed."""
        return self._run(statement, values).rowcount

    def many(self, statement: ClauseElement, rows: Sequence[Mapping[str, Value]]) -> None:
        """Run once per row of values, in one go."""
        if not rows:
            return
        compiled = compile_statement(statement, tuple(rows[0]))
        self._run_many(compiled.sql, [compiled.bind(row) for row in rows])

    def many_tuples(self, statement: ClauseElement, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        """As `many`, for the hottest paths: rows are tuples in the statement's own order, which must be `columns`."""
        if not rows:
            return
        compiled = compile_statement(statement, columns)
        assert compiled.order[: len(columns)] == columns, compiled.order
        self._run_many(compiled.sql, rows)

    def emit(self, kind: str, subject: str, body: str = "{}") -> None:
        """Tell live readers of a change, in its own transaction, once. subject: an id or ref; body: JSON text."""
        if (kind, subject, body) in self._told:
            return
        self._told.add((kind, subject, body))
        self.run(_ADD_EVENT, at_ns=self.now_ns, kind=kind, subject=subject, actor=self.actor.name, body=body)

    def _run(self, statement: ClauseElement, values: Mapping[str, Value]) -> sqlite3.Cursor:
        compiled = compile_statement(statement, tuple(values))
        try:
            return self._connection.execute(compiled.sql, compiled.bind(values))
        except sqlite3.Error as error:
            raise _ours(error) from error

    def _run_many(self, sql: str, rows: Sequence[Row]) -> None:
        try:
            self._connection.executemany(sql, rows)
        except sqlite3.Error as error:
            raise _ours(error) from error


class Database:
    """One SQLite file, its gate, and this process's connections to it."""

    def __init__(self, path: Path, *, power: bool = False, clock: Clock | None = None) -> None:
        self.path = path
        self.power = power
        self.clock = clock or SystemClock()
        # Called at named points of the write protocol; fault tests kill or raise there.
        self.fault: Callable[[str], None] = _no_fault
        # Called when a write was rolled back, before anybody else may write.
        self.on_rollback: list[Callable[[], None]] = []
        self._retired: list[sqlite3.Connection] = []
        self._fresh()
        _living.add(self)

    @contextlib.contextmanager
    def write(self, actor: Identity) -> Iterator[Transaction]:
        """Open the one write transaction of the store. Raises StoreDown if the database cannot be written."""
        with self._one_writer:
            if self._connection is not None and self._connection.in_transaction:
                raise Bug("a transaction was opened inside another one", hint="pass the outer one on")
            with self._gate():
                connection = self._writer()
                try:
                    with _errors():
                        connection.execute("begin immediate")
                    yield Transaction(connection, now_ns=self.clock.now_ns(), actor=actor, is_write=True)
                    self.fault("before commit")
                    if self._connection is not connection:
                        raise Bug("this process was forked inside a transaction, which is its parent's", hint="fork before or after it")
                    with _errors():
                        connection.execute("commit")
                except BaseException:  # also an interrupt right after `begin`
                    if self._connection is connection and connection.in_transaction:
                        connection.execute("rollback")
                    for forget in self.on_rollback:
                        forget()
                    raise
                self.fault("after commit")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the writers of all processes out, for work that is no transaction of this class: backups, migrations."""
        with self._one_writer, self._gate():
            yield

    @contextlib.contextmanager
    def read(self, actor: Identity) -> Iterator[Transaction]:
        """Open a read snapshot; it begins with the first statement. Snapshots of threads are apart from each other."""
        readers, connection = self._readers, self._take_reader()
        try:
            with _errors():
                connection.execute("begin")
            yield Transaction(connection, now_ns=self.clock.now_ns(), actor=actor, is_write=False)
        finally:
            if self._readers is readers and connection.in_transaction:
                connection.execute("rollback")
            if readers is self._retired:
                connection.close()
            else:
                readers.append(connection)  # not to those of a child that was forked meanwhile

    def checkpoint(self) -> bool:
        """Move the write-ahead log into the database file; True if all of it is there, and synced."""
        with self._one_writer, _errors():
            busy, log, done = self._writer().execute("pragma wal_checkpoint(passive)").fetchone()
        return not busy and log == done

    def version(self) -> int:
        """Give the schema's version, 0 for a new file."""
        with self._one_writer, _errors():
            return int(self._writer().execute("pragma user_version").fetchone()[0])

    def close(self) -> None:
        """Close this process's connections."""
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
        self._one_writer = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._gate_fd = -1

    def _after_fork(self) -> None:
        """Start anew in a child. Copies of the parent's idle connections are closed: SQLite counts locks per process, and
        would take those that only the parent holds for the child's own. Busy ones are left alone and never closed.
        """
        for connection in (*self._readers, self._connection):
            if connection is not None and not connection.in_transaction:
                connection.close()
            _orphans.append(connection)
        _orphans.append(self._readers)
        if self._gate_fd >= 0:
            os.close(self._gate_fd)
        self._fresh()

    def _writer(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

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


_living: "weakref.WeakSet[Database]" = weakref.WeakSet()
_orphans: list[object] = []


_forking: list["Database"] = []


def _before_fork() -> None:
    """Wait for writes of other threads: a child would inherit half a transaction, and a lock that nobody gives back."""
    for database in sorted(_living, key=id):
        database._one_writer.acquire()
        _forking.append(database)


def _after_fork_in_parent() -> None:
    while _forking:
        _forking.pop()._one_writer.release()


def _after_fork_in_child() -> None:
    while _forking:
        _forking.pop()._after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _no_fault(point: str) -> None:
    """Do nothing at this point of the protocol."""


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _ours(error) from error


def _ours(error: sqlite3.Error | OSError) -> StratalError:
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict(f"the store refused a row: {error}", hint="read the present state and decide again")
    if isinstance(error, sqlite3.DatabaseError | OSError):
        return StoreDown(f"the database cannot be used: {error}", hint="free the disk or mend the file; nothing has changed")
    return Bug(f"the driver was used wrongly: {error}")
