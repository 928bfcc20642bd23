"""What is PostgreSQL's own: lost connections, its gate, its texts, migrations by several. Excludes what holds on both databases."""

import importlib
import os
import pkgutil
import random
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import select

import stratal
from stratal.core.errors import Bug, Conflict, Misuse, OutcomeUnknown, StoreDown
from stratal.core.people import Identity
from stratal.store import migrating, postgres, tables, uploading
from stratal.store.addresses import database_address
from stratal.store.backups import back_up
from stratal.store.database import insert
from stratal.store.events import wait
from stratal.store.examining import examine
from stratal.store.migrating import newest_version, open_service
from stratal.store.store import Store
from stratal.testing.postgres import PostgresServer
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

ADA = Identity(name="ada")
_ADD = insert(tables.key)
_ADD_QUIETLY = insert(tables.key).on_conflict_do_nothing()
_NAMES = select(tables.key.c.name).order_by(tables.key.c.id)


@pytest.fixture
def served(lent: Callable[[], str]):
    """A store on PostgreSQL."""
    opened = open_store(lent())
    yield opened
    opened.close()


@pytest.fixture
def empty(postgres_server: PostgresServer):
    """The URL of a database without any table."""
    name = postgres_server.make_database()
    yield postgres_server.url(name)
    postgres_server.run_sql(f"drop database {name} with (force)")


def names(store: Store) -> list[str]:
    with store.database.read(ADA) as tx:
        return [name for (name,) in tx.rows(_NAMES)]


