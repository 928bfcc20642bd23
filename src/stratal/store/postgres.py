"""The database as a service: PostgreSQL, and this process's connections to it.

Writers of all processes and machines wait in the queue of one advisory lock, which the server gives back when a
transaction ends, however it ends. So numbers, offsets and events are committed in the order in which they were given, and
who follows the events misses none. Readers wait for nobody. docs/postgres.md says what that costs.
"""

import contextlib
import os
import re
import select
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, LiteralString, NamedTuple, TypeVar

import psycopg
from psycopg import errors as server
from psycopg.adapt import Dumper, PyFormat
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.types.numeric import Int4BinaryDumper, Int8BinaryDumper, NumericBinaryLoader
from psycopg.types.string import BytesBinaryDumper
from sqlalchemy import BigInteger, Double, Engine, Integer, LargeBinary, Text, create_engine
from sqlalchemy.dialects.postgresql import psycopg as spoken
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
from sqlalchemy.engine import Dialect
from sqlalchemy.pool import StaticPool

from stratal.core.clock import Clock
from stratal.core.errors import Bug, Conflict, Misuse, OutcomeUnknown, StoreDown, StratalError
from stratal.core.people import Identity
from stratal.store.database import Database
from stratal.store.deadlines import left_s, too_long
from stratal.store.statements import Compiled, Row, Transaction

POSTGRES: Dialect = spoken.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # SQLAlchemy has no type of it
# The advisory lock of whoever writes; its number means nothing, and locks of other databases on the server are others.
GATE = 0x5374726174616C
# What is told when events were committed.
CHANNEL = "stratal_events"
# Seconds: for a server that restarts under a process that knew it; for the writers before one; for one that froze in a transaction.
AWAY_S, QUEUE_S, FROZEN_S = 15.0, 30, 60
# The oldest server that is known to work, as it numbers itself.
OLDEST = 120000
# Idle readers kept open per process, and statements kept prepared per connection: more than the rooms have. Guesses.
MOST_IDLE, MOST_PREPARED = 8, 500

_BEGIN: LiteralString = f"begin isolation level read committed; select pg_advisory_xact_lock({GATE})"
_END_AFTER: LiteralString = "select set_config('statement_timeout', $1, true)"
_BEGIN_READ: LiteralString = "begin isolation level repeatable read read only"
_SETTINGS: LiteralString = (
    f"set lock_timeout = '{QUEUE_S}s'; set client_min_messages = warning; set statement_timeout = 0;"
    # whoever froze or lost its network inside a transaction must not hold the gate for hours
    f"set idle_in_transaction_session_timeout = '{FROZEN_S}s';"
    "set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 4;"
    "select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off';"
    "select pg_backend_pid()"
)
# A server whose machine or network vanished says nothing any more: so long a connection may take, be silent, and acknowledge nothing.
_LIFE = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4, "tcp_user_timeout": 30_000}
_READER_SETTINGS: LiteralString = "set idle_in_transaction_session_timeout = 0"
_TABLES: LiteralString = (
    "select to_regclass('about') is not null, to_regclass('alembic_version') is not null, current_setting('server_encoding')"
)
# The highest revision that was run: since they have come side by side, the last one of the chain may have a lower number.
_VERSION: LiteralString = "select value from about where name = 'schema'"
_OLD_VERSION: LiteralString = "select coalesce(max(version_num), '0') from alembic_version"
_VALUES = re.compile(r"\) VALUES \((?P<values>[^()]*)\)(?P<rest>.*)\Z", re.DOTALL)
_PARAMETER = re.compile(r"\$[0-9]+(::[A-Z]+)?")
_TARGET = re.compile(r"ON CONFLICT \(([a-z_, ]+)\) DO UPDATE")
_LONG, _INT, _DOUBLE, _SIZE, _ARRAY = map(struct.Struct, (">iq", ">ii", ">id", ">i", ">iiIii"))
_NULL = _SIZE.pack(-1)
# Per type of column: the server's numbers of an array and of its elements, and how an element is sent, its size in front.
_ARRAYS: tuple[tuple[type, str, int, int, Callable[[Any], bytes]], ...] = (
    (BigInteger, "bigint", 1016, 20, lambda value: _LONG.pack(8, int(value))),
    (Integer, "integer", 1007, 23, lambda value: _INT.pack(4, int(value))),
    (Double, "double precision", 1022, 701, lambda value: _DOUBLE.pack(8, float(value))),
    (Text, "text", 1009, 25, lambda value: _sized(value.encode())),
    (LargeBinary, "bytea", 1001, 17, lambda value: _sized(bytes(value))),
)

