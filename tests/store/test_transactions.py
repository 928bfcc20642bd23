"""Transactions under interrupts, forks, failed commits and other threads. Excludes what is written in them."""

import fcntl
import os
import signal
import sqlite3
import threading

import pytest
from sqlalchemy import bindparam, func, literal, literal_column, select

from stratal.core.errors import Bug, Refused, StoreDown, StratalError
from stratal.core.ids import new_id, to_bytes
from stratal.store import settling, tables
from stratal.store.database import Database, insert
from stratal.store.deadlines import reading_within
from stratal.store.events import latest_seq
from stratal.store.journal import Writer
from stratal.store.names import Names
from stratal.store.store import Store
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

_ADD = insert(tables.key)


class Connection(sqlite3.Connection):
    """A connection that calls `after` when a statement has run, and `before` before it does."""

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        self.before(sql)
        done = super().execute(sql, *values)
        self.after(sql)
        return done

    @staticmethod
    def before(sql: str) -> None: ...

    @staticmethod
    def after(sql: str) -> None: ...


@pytest.fixture
def watched(store: Store, monkeypatch: pytest.MonkeyPatch) -> type[Connection]:
    """A class of connections to the store's database whose statements the test watches."""

    class Watched(Connection): ...

    whole = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: whole(*a, **k, factory=Watched))
    return Watched


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also where whoever started this process lets it ignore that: a shell does so in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("statement", ["begin immediate", "commit"])
def test_an_interrupt_right_after_a_statement_leaves_no_transaction_and_no_gate(store: Store, watched: type[Connection], statement: str):
    def interrupt(sql: str) -> None:
        if sql == statement:
            watched.after = staticmethod(lambda _: None)
            signal.raise_signal(signal.SIGINT)

    watched.after = staticmethod(interrupt)
    with pytest.raises(KeyboardInterrupt), store.command():
        pass
    other = open_store(store.url)
    with other.command() as tx:
        tx.run(_ADD, name="other process")
    with store.command() as tx:
        tx.run(_ADD, name="this one")
    other.close()


def test_a_forked_child_goes_on_while_a_thread_of_its_parent_is_in_a_transaction(store: Store):
    inside = threading.Event()

    def write() -> None:
        for number in range(30):
            with store.command() as tx:
                inside.set()
                tx.run(_ADD, name=f"parent {number}")

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # dies of it where a lock is held for ever
        try:
            with store.query() as tx:
                tx.value(tables.key.select())
            with store.command() as tx:
                tx.run(_ADD, name="child")
            os._exit(0)
        finally:
            os._exit(1)
    thread.join()
    assert os.waitpid(pid, 0)[1] == 0
    with store.query() as tx:
        assert {name for _, name in tx.rows(tables.key.select())} == {"child", *(f"parent {number}" for number in range(30))}


def test_what_a_forked_child_commits_outlives_its_parents_connections(store: Store):
    """SQLite removes the write-ahead log when the last connection closes; a child's must count as one."""
    store.settle()
    here, there = os.pipe()
    back, forth = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with store.command() as tx:
                tx.run(_ADD, name="before")
            os.write(there, b"x")
            os.read(back, 1)
            with store.command() as tx:
                tx.run(_ADD, name="after")
        finally:
            os._exit(0)  # with its connections open, as killed processes end
    os.read(here, 1)
    store.close()
    os.write(forth, b"x")
    os.waitpid(pid, 0)
    with store.query() as tx:
        assert [name for _, name in tx.rows(tables.key.select())] == ["before", "after"]


def test_a_transaction_inside_another_one_of_its_thread_is_our_bug_and_harms_neither(store: Store):
    with store.command() as tx:
        tx.run(_ADD, name="outer")
        with pytest.raises(Bug, match="inside another"), store.command():
            pass
        with pytest.raises(BlockingIOError):
            _try_gate(store)
    with store.query() as tx:
        assert [name for _, name in tx.rows(tables.key.select())] == ["outer"]
    _try_gate(store)


def _try_gate(store: Store) -> None:
    with (store.folder / "write.lock").open() as gate:
        fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_insert_that_is_run_with_more_columns_writes_them_all(store: Store):
    add = insert(tables.segment)
    with store.command() as tx:
        tx.run(add, name="a", offset=1, state="live")
        tx.run(add, name="b", offset=1, state="done", torn=7)
        tx.many(add, [{"name": "c", "offset": 1, "state": "done", "torn": 9}])
    columns = (tables.segment.c.name, tables.segment.c.offset, tables.segment.c.state, tables.segment.c.torn)
    with store.database.read(store.actor()) as tx:
        assert tx.rows(select(*columns)) == [("a", 1, "live", 0), ("b", 1, "done", 7), ("c", 1, "done", 9)]


def test_a_commit_that_fails_raises_changes_nothing_and_forgets_the_ids_that_it_gave(store: Store, watched: type[Connection]):
    def fail(sql: str) -> None:
        if sql == "commit":
            watched.before = staticmethod(lambda _: None)
            raise sqlite3.OperationalError("disk I/O error")

    with run("e", store=store) as opened:
        opened.log({"first": 1.0}, step=0)
    watched.before = staticmethod(fail)
    with pytest.raises(StoreDown, match="disk I/O"):
        store.settle()
    with store.database.read(store.actor()) as tx:
        assert tx.rows(tables.key.select()) == []
    other = open_store(store.url)
    with other.command() as tx:
        tx.run(_ADD, name="takes the id that the first one had")
    other.close()
    read = get_run(opened.id, store=store)
    assert read.metrics == {"first": 1.0}
    assert read.series("first").values.tolist() == [1.0]