def cut(store: Store, server: PostgresServer) -> None:
    """Cut every connection to a store's database, as a network or an operator does."""
    database = store.url.split("?")[0].rsplit("/", 1)[1]
    server.run_sql(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'")


def test_a_connection_that_is_lost_inside_a_transaction_changes_nothing(served: Store, postgres_server: PostgresServer):
    with pytest.raises(StoreDown, match="nothing has changed"), served.command() as tx:
        tx.run(_ADD, name="lost")
        cut(served, postgres_server)
        tx.run(_ADD, name="never sent")
    assert names(served) == []
    with served.command() as tx:
        tx.run(_ADD, name="kept")
    assert names(served) == ["kept"]


def test_a_commit_whose_answer_is_lost_says_that_nobody_knows(served: Store, postgres_server: PostgresServer):
    forgotten = []
    served.database.on_rollback.append(lambda: forgotten.append(1))
    served.database.fault = lambda point: cut(served, postgres_server) if point == "before commit" else None
    with pytest.raises(OutcomeUnknown, match="look before you do it again") as lost, served.command() as tx:
        tx.run(_ADD, name="perhaps")
    assert not lost.value.retryable
    served.database.fault = lambda _: None
    assert forgotten == [1]
    assert names(served) == []


def test_connections_that_were_lost_while_they_were_idle_are_replaced(served: Store, postgres_server: PostgresServer):
    with served.command() as tx:
        tx.run(_ADD, name="before")
    with served.database.read(ADA), served.database.read(ADA):
        pass  # two readers, idle from now on
    cut(served, postgres_server)
    assert names(served) == ["before"]
    with served.command() as tx:
        tx.run(_ADD, name="after")
    assert names(served) == ["before", "after"]


def test_a_server_that_is_away_is_waited_for_once_and_not_by_each_who_comes(
    served: Store, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
):
    """Many wait for their turn to write: one after the other, each with a patience of its own, they would wait for minutes."""
    at_s, waited = [100.0], []

    def sleep(seconds: float) -> None:
        at_s[0] += 20 * seconds
        waited.append(seconds)

    assert names(served) == []
    monkeypatch.setattr(postgres, "time", SimpleNamespace(monotonic=lambda: at_s[0], sleep=sleep))
    postgres_server.stop("immediate")
    try:
        with pytest.raises(StoreDown, match="cannot be reached"), served.command():
            pass
        assert at_s[0] > 100 + postgres.AWAY_S
        waited.clear()
        for _ in range(3):
            with pytest.raises(StoreDown, match="cannot be reached"), served.command():
                pass
        assert waited == []
    finally:
        postgres_server.start()
    assert names(served) == []
    postgres_server.stop("immediate")
    with pytest.raises(StoreDown, match="cannot be reached"):
        names(served)
    assert waited, "it was there again, and is waited for again"
    postgres_server.start()


def test_a_reader_that_is_cut_off_says_so_and_is_not_used_again(served: Store, postgres_server: PostgresServer):
    with pytest.raises(StoreDown), served.database.read(ADA) as tx:
        tx.rows(_NAMES)
        cut(served, postgres_server)
        tx.rows(_NAMES)
    assert names(served) == []


def test_an_error_inside_a_transaction_ends_it_even_if_it_was_caught(served: Store):
    with served.command() as tx:
        tx.run(_ADD, name="a")
    with pytest.raises(Bug, match="went on after"), served.command() as tx:
        with pytest.raises(Conflict):
            tx.run(_ADD, name="a")
    assert names(served) == ["a"]


def test_whoever_freezes_inside_a_transaction_loses_it_and_the_others_go_on(served: Store):
    """By PostgreSQL's own clock: a process that was stopped, or is cut off by its network, cannot give the gate back."""
    frozen, other = open_store(served.url), open_store(served.url)
    done = threading.Event()

    def write() -> None:
        with other.command() as tx:
            tx.run(_ADD, name="other")
        done.set()

    with pytest.raises(StoreDown), frozen.command() as tx:
        tx.run(_ADD, name="frozen")
        connection = frozen.database._connection
        assert connection.execute("show idle_in_transaction_session_timeout").fetchone() == (f"{postgres.FROZEN_S // 60}min",)
        connection.execute("set local idle_in_transaction_session_timeout = '50ms'")  # only now: nothing before may take so long
        threading.Thread(target=write).start()
        assert done.wait(60)
        tx.run(_ADD, name="too late")
    assert names(served) == ["other"]
    frozen.close()
    other.close()


def test_whoever_waits_too_long_at_the_gate_is_told_so(served: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres, "_SETTINGS", re.sub("lock_timeout = '[0-9]+s'", "lock_timeout = '20ms'", postgres._SETTINGS))
    other = open_store(served.url)
    other.settle()
    with served.command() as tx:
        tx.run(_ADD, name="first")
        with pytest.raises(StoreDown, match="busy"), other.command():
            pass
    with other.command() as tx:
        tx.run(_ADD, name="second")
    assert names(served) == ["first", "second"]
    other.close()


def test_what_postgresql_cannot_hold_is_kept_as_near_as_it_can(served: Store):
    with run("e", params={"p": "a\0b"}, tags={"t": "\0"}, store=served) as opened:
        opened.log({"m": 1.0})
        opened.note("n\0n")
    read = get_run(opened.id, store=served)
    assert (read.params, read.tags, read.metrics) == ({"p": "a\0b"}, {"t": "\0"}, {"m": 1.0}), "documents hold it as an escape"
    assert [note.text for note in read.notes] == ["n\u2400n"]
    found = find_runs("params.p = 'a\0b' and text contains 'n'", order_by="name", store=served)
    assert [one.id for one in found] == [opened.id]


def test_a_text_that_no_index_has_room_for_is_refused_and_not_tried_again_for_ever(served: Store):
    with pytest.raises(Misuse, match="cannot hold"), served.command() as tx:
        tx.run(_ADD, name=random.Random(1).randbytes(6000).hex())
    assert names(served) == []


def test_every_text_of_every_table_compares_by_its_bytes(served: Store):
    found = served.database.connect().execute(
        "select table_name, column_name, collation_name from information_schema.columns"
        " where table_schema = 'public' and data_type = 'text'"
    )
    rows = found.fetchall()
    assert len(rows) > 100
    assert {collation for *_, collation in rows} == {"C"}


def test_bulk_rows_are_written_by_one_statement_and_rows_that_meet_in_it_one_by_one(served: Store):
    upsert = insert(tables.about)
    upsert = upsert.on_conflict_do_update(index_elements=["name"], set_={"value": upsert.excluded.value})
    with served.command() as tx:
        tx.many_tuples(_ADD_QUIETLY, ("name",), [(f"k{number}",) for number in range(1000)] + [("k0",)])
        tx.many_tuples(upsert, ("name", "value"), [("x", "1"), ("y", "2"), ("x", "3")])
        tx.many(insert(tables.damage), [{"segment": "s", "start": 2**40, "stop": 7}, {"segment": "s", "start": 0, "stop": 0}])
    with served.database.read(ADA) as tx:
        assert len(tx.rows(_NAMES)) == 1000
        assert dict(tx.rows(select(tables.about.c.name, tables.about.c.value).where(tables.about.c.name.in_(["x", "y"])))) == {
            "x": "3",
            "y": "2",
        }
        assert tx.rows(tables.damage.select().order_by(tables.damage.c.start)) == [("s", 0, 0), ("s", 2**40, 7)]


@pytest.mark.slow
def test_several_that_open_an_empty_database_at_once_make_its_tables_once(empty: str):
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda number: open_service(empty, f"by {number}"), range(4)))
    assert {database.version() for database in opened} == {newest_version()}
    for database in opened:
        database.close()