_HINT = "write postgresql://USER@HOST/DATABASE"
# What a server or libpq says when somebody connects, and what helps.
_HINTS = (
    ("password authentication failed", "set PGPASSWORD or ~/.pgpass, or write it into the URL in STRATAL_STORE"),
    ("no password supplied", "set PGPASSWORD or ~/.pgpass, or write it into the URL in STRATAL_STORE"),
    ("does not exist", "see that the database and the user are there: createdb --encoding UTF8 --template template0 NAME"),
    ("no pg_hba.conf entry", "the server lets nobody in from here, or not so: see its pg_hba.conf, and ?sslmode="),
    ("certificate", "say whose certificates you trust, and the name in them: ?sslmode=verify-full&sslrootcert=FILE"),
    ("nothing answered by it", "where a pooler is between, it has no connection free: let it hold more (docs/postgres.md: Sizing)"),
    ("query_wait_timeout", "the pooler before the server has no connection free: let it hold more (docs/postgres.md: Sizing)"),
    ("does not support SSL", "let the server speak TLS, or say ?sslmode=prefer where the network is yours"),
)

T = TypeVar("T")

Connection = psycopg.Connection[Row]
# What a statement raises: what the driver and the server say, and a whole number of more than 64 bits, which is never sent.
_REFUSED = (psycopg.Error, struct.error)


class _Driver:
    dialect = POSTGRES

    def __init__(self, connection: Connection, begin: LiteralString = "", again: Callable[[], Connection] | None = None) -> None:
        """begin: what begins its transaction, together with the first statement; else it has begun, or each statement is one.
        again: gives another connection, if this one proves lost before anything of a transaction was read."""
        self.connection = connection
        self._cursor = connection.cursor(binary=True)
        self._begin, self._again = begin, again

    def run(self, compiled: Compiled, values: Row) -> psycopg.Cursor[Row]:
        try:
            if self._again is not None:
                return self._first(lambda: self._run(compiled, values))
            return self._run(compiled, values)
        except psycopg.DataError as error:
            if (clean := _without_nul(values)) == values:
                raise _ours(error) from error
            return self.run(compiled, clean)  # refused here, before anything was sent
        except _REFUSED as error:
            raise _ours(error) from error

    def run_together(self, asked: Sequence[tuple[Compiled, Row]]) -> list[list[Row]]:
        try:
            return self._first(lambda: self._run_together(asked)) if self._again is not None else self._run_together(asked)
        except _REFUSED as error:
            raise _ours(error) from error

    def _first(self, ask: Callable[[], T]) -> T:
        """Ask, and once more by another connection if this one was lost while it rested."""
        begin = self._begin
        try:
            answer = ask()
        except psycopg.OperationalError:
            if self._again is None or not self.connection.closed:
                raise
            self.connection = self._again()
            self._cursor, self._begin = self.connection.cursor(binary=True), begin
            answer = ask()
        if begin:
            self._again = None
        return answer

    def _run(self, compiled: Compiled, values: Row) -> psycopg.Cursor[Row]:
        if not self._begin:
            return _execute(self._cursor, compiled, values)
        with self.connection.pipeline():
            self._begin_now()
            return _execute(self._cursor, compiled, values)

    def _run_together(self, asked: Sequence[tuple[Compiled, Row]]) -> list[list[Row]]:
        with self.connection.pipeline():  # all are sent before the first answer is waited for
            if self._begin:
                self._begin_now()
            made = [_execute(self.connection.cursor(binary=True), compiled, _without_nul(values)) for compiled, values in asked]
        return [cursor.fetchall() for cursor in made]

    def _begin_now(self) -> None:
        begin, self._begin = self._begin, ""
        self.connection.execute(begin, prepare=False)
        if (seconds := left_s()) is not None:
            self.connection.execute(_END_AFTER, [f"{int(seconds * 1000) + 1}ms"], prepare=False)

    def run_many(self, compiled: Compiled, rows: Sequence[Row]) -> None:
        rows = [_without_nul(row) for row in rows]
        try:
            bulk = _bulk(compiled, rows)
            if bulk is None:
                self._cursor.executemany(compiled.sql, rows)
            else:
                self._cursor.execute(bulk[0], bulk[1])
        except _REFUSED as error:
            raise _ours(error) from error