def test_ids_of_a_transaction_that_was_rolled_back_are_forgotten_before_another_thread_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    """The next thread waits for the lock; it goes on the moment the failing one gives it back."""
    id = new_id()
    writer = Writer(store.journals)
    writer.log(to_bytes(id), 0, {"mine": 1.0}, 0)
    forgotten = []

    def fail(point: str) -> None:
        if point == "after points":
            store.database.fault = lambda _: None
            raise RuntimeError

    class Watched(Names):
        def forget(self) -> None:
            assert not _lock_is_free(store.database), "another thread could use the ids before they are forgotten"
            forgotten.append(1)
            super().forget()

    monkeypatch.setattr(settling, "Names", Watched)
    store.database.fault = fail
    with pytest.raises(RuntimeError):
        store.settle()
    assert forgotten == [1]
    with store.command() as tx:
        tx.run(_ADD, name="takes the id")
    assert get_run(id, store=store).metrics == {"mine": 1.0}


def _lock_is_free(database: Database) -> bool:
    free = []

    def look() -> None:
        if database._one_writer.acquire(blocking=False):
            free.append(True)
            database._one_writer.release()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return bool(free)


def test_closing_a_store_waits_for_the_thread_that_settles_for_it(store: Store):
    inside, leave = threading.Event(), threading.Event()

    def hold(point: str) -> None:
        inside.set()
        leave.wait()

    run("e", store=store).log({"m": 1.0})
    store.database.fault = hold
    store._settle_aside()
    inside.wait()
    closing = threading.Thread(target=store.close)
    closing.start()
    leave.set()
    closing.join()
    assert store._aside is not None and not store._aside.is_alive()


def test_a_snapshot_that_is_open_while_its_database_is_closed_reads_on_and_leaves_nothing(store):
    database = store.database
    with database.read(settling.SYSTEM) as tx:
        before = latest_seq(tx)
        database.close()
        assert latest_seq(tx) == before
    with database.read(settling.SYSTEM) as tx:
        assert latest_seq(tx) == before
    assert len(database._readers) == 1


def test_looks_see_what_is_committed_when_they_run_and_a_snapshot_stays_as_it_was(store):
    database = store.database
    with database.read(settling.SYSTEM) as snapshot, database.look(settling.SYSTEM) as looking:
        before = latest_seq(snapshot)
        assert latest_seq(looking) == before
        with store.command() as tx:
            tx.emit("change", "of:something")
        assert (latest_seq(snapshot), latest_seq(looking)) == (before, before + 1)


def test_statements_that_are_asked_together_give_what_each_gives_alone(store):
    with store.command() as tx:
        tx.many(_ADD, [{"name": name} for name in ("a", "b", "c")])
    named = select(tables.key.c.name).where(tables.key.c.name >= bindparam("least")).order_by(tables.key.c.name)
    with store.database.read(settling.SYSTEM) as tx:
        assert tx.together((named, {"least": "b"}), (named, {"least": ""}), (named, {"least": "x\0"})) == [
            [("b",), ("c",)], [("a",), ("b",), ("c",)], [],
        ]  # fmt: skip
        assert tx.together() == []
        assert tx.rows(named, least="c") == [("c",)]


def test_one_that_fails_among_several_fails_them_all_and_nothing_after(store):
    wrong = select(literal_column("nothing_of_this_name"))
    for open_ in (store.database.read, store.database.look):
        with pytest.raises(StratalError), open_(settling.SYSTEM) as tx:
            tx.together((select(tables.key.c.name), {}), (wrong, {}))
        with pytest.raises(StratalError), open_(settling.SYSTEM) as tx:
            tx.rows(wrong)
        with open_(settling.SYSTEM) as tx:
            assert tx.together((select(tables.key.c.name), {})) == [[]]


def test_a_read_ends_when_nobody_waits_any_more_and_the_next_one_is_answered(store):
    counted = select(literal(1).label("n")).cte("counted", recursive=True)
    counted = counted.union_all(select(counted.c.n + 1).where(counted.c.n < 10**9))
    for asked in (select(func.count()).select_from(counted), select(counted.c.n).where(counted.c.n.in_([1, 10**9]))):
        with pytest.raises(Refused, match="given up"), reading_within(0.01), store.database.read(settling.SYSTEM) as tx:
            tx.rows(asked)
        with reading_within(60), store.database.read(settling.SYSTEM) as tx:
            assert tx.rows(select(tables.key.c.name)) == []


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**40])
def test_a_whole_number_of_more_than_64_bits_is_refused_alike_everywhere_and_changes_nothing(store: Store, number: int):
    rows = insert(tables.damage)
    found = select(tables.damage.c.segment).where(tables.damage.c.start == bindparam("from_start"))
    many = [{"segment": "s", "start": start, "stop": 7} for start in (1, number)]
    for ask in (
        lambda tx: tx.run(rows, segment="s", start=number, stop=7),
        lambda tx: tx.many(rows, many),
        lambda tx: tx.rows(found, from_start=number),
        lambda tx: tx.together((found, {"from_start": number})),
    ):
        with pytest.raises(OverflowError), store.command() as tx:
            ask(tx)
    with store.database.read(store.actor()) as tx, pytest.raises(OverflowError):
        tx.rows(found, from_start=number)
    with store.database.read(store.actor()) as tx:
        assert tx.value(select(func.count()).select_from(tables.damage)) == 0
