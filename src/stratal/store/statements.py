"""Statements: SQLAlchemy Core writes them, each is compiled once per object and database, and the driver runs the text.

58 against 382 µs for a small command. A driver is what SQLite and PostgreSQL differ in; a `Transaction` is the same on both.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import ClauseElement, Executable, Insert
from sqlalchemy.dialects.postgresql import insert as insert  # noqa: PLC0414  # its ON CONFLICT compiles for SQLite too, not the other way round
from sqlalchemy.engine import Dialect

from stratal.core.errors import Bug
from stratal.core.people import Identity
from stratal.store.tables import event

# What a driver hands over has no static type; a room's store turns rows into records at once.
Row = tuple[Any, ...]
Value = object
# Compiled statements kept; those of the rooms are a few hundred, searches make up new ones for ever.
MOST_COMPILED = 2000
# An execution option of statements of which the best plan depends on their values: how rare they are, how many rows are wanted.
PLANNED_ANEW = "planned_anew"


class Compiled(NamedTuple):
    """SQL text, the order of its parameters, and the values that the statement itself holds."""

    sql: str
    order: tuple[str, ...]
    fixed: Mapping[str, Value]
    statement: ClauseElement  # keeps the id() under which it is cached from being reused
    is_planned_anew: bool = False

    def bind(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        """Put values into the statement's order. Raises Bug if one is missing."""
        fixed = self.fixed
        try:
            return tuple([values[name] if name in values else fixed[name] for name in self.order])
        except KeyError as error:
            raise Bug(f"a statement was run without its value {error}: {self.sql[:200]}") from error


# Called with every statement that is compiled; the tests compile each for PostgreSQL, too.
on_compile: list[Callable[[ClauseElement], None]] = []
_compiled: "OrderedDict[tuple[str, int, tuple[str, ...]], Compiled]" = OrderedDict()
_compiling = threading.Lock()


def compile_statement(statement: ClauseElement, dialect: Dialect, columns: tuple[str, ...] = ()) -> Compiled:
    """Compile once per statement and database (and columns, for inserts). columns: names of rows' values, for inserts without VALUES."""
    # One insert may be run with other columns, too; all other statements name theirs.
    place = (dialect.name, id(statement), columns if isinstance(statement, Insert) else ())
    found = _compiled.get(place)
    if found is not None:
        return found
    for watch in on_compile:
        watch(statement)
    made = statement.compile(dialect=dialect, column_keys=list(columns) or None, compile_kwargs={"render_postcompile": True})
    order = tuple(made.positiontup or ())  # type: ignore[attr-defined]  # there for positional dialects
    required = {name for bind, name in made.bind_names.items() if bind.required}  # type: ignore[attr-defined]
    given = (made.construct_params(_check=False) if order else None) or {}  # type: ignore[call-arg]
    fixed = {name: value for name, value in given.items() if name not in required}
    is_planned_anew = isinstance(statement, Executable) and PLANNED_ANEW in statement.get_execution_options()
    compiled = Compiled(str(made), order, fixed, statement, is_planned_anew)
    with _compiling:
        _compiled[place] = compiled
        while len(_compiled) > MOST_COMPILED:
            _compiled.popitem(last=False)
    return compiled


class Cursor(Protocol):
    """What a statement that ran gives."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Row | None: ...

    def fetchall(self) -> list[Row]: ...


class Driver(Protocol):
    """One connection to a database, with a transaction open on it. Laws: it raises errors of ours only, and
    OverflowError for a whole number of more than 64 bits, which is never sent."""

    dialect: Dialect

    def run(self, compiled: Compiled, values: Row) -> Cursor: ...

    def run_together(self, asked: Sequence[tuple[Compiled, Row]]) -> list[list[Row]]: ...

    def run_many(self, compiled: Compiled, rows: Sequence[Row]) -> None: ...


_ADD_EVENT = insert(event)


class Transaction:
    """What a room's store gets to read and write with. Values are bound by name: `tx.row(stmt, name="churn")`."""

    # The experiments whose runs may be seen, where a server asks for somebody; None: all.
    sees: frozenset[str] | None = None
    # Whether somebody may view an 'experiment:NAME', a 'model:NAME' or everything, where a server asks for them; None: they may.
    may_view: Callable[[str], bool] | None = None
    # What it has made until now, 'experiment:NAME' or 'model:NAME', where a server asks; None: nobody wants to know.
    made: list[str] | None = None
    # The sequences of facts that put a run where there was no room for it, where a server asks; None: nobody wants to know.
    crowded: list[int] | None = None
    # Whether who it works for may read a blob, where a server asks; None: what is named need not be proved (proofs.py).
    may_read: "Callable[[Transaction, str], bool] | None" = None

    def __init__(self, driver: Driver, *, now_ns: int, actor: Identity, is_write: bool) -> None:
        self._driver = driver
        self.now_ns = now_ns
        self.actor = actor
        self.is_write = is_write
        self._told: set[tuple[str, str, str]] = set()

    def rows(self, statement: ClauseElement, **values: Value) -> list[Row]:
        """Run and fetch all rows."""
        return self._run(statement, values).fetchall()

    def row(self, statement: ClauseElement, **values: Value) -> Row | None:
        """Run and fetch the first row, None if there is none."""
        return self._run(statement, values).fetchone()

    def value(self, statement: ClauseElement, **values: Value) -> Any:
        """Run and fetch the first column of the first row, None if there is none."""
        found = self._run(statement, values).fetchone()
        return found[0] if found else None

    def together(self, *asked: tuple[ClauseElement, Mapping[str, Value]]) -> list[list[Row]]:
        """Run statements of which none needs what another gives, and fetch all rows of each: on PostgreSQL all are asked at once."""
        compiled = [(compile_statement(statement, self._driver.dialect, tuple(values)), values) for statement, values in asked]
        return self._driver.run_together([(each, each.bind(values)) for each, values in compiled])

    def run(self, statement: ClauseElement, **values: Value) -> int:
        """Run and give the number of rows changed."""
        return self._run(statement, values).rowcount

    def many(self, statement: ClauseElement, rows: Sequence[Mapping[str, Value]]) -> None:
        """Run once per row of values, in one go."""
        if not rows:
            return
        compiled = compile_statement(statement, self._driver.dialect, tuple(rows[0]))
        self._driver.run_many(compiled, [compiled.bind(row) for row in rows])

    def many_tuples(self, statement: ClauseElement, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        """As `many`, for the hottest paths: rows are tuples in the statement's own order, which must be `columns`."""
        if not rows:
            return
        compiled = compile_statement(statement, self._driver.dialect, columns)
        assert compiled.order[: len(columns)] == columns, compiled.order
        self._driver.run_many(compiled, rows)

    def emit(self, kind: str, subject: str, body: str = "{}") -> None:
        """Tell live readers of a change, in its own transaction, once. subject: an id or ref; body: JSON text."""
        if (kind, subject, body) in self._told:
            return
        self._told.add((kind, subject, body))
        self.run(_ADD_EVENT, at_ns=self.now_ns, kind=kind, subject=subject, actor=self.actor.name, body=body)

    @property
    def has_told(self) -> bool:
        """Tell whether live readers have something new when this is committed."""
        return bool(self._told)

    def _run(self, statement: ClauseElement, values: Mapping[str, Value]) -> Cursor:
        compiled = compile_statement(statement, self._driver.dialect, tuple(values))
        return self._driver.run(compiled, compiled.bind(values))