class _BytewiseTexts(PGTypeCompiler):
    def visit_TEXT(self, type_: Text, **_: Any) -> str:  # noqa: N802  # SQLAlchemy's name for it
        return 'TEXT COLLATE "C"'


class PostgresDatabase(Database):
    """One database of a PostgreSQL server."""

    _connection: Connection | None
    _readers: list[Connection]
    _listener: Connection | None

    def __init__(self, dsn: str, *, name: str, clock: Clock | None = None) -> None:
        """dsn: as libpq takes it, password included. name: the same without."""
        self._dsn = dsn
        self._was_there = False
        self._away_since_s: float | None = None
        self._retired: list[Connection] = []
        super().__init__(name=name, clock=clock)

    @contextlib.contextmanager
    def write(self, actor: Identity) -> Iterator[Transaction]:
        with self._one_writer:
            if self._connection is not None and _is_open(self._connection):
                raise Bug("a transaction was opened inside another one", hint="pass the outer one on")
            connection: Connection | None = None
            try:
                connection = self._begin_write()
                tx = Transaction(_Driver(connection), now_ns=self.clock.now_ns(), actor=actor, is_write=True)
                yield tx
                self.fault("before commit")
                if self._connection is not connection:
                    raise Bug("this process was forked inside a transaction, which is its parent's", hint="fork before or after it")
                _commit(connection, has_told=tx.has_told)
            except BaseException:  # also an interrupt right after `begin`
                if self._connection is not None and connection in (self._connection, None):
                    self._connection = _rolled_back(self._connection)
                self.forget()
                raise
            self.fault("after commit")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._one_writer:
            self._begin_write()
            try:
                yield
            finally:
                if self._connection is not None:
                    self._connection = _rolled_back(self._connection)

    @contextlib.contextmanager
    def read(self, actor: Identity) -> Iterator[Transaction]:
        with self._reading(_BEGIN_READ) as driver:
            yield Transaction(driver, now_ns=self.clock.now_ns(), actor=actor, is_write=False)

    @contextlib.contextmanager
    def look(self, actor: Identity) -> Iterator[Transaction]:
        with self._reading() as driver:
            yield Transaction(driver, now_ns=self.clock.now_ns(), actor=actor, is_write=False)

    def checkpoint(self) -> bool:
        """Do nothing: a commit is synced by the server before it answers."""
        return True

    def version(self) -> int:
        with self._reading() as driver, _errors():
            connection = driver.connection
            has_about, has_old, encoding = connection.execute(_TABLES).fetchone() or (False, False, "")
            if encoding != "UTF8":
                raise Misuse(
                    f"{self.name} is encoded as {encoding}", hint="make it with: createdb --encoding UTF8 --template template0 NAME"
                )
            found = connection.execute(_VERSION).fetchone() if has_about else None
            if found is None and has_old:
                found = connection.execute(_OLD_VERSION).fetchone()
        return int(found[0]) if found else 0

    def wait_for_events(self, most_s: float, *, heard: int) -> None:
        listening = self._listening
        if not listening.acquire(timeout=most_s):
            return
        listener = self._listener
        try:  # one thread waits at the socket, and the others for it
            if listener is None and heard == self.heard:
                listener = self.connect()
                listener.execute(f"listen {CHANNEL}", prepare=False)
                if listening is self._listening:
                    self._listener = listener
                    self.heard += 1  # what was committed before this was told to nobody
                else:  # this was closed meanwhile
                    listener.close()
            elif listener is not None and heard == self.heard:
                for _ in listener.notifies(timeout=most_s, stop_after=1):
                    self.heard += 1
        except psycopg.OperationalError:  # the server went away, or this was closed: the caller's next look says more
            if listener is not None:
                listener.close()
            if listening is self._listening:
                self._listener = None
        finally:
            listening.release()

    def close(self) -> None:
        with self._one_writer:
            if self._listener is not None:
                self._listener.close()
            self._retired, connection = self._readers, self._connection
            self._fresh()
            while self._retired:  # one that is in use is closed by who uses it
                self._retired.pop().close()
            if connection is not None:
                connection.close()

    def connect(self) -> Connection:
        """Open one more connection, set up as all are. Waits for a server that was there until it is away for AWAY_S: whoever comes
        later is told so at once, and many that wait for their turn do not wait one after the other."""
        while True:
            try:
                made = psycopg.connect(**self._dialled(), autocommit=True, cursor_factory=psycopg.RawCursor, prepare_threshold=1)
                made.prepared_max = MOST_PREPARED
                _adapt(made)
                self._check(made, self._set_up(made))
                break
            except psycopg.OperationalError as error:
                now_s = time.monotonic()
                self._away_since_s = self._away_since_s or now_s
                if not self._was_there or now_s > self._away_since_s + AWAY_S:
                    raise _ours(error, f"{self.name} cannot be reached") from error
                time.sleep(0.1)
            except psycopg.ProgrammingError as error:
                raise Misuse(f"{self.name} is no address of a database: {_first_line(error)}", hint=_HINT) from error
        self._was_there, self._away_since_s = True, None
        return made

    def _set_up(self, made: Connection) -> int:
        """Say how it is to behave; give the number of the server's process that answers. A pooler takes whoever connects, and lets them
        wait for the first answer until it has a server's connection free. Raises psycopg.OperationalError."""
        most_s = int(self._dialled()["connect_timeout"])
        made.pgconn.send_query(_SETTINGS.encode())
        if not _is_said(made, most_s if most_s > 0 else None):
            made.close()
            raise psycopg.OperationalError(f"a connection was made, and nothing answered by it for {most_s} s")
        said = b""
        while (result := made.pgconn.get_result()) is not None:
            if result.status == ExecStatus.FATAL_ERROR:
                made.close()
                raise psycopg.OperationalError(result.get_error_message())
            if result.ntuples:
                said = result.get_value(0, 0) or b""
        if not said:
            made.close()
            raise psycopg.OperationalError("the connection was lost before it was set up")
        return int(said)

    def _check(self, made: Connection, backend: int) -> None:
        """Refuse servers that are too old, and poolers that give each transaction another connection. Raises Misuse."""
        if (version := made.info.server_version) < OLDEST:
            made.close()
            raise Misuse(f"{self.name} is a PostgreSQL {version // 10000}", hint=f"the store needs {OLDEST // 10000} or newer")
        if backend == made.info.backend_pid or self._was_there:
            # Nothing stands between: a pooler makes its numbers up. Or it was looked at: many at a time that each hold one connection,
            # and wait for another to look by, wait for each other where the pooler has no more.
            return
        with psycopg.connect(**self._dialled(), autocommit=True, cursor_factory=psycopg.RawCursor) as other:
            # While `made` is open, what it was served by serves nobody else, unless that changes by the transaction.
            is_shared = self._set_up(other) == backend
        if is_shared:
            made.close()
            raise Misuse(
                f"a pooler before {self.name} gives each transaction another connection",
                hint="let it pool sessions (PgBouncer: pool_mode = session), or name the server itself: see docs/postgres.md",
            )

    def engine(self) -> Engine:
        """Give an engine of one connection, for migrations. Texts of its tables compare by their bytes, as SQLite's do."""
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(**self._dialled()), poolclass=StaticPool)
        engine.dialect.type_compiler_instance = _BytewiseTexts(engine.dialect)
        return engine

    def _dialled(self) -> dict[str, Any]:
        """Give what libpq connects by; what the URL says of it stands before what we think."""
        return {**_LIFE, **conninfo_to_dict(self._dsn)}

    def _fresh(self) -> None:
        self._connection = None
        self._readers = []
        self._listener = None
        self._listening = threading.Lock()

    def _orphan(self) -> None:
        """Nothing is closed: that would say goodbye on the parent's sockets."""
        _orphans.append((self._connection, self._readers, self._retired, self._listener))
        self._retired = []

    def _begin_write(self) -> Connection:
        """Begin, at the gate; with a new connection if the old one was lost meanwhile."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.OperationalError, psycopg.InternalError):
                return self._pass_gate(self._connection)
            self._connection.close()
        self._connection = self.connect()
        with _errors():
            return self._pass_gate(self._connection)

    def _pass_gate(self, connection: Connection) -> Connection:
        try:
            connection.execute(_BEGIN, prepare=False)
        except server.LockNotAvailable as error:
            raise StoreDown(f"other writers have kept {self.name} busy for {QUEUE_S} s", hint="try again; nothing has changed") from error
        return connection

    @contextlib.contextmanager
    def _reading(self, begin: LiteralString = "") -> Iterator[_Driver]:
        """Lend a connection that nobody else reads by."""
        process, readers, driver = os.getpid(), self._readers, _Driver(self._take_reader(), begin, self._new_reader)
        try:
            yield driver
        finally:
            if os.getpid() == process:  # else this is a child that was forked inside: it is its parent's
                self._give_back(readers, driver.connection)

    def _take_reader(self) -> Connection:
        with contextlib.suppress(IndexError):
            while True:
                connection = self._readers.pop()
                if _is_quiet(connection):
                    return connection
                connection.close()
        return self._new_reader()

    def _new_reader(self) -> Connection:
        connection = self.connect()
        with _errors():
            connection.execute(_READER_SETTINGS, prepare=False)
        return connection

    def _give_back(self, readers: list[Connection], connection: Connection) -> None:
        left = _ended(connection)
        if left is not None and readers is self._readers and len(readers) < MOST_IDLE:
            readers.append(left)
        elif left is not None:
            left.close()


_orphans: list[object] = []


def _commit(connection: Connection, *, has_told: bool) -> None:
    """Commit, and tell those who listen. Raises OutcomeUnknown where nobody knows whether it was committed."""
    if connection.info.transaction_status == TransactionStatus.INERROR:
        raise Bug("a transaction went on after a statement of it had failed")
    try:
        connection.execute(f"notify {CHANNEL}; commit" if has_told else "commit", prepare=False)
    except psycopg.OperationalError as error:
        raise OutcomeUnknown(
            f"the connection to the database was lost while a change was committed: {_first_line(error)}",
            hint="whether it was made is unknown: look before you do it again",
        ) from error
    except psycopg.Error as error:
        raise _ours(error) from error


def _execute(cursor: psycopg.Cursor[Row], compiled: Compiled, values: Row) -> psycopg.Cursor[Row]:
    """Run a statement. One that is prepared is planned for any values, after it was run five times."""
    return cursor.execute(compiled.sql, values, prepare=False if compiled.is_planned_anew else None)


def _is_quiet(connection: Connection) -> bool:
    """Tell whether a connection that rested is still there: a server that goes says so, or hangs up."""
    return not connection.closed and not _is_said(connection, 0)


def _is_said(connection: Connection, most_s: float | None) -> bool:
    """Tell whether anything came by a connection within a while; None waits for as long as it takes."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(None if most_s is None else most_s * 1000))