@pytest.mark.slow
def test_every_older_schema_is_brought_up_to_today(empty: str, monkeypatch: pytest.MonkeyPatch):
    for version in sorted(int(path.name[:4]) for path in (migrating.FOLDER / "versions").glob("[0-9]*.py")):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(migrating, "newest_version", lambda version=version: version)
            patched.setattr(migrating, "TARGET", f"{version:04d}")
            database = open_service(empty, "old")
            assert database.version() == version
            database.close()
    opened = open_service(empty, "today")
    with opened.read(ADA) as tx:
        assert tx.value(select(tables.about.c.value).where(tables.about.c.name == "release"))
    opened.close()


def test_migrations_give_the_tables_of_today_on_postgresql(served: Store):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    for module in pkgutil.walk_packages(stratal.__path__, "stratal."):
        if module.name.endswith(".tables"):
            importlib.import_module(module.name)
    with served.database.engine().connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    assert [d for d in differences if not (d[0] == "remove_table" and d[1].name == "alembic_version")] == []


def test_a_migration_that_fails_leaves_the_database_as_it_was(empty: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(migrating, "_SAY_ABOUT", select(tables.about.c.value.op("/")(0)))
    with pytest.raises(StoreDown, match="cannot be made or migrated"):
        open_service(empty, "new")
    with psycopg.connect(empty) as connection:
        assert connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone() == (0,)


def test_a_newer_schema_is_refused_with_what_to_install(served: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(migrating, "newest_version", lambda: newest_version() - 1)
    with pytest.raises(Misuse, match=r"has schema .* knows schema") as refused:
        open_store(served.url).settle()
    assert "pip install 'stratal>=" in str(refused.value)


def test_a_database_of_another_encoding_is_refused(postgres_server: PostgresServer):
    postgres_server.run_sql("create database latin template template0 encoding 'LATIN1'")
    with pytest.raises(Misuse, match="LATIN1"):
        open_service(postgres_server.url("latin"), "latin")
    postgres_server.run_sql("drop database latin with (force)")


def test_a_server_that_is_not_there_is_said_plainly_and_what_was_logged_is_kept(served: Store, tmp_path, monkeypatch: pytest.MonkeyPatch):
    nobody = open_store(f"postgresql://ada:secret@/nobody?host={tmp_path}")
    with run("e", store=nobody) as opened:
        opened.log({"m": 1.0})
    with pytest.raises(StoreDown, match="cannot be reached") as down:
        nobody.settle()
    assert "secret" not in f"{down.value}{nobody.url}{down.value.__cause__}"
    assert list(nobody.journals.glob("*.log"))
    nobody.writer.close()


def test_a_password_is_neither_shown_nor_handed_on_nor_part_of_the_place():
    said = "postgresql://ada:s%40crt@db.example:5433/team?blobs=/shared/files&sslmode=require"
    address = database_address(said)
    assert address is not None
    assert address.url == "postgresql://ada@db.example:5433/team?sslmode=require"
    assert address.shown == "postgresql://ada@db.example:5433/team?sslmode=require&blobs=/shared/files"
    assert address.dsn == "postgresql://ada@db.example:5433/team?sslmode=require&password=s%40crt"
    again = database_address(address.shown)
    assert again is not None and again.dsn == address.dsn, "who opens it again in this process need not say it"
    assert "s%40crt" not in repr(address)
    spaced = database_address("postgresql://db.example/team?options=-c%20geqo%3Doff&password=a+b%20c")
    assert spaced is not None and spaced.url == "postgresql://db.example/team?options=-c%20geqo%3Doff", "as libpq reads it"
    assert spaced.dsn.endswith("&password=a%2Bb%20c")


@pytest.mark.parametrize(
    "said",
    ["postgresql://ada:secret@host", "postgres://ada:secret@host:x/db", "postgresql://h/db?blobs=relative&password=secret",
     "postgresql://ada:secret@host/a/b", "postgresql://h/db?password=secret&broken"],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused_without_its_password(said: str):
    with pytest.raises(Misuse) as refused:
        open_store(said)
    assert "secret" not in str(refused.value)


def test_blobs_may_lie_in_a_folder_that_all_machines_see(served: Store, tmp_path):
    shared = open_store(f"{served.url}&blobs={tmp_path}/files")
    digest = shared.blobs.put(b"x")
    assert shared.blobs.path(digest).is_relative_to(tmp_path / "files")
    assert shared.folder == served.folder
    shared.close()


def test_a_store_that_was_closed_leaves_no_thread_that_settles(empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    store = open_store(empty)
    with run("e", store=store) as opened:
        opened.log({"m": 1.0})
    assert store.journals in uploading._uploaders
    store.close()
    assert store.journals not in uploading._uploaders, "it would go on with connections of its own"


def test_a_wait_that_is_connecting_while_its_database_is_closed_leaves_no_connection(served: Store, monkeypatch: pytest.MonkeyPatch):
    database, made = served.database, []
    connect = database.connect

    def connect_late() -> psycopg.Connection:
        made.append(connect())
        database.close()
        return made[-1]

    monkeypatch.setattr(database, "connect", connect_late)
    database.wait_for_events(0.1, heard=database.heard)
    assert [connection.closed for connection in made] == [True]


def test_a_process_without_the_driver_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "stratal.store.postgres", None)
    with pytest.raises(Misuse, match="psycopg"):
        open_service("postgresql://h/db", "h")


def test_a_process_that_is_forked_leaves_its_parents_connections_alone(served: Store):
    with served.command() as tx:
        tx.run(_ADD, name="parent")
    pid = os.fork()
    if pid == 0:
        try:
            with served.command() as tx:
                tx.run(_ADD, name="child")
            served.database.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    with served.command() as tx:
        tx.run(_ADD, name="parent again")
    assert names(served) == ["parent", "child", "parent again"]


def test_its_own_tools_back_it_up_and_the_doctor_looks_at_what_is_here(served: Store, tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="its own tools"):
        back_up(served, tmp_path / "backup")
    found = {check.name: check.state for check in examine(served, deep=True)}
    assert found["database"] == "good"
    assert {name for name, state in found.items() if state != "good"} <= {"disk"}  # how full this machine is is no matter here


def test_whoever_waits_for_events_goes_on_when_its_connection_was_cut(served: Store, postgres_server: PostgresServer):
    wait(served.database, 0, timeout_s=0.1)  # it listens
    cut(served, postgres_server)
    with served.command() as tx:
        tx.emit("changed", "after")
    assert wait(served.database, 0, timeout_s=60) == 1
