"""PostgreSQL over TCP: TLS and passwords, what is wrong with either, and poolers. Excludes what holds over a socket, too."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from certificates import make_certificate
from stratal.core.errors import Misuse, StoreDown, StratalError
from stratal.store import postgres
from stratal.store.events import latest_seq
from stratal.store.store import Store
from stratal.testing.postgres import PostgresServer
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run

SECRET = "a-secret-that-no-error-may-show"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def server(certificate: tuple[Path, Path]) -> Iterator[PostgresServer]:
    """A server that speaks TLS with those who know a password."""
    with PostgresServer() as running:
        try:
            running.listen(cert=certificate[0], key=certificate[1])
        except StoreDown as error:
            pytest.skip(f"this PostgreSQL was built without TLS: {error}")
        running.run_sql(f"create role ada login password '{SECRET}'")
        running.run_sql("create database team owner ada template template0 encoding 'UTF8'")
        yield running


@pytest.fixture
def url(server: PostgresServer, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return f"postgresql://ada:{SECRET}@localhost:{server.port}/team?sslmode=verify-full&sslrootcert={certificate[0]}"


def refused(url: str) -> StratalError:
    """Give what opening a store says, which holds no secret in any way of showing it."""
    store = open_store(url)
    with pytest.raises(StratalError) as told:
        _ = store.database
    shown = f"{told.value}{told.value!r}{told.value.__cause__}{store.url}"
    assert SECRET not in shown and "wrong-one" not in shown
    return told.value


def test_a_store_over_tls_with_a_password_and_options_works(url: str):
    store = open_store(f"{url}&application_name=over-tls&options=-c%20statement_timeout%3D0")
    with run("e", store=store) as made:
        made.log({"m": 1.0}, step=0)
    assert [one.id for one in find_runs("metrics.m = 1", store=store)] == [made.id]
    connection = store.database.connect()
    encrypted = connection.execute("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()").fetchone()
    assert encrypted is not None and encrypted[0] is True and encrypted[1].startswith("TLSv1.")
    assert connection.execute("show application_name").fetchone() == ("over-tls",)
    assert SECRET not in store.url
    connection.close()
    store.close()


def test_a_connection_notices_a_server_that_vanished(url: str):
    """Without this, a thread waits two hours for an answer of a machine that lost its power."""
    store = open_store(url)
    connection = store.database.connect()
    with socket.socket(fileno=connection.fileno()) as wire:
        asked = [wire.getsockopt(socket.IPPROTO_TCP, each) for each in (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPCNT)]
        wire.detach()
    assert asked == [30_000, 10, 4]
    connection.close()
    store.close()


def test_a_wrong_password_is_said_to_be_and_not_told(url: str):
    told = refused(url.replace(SECRET, "wrong-one"))
    assert "password authentication failed" in told.message and "PGPASSWORD" in told.hint


def test_a_password_that_is_missing_is_asked_for(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PGPASSWORD", raising=False)
    told = refused(url.replace(f"ada:{SECRET}@", "bob@"))
    assert "no password supplied" in told.message and "PGPASSWORD" in told.hint


def test_a_database_that_is_not_there_is_named_with_what_makes_it(url: str):
    told = refused(url.replace("/team?", "/nobodys?"))
    assert 'database "nobodys" does not exist' in told.message and "createdb" in told.hint


@pytest.mark.parametrize("change", [("localhost", "127.0.0.1"), ("cert.pem", "other.pem")])
def test_a_certificate_that_proves_nothing_is_refused(url: str, change: tuple[str, str], certificate: tuple[Path, Path]):
    make_certificate(certificate[0].parent, "other")
    told = refused(url.replace(*change))
    assert "certificate" in told.message and "sslrootcert" in told.hint


def test_who_comes_without_tls_is_told_so(url: str):
    told = refused(url.replace("sslmode=verify-full", "sslmode=disable"))
    assert "no encryption" in told.message and "sslmode" in told.hint


def test_a_server_that_is_too_old_is_named_with_what_is_needed(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres, "OLDEST", 990000)
    told = refused(url)
    assert isinstance(told, Misuse) and "is a PostgreSQL 1" in told.message and "99 or newer" in told.hint


@pytest.fixture
def pooled(server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give a function that gives the URL of a PgBouncer which pools in a way; skipped where there is none."""
    if (program := shutil.which("pgbouncer")) is None:
        pytest.skip("there is no pgbouncer here")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    running: list[subprocess.Popen[bytes]] = []

    def pool(mode: str, *, most: int = 20) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings, log = server.folder / f"{mode}.ini", server.folder / f"{mode}.log"
        log.touch()
        log.chmod(0o666)
        settings.write_text(
            f"[databases]\nteam = host={server.folder} port={server.port} user=stratal dbname=team\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
            f"listen_port={port}\nauth_type=any\npool_mode={mode}\ndefault_pool_size={most}\nquery_wait_timeout=10\nunix_socket_dir=\nlogfile={log}\n"
        )
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        running.append(subprocess.Popen([program, *user, settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        while True:
            try:
                psycopg.connect(f"postgresql://stratal@127.0.0.1:{port}/team").close()
                return f"postgresql://stratal@127.0.0.1:{port}/team"
            except psycopg.OperationalError:
                assert running[-1].poll() is None, log.read_text()

    yield pool
    for each in running:
        each.kill()
        each.wait()


def test_a_pooler_of_transactions_is_refused_and_one_of_sessions_serves(pooled, url: str):
    told = refused(pooled("transaction"))
    assert isinstance(told, Misuse) and "pooler" in told.message and "pool_mode = session" in told.hint
    store: Store = open_store(pooled("session"))
    with run("e", store=store) as made:
        made.log({"m": 2.0}, step=0)
    assert [one.id for one in find_runs("metrics.m = 2", store=store)] == [made.id]
    store.close()


def test_readers_that_come_together_do_not_wait_for_each_other_behind_a_full_pooler(pooled):
    store: Store = open_store(pooled("session", most=4) + "?connect_timeout=60")
    find_runs(store=store)
    together = threading.Barrier(3)

    def read() -> int:
        together.wait()
        with store.query() as tx:
            together.wait()
            return latest_seq(tx)

    with ThreadPoolExecutor(3) as threads:
        assert len({each.result() for each in [threads.submit(read) for _ in range(3)]}) == 1
    store.close()


def test_a_pooler_that_has_no_connection_free_is_told_with_what_helps(pooled, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres, "AWAY_S", 0.0)
    url = pooled("session", most=3)
    store: Store = open_store(url + "?connect_timeout=1")
    find_runs(store=store)
    with ExitStack() as held, pytest.raises(StoreDown, match="nothing answered by it for 1 s") as told:
        for _ in range(4):
            held.enter_context(store.query())
    assert "pooler" in told.value.hint and "Sizing" in told.value.hint
    store.close()