def _is_open(connection: Connection) -> bool:
    return not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE


def _rolled_back(connection: Connection) -> Connection | None:
    """Roll back; None if the connection cannot be used any more, and is closed."""
    return _ended(connection, "rollback")


def _ended(connection: Connection, how: LiteralString = "commit") -> Connection | None:
    """End a transaction. Readers end by a commit: after a rollback psycopg forgets its prepared statements."""
    status = connection.info.transaction_status
    if status == TransactionStatus.IDLE and not connection.closed:
        return connection
    if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        with contextlib.suppress(psycopg.Error):
            connection.execute(how, prepare=False)
            return connection
    connection.close()  # lost, or interrupted inside a statement: the server rolls back
    return None


def _bulk(compiled: Compiled, rows: Sequence[Row]) -> "tuple[str, list[_Array]] | None":
    """Write an insert of many rows as one statement with an array per column; None for other statements."""
    table = getattr(compiled.statement, "table", None)
    found = _VALUES.search(compiled.sql)
    if len(rows) < 2 or table is None or found is None or "$" in found["rest"]:
        return None
    values = [value.strip() for value in found["values"].split(",")]
    if len(values) != len(compiled.order) or not all(_PARAMETER.fullmatch(value) for value in values):
        return None
    if (target := _TARGET.search(compiled.sql)) is not None:  # PostgreSQL changes a row once per statement
        places = [compiled.order.index(name.strip()) for name in target[1].split(",")]
        if len({tuple(row[place] for place in places) for row in rows}) < len(rows):
            return None
    kinds = [next(kind for kind in _ARRAYS if isinstance(table.c[name].type, kind[0])) for name in compiled.order]
    arrays = ", ".join(f"${number}::{kind[1]}[]" for number, kind in enumerate(kinds, 1))
    sql = f"{compiled.sql[: found.start()]}) SELECT * FROM unnest({arrays}){found['rest']}"
    columns = zip(*rows, strict=True)
    return sql, [
        _Array(array, _ARRAY.pack(1, 1, element, len(rows), 1) + b"".join([_NULL if value is None else pack(value) for value in column]))
        for (_, _, array, element, pack), column in zip(kinds, columns, strict=True)
    ]


def _sized(body: bytes) -> bytes:
    return _SIZE.pack(len(body)) + body


def _without_nul(values: Row) -> Row:
    """Put U+2400 for U+0000, which PostgreSQL's texts cannot hold."""
    if any(isinstance(value, str) and "\0" in value for value in values):
        return tuple(value.replace("\0", "\u2400") if isinstance(value, str) else value for value in values)
    return values


class _IntDumper(Int8BinaryDumper):
    """One width for all: a statement is prepared once."""


class _BoolDumper(Int4BinaryDumper):
    """The width that casts to any column: our booleans are 0 and 1."""


class _Array(NamedTuple):
    """A column of values as the server reads arrays. oid: its number of the type."""

    oid: int
    body: bytes


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def get_key(self, obj: _Array, _format: PyFormat) -> Any:
        return (self.cls, obj.oid)

    def upgrade(self, obj: _Array, _format: PyFormat) -> "_ArrayDumper":
        made = type(self)(self.cls, self.connection)
        made.oid = obj.oid
        return made

    def dump(self, obj: _Array) -> bytes:
        return obj.body


class _NumberLoader(NumericBinaryLoader):
    """Sums of whole numbers come as NUMERIC."""

    def load(self, data: Any) -> Any:
        number = super().load(data)
        return int(number) if number == number.to_integral_value() else float(number)


def _adapt(connection: psycopg.Connection[Row]) -> None:
    adapters = connection.adapters
    adapters.register_dumper(int, _IntDumper)
    adapters.register_dumper(bool, _BoolDumper)
    adapters.register_dumper(bytes, BytesBinaryDumper)
    adapters.register_dumper(_Array, _ArrayDumper)
    adapters.register_loader("numeric", _NumberLoader)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        raise _ours(error) from error


def _ours(error: psycopg.Error | struct.error, what: str = "the database cannot be used") -> StratalError | OverflowError:
    if isinstance(error, struct.error):
        return OverflowError(str(error))
    said = _first_line(error)
    for sign, hint in _HINTS:
        if isinstance(error, psycopg.OperationalError) and sign in str(error):
            return StoreDown(f"{what}: {said}", hint=hint)
    if isinstance(error, server.QueryCanceled):
        return too_long()
    if isinstance(error, server.SerializationFailure | server.DeadlockDetected):
        return Conflict(f"somebody else changed the same rows: {said}", hint="try again; nothing has changed")
    if isinstance(error, psycopg.IntegrityError):
        return Conflict(f"the store refused a row: {said}", hint="read the present state and decide again")
    if isinstance(error, server.InsufficientPrivilege | server.ReadOnlySqlTransaction):
        return StoreDown(f"{what}: {said}", hint="the user needs the right to create, read and write tables in this database")
    if isinstance(error, server.DiskFull):
        return StoreDown(f"{what}: {said}", hint="make room on the database's disk; nothing has changed")
    if isinstance(error, server.ProgramLimitExceeded):  # a text that an index has no room for: it never will
        return Misuse(
            f"the database cannot hold a value: {said}", hint="use a shorter text for what is looked up by it; nothing has changed"
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | server.IdleInTransactionSessionTimeout):
        return StoreDown(f"{what}: {said}", hint="see that the server is there and takes this user; nothing has changed")
    if isinstance(error, psycopg.DataError):
        return Misuse(f"the database cannot hold a value: {said}")
    return Bug(f"the driver was used wrongly: {said}")


def _first_line(error: psycopg.Error) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
