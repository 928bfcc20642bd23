"""Opening stores, blobs, transactions, events, operations. Excludes settling and faults."""

import os
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from stratal.core.errors import Bug, Conflict, Damaged, Misuse, NotFound
from stratal.core.people import Identity, Role, acting_as
from stratal.core.records import Record
from stratal.core.settings import Settings, load_settings
from stratal.store import tables
from stratal.store.database import insert
from stratal.store.events import events_since, latest_seq
from stratal.store.files.blobs import digest_of
from stratal.store.files.disk import DiskBlobs
from stratal.store.locating import file_system, locate
from stratal.store.migrating import newest_version, open_database
from stratal.store.operations import operation, operations_of
from stratal.store.store import Store
from stratal.store.uses import blob_use, drop_uses, holders_of
from stratal.tracking.opening import open_store

MOUNTS = """22 1 0:21 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:30 / /home rw - nfs4 server:/home rw
31 30 0:31 / /home/local\\040disk rw - xfs /dev/sdb rw
40 22 0:40 / /mnt/share rw - cifs //server/share rw
41 22 0:41 / /mnt/ssh rw shared:5 - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/x", "ext4"),
        ("/home/me/.stratal", "nfs4"),
        ("/home/local disk/x", "xfs"),
        ("/mnt/share/a", "cifs"),
        ("/mnt/ssh/a", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_its_nearest_mount(folder: str, kind: str):
    assert file_system(Path(folder), MOUNTS) == kind


@pytest.mark.parametrize("place", ["/home/me/.stratal", "/mnt/share/a", "/mnt/ssh/a"])
def test_a_folder_on_a_network_file_system_is_refused_with_the_ways_out(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr("stratal.store.locating._MOUNTS", mounts)
    with pytest.raises(Misuse, match="network file system") as refused:
        locate(place, Settings(), tmp_path)
    assert "local disk" in str(refused.value)
    assert "PostgreSQL" in str(refused.value)


def test_the_store_is_the_nearest_folder_upwards_else_one_right_here(tmp_path: Path):
    (tmp_path / "project" / "deep").mkdir(parents=True)
    assert locate(None, Settings(), tmp_path / "project") == tmp_path / "project" / ".stratal"
    (tmp_path / ".stratal").mkdir()
    assert locate(None, Settings(), tmp_path / "project" / "deep") == tmp_path / ".stratal"
    assert locate("file:///x/y", Settings(), tmp_path) == Path("/x/y")


@pytest.mark.parametrize("url", ["mysql://host/db", "s3://bucket"])
def test_stores_that_are_not_there_yet_are_refused_plainly(url: str, tmp_path: Path):
    with pytest.raises(Misuse, match="not in this version"):
        open_store(url)


def test_settings_come_from_environment_then_file_and_unknown_ones_are_refused(tmp_path: Path):
    (tmp_path / "stratal.toml").write_text('store = "from-file"\nslots = 3\n')
    assert load_settings(tmp_path, {"STRATAL_USER": "maria"}) == Settings(store="from-file", slots=3, user="maria")
    assert load_settings(tmp_path, {"STRATAL_STORE": "x", "USER": "u"}).store == "x"
    with pytest.raises(Misuse, match="durability"):
        load_settings(tmp_path, {"STRATAL_DURABILITY": "forever"})
    (tmp_path / "stratal.toml").write_text("sotre = 1\n")
    with pytest.raises(Misuse, match="sotre") as refused:
        load_settings(tmp_path, {})
    assert "store" in str(refused.value)


def test_blobs_are_stored_once_under_their_digest_and_verified(tmp_path: Path):
    blobs = DiskBlobs(tmp_path / "blobs")
    digest = blobs.put(b"hello")
    assert blobs.put(b"hello") == digest == digest_of(b"hello")
    (tmp_path / "file").write_bytes(b"hello")
    assert blobs.put_file(tmp_path / "file") == digest
    assert blobs.read(digest) == b"hello"
    assert (blobs.size_bytes(digest), blobs.has(digest_of(b"x"))) == (5, False)
    assert len([file for file in blobs.folder.rglob("*") if file.is_file()]) == 1
    os.chmod(blobs.path(digest), 0o644)
    blobs.path(digest).write_bytes(b"hellp")
    with pytest.raises(Damaged):
        blobs.read(digest)
    with pytest.raises(NotFound):
        blobs.read(digest_of(b"other"))
    with pytest.raises(NotFound):
        blobs.put_file(tmp_path / "missing")


@pytest.mark.parametrize("digest", ["../../etc/passwd", "a" * 63, "A" * 64, "", "a" * 64 + "\n"])
def test_what_is_no_digest_never_becomes_a_path(tmp_path: Path, digest: str):
    with pytest.raises(Misuse):
        DiskBlobs(tmp_path).path(digest)


def test_a_blob_is_never_seen_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    blobs = DiskBlobs(tmp_path / "blobs")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            blobs.put(b"half")
    assert not blobs.has(digest_of(b"half"))
    assert [file for file in blobs.folder.rglob("*") if file.is_file()] == []


def test_a_power_safe_blob_is_on_the_disk_with_each_folder_that_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    blobs = DiskBlobs(tmp_path / "blobs", power=True)
    digest = blobs.put(b"x")
    assert synced[-2:] == [str(tmp_path / "blobs" / digest[:2]), str(tmp_path / "blobs")]


def test_uses_say_who_needs_a_blob(store: Store):
    digest = store.blobs.put(b"x")
    with store.command() as tx:
        for holder in ("run:1", "dataset:d@1", "run:1"):
            blob_use(tx, digest, holder)
    with store.command() as tx:
        assert holders_of(tx, digest) == ["dataset:d@1", "run:1"]
        assert drop_uses(tx, "run:1") == 1
        assert holders_of(tx, digest) == ["dataset:d@1"]


_ADD = insert(tables.key)
_FIND = select(tables.key.c.id).where(tables.key.c.name == bindparam("wanted"))


def test_a_write_is_whole_or_nothing_and_a_read_is_one_moment(store: Store):
    with pytest.raises(RuntimeError), store.command() as tx:
        tx.run(_ADD, name="a")
        raise RuntimeError
    with store.query() as tx:
        assert tx.value(_FIND, wanted="a") is None
        thread = threading.Thread(target=_add_key, args=(store, "a"))
        thread.start()
        thread.join()
        assert tx.value(_FIND, wanted="a") is None, "the snapshot began before"
    with store.query() as tx:
        assert tx.value(_FIND, wanted="a") is not None
    with pytest.raises(Conflict), store.command() as tx:
        tx.run(_ADD, name="a")


def _add_key(store: Store, name: str) -> None:
    with store.command() as tx:
        tx.run(_ADD, name=name)


def test_a_statement_without_its_values_is_our_bug_and_says_which(store: Store):
    with pytest.raises(Bug, match="wanted"), store.query() as tx:
        tx.value(_FIND)


def test_events_stand_in_the_transaction_of_their_change(store: Store):
    with store.query() as tx:
        before = latest_seq(tx)
    with acting_as(Identity(name="maria")), store.command() as tx:
        tx.emit("model", "model:churn@1", '{"stage": "Staging"}')
    with pytest.raises(RuntimeError), store.command() as tx:
        tx.emit("model", "model:churn@2")
        raise RuntimeError
    with store.query() as tx:
        events = events_since(tx, before)
    assert [(e.kind, e.subject, e.actor) for e in events] == [("model", "model:churn@1", "maria")]
    assert events[0].seq == before + 1


class Thing(Record, frozen=True, kw_only=True):
    name: str
    size: int


class ThingStore:
    @operation(needs=Role.CONTRIBUTOR, on="model")
    def add(self, *, model: str, thing: Thing) -> Thing:
        """Add a thing."""
        return thing

    @operation(needs=Role.VIEWER)
    def list(self, *, limit: int = 10) -> list[Thing]:
        return []

    def inner(self, tx: object) -> None: ...


def test_operations_are_listed_with_types_roles_and_whether_they_change_the_store():
    found = operations_of(ThingStore)
    assert sorted(found) == ["add", "list"]
    assert (found["add"].is_command, found["add"].needs, found["add"].on) == (True, Role.CONTRIBUTOR, "model")
    assert (found["list"].is_command, found["list"].arguments, found["list"].returns) == (False, {"limit": int}, list[Thing])
    assert found["add"].doc == "Add a thing."


def test_operations_that_could_not_be_served_are_refused_when_they_are_written():
    with pytest.raises(Bug, match="keyword-only"):

        class Positional:
            @operation(needs=Role.VIEWER)
            def get(self, name: str) -> str:
                return name

    with pytest.raises(Bug, match="no argument"):

        class Nameless:
            @operation(needs=Role.VIEWER, on="model")
            def get(self, *, name: str) -> str:
                return name

    class Wireless:
        @operation(needs=Role.VIEWER)
        def get(self, *, name: threading.Thread) -> str:
            return ""

    with pytest.raises(Bug, match="wire"):
        operations_of(Wireless)


def test_every_table_and_index_compiles_for_postgresql():
    for table in tables.metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
        for index in table.indexes:
            assert "CREATE" in str(CreateIndex(index).compile(dialect=postgresql.dialect()))


def test_a_newer_database_is_refused_with_what_to_install(tmp_path: Path):
    folder = tmp_path / "s"
    open_store(folder).settle()
    with sqlite3.connect(folder / "stratal.db") as connection:
        connection.execute(f"pragma user_version = {newest_version() + 5}")
    with pytest.raises(Misuse, match="schema") as refused:
        open_database(folder / "stratal.db")
    assert "pip install" in str(refused.value)


def test_an_older_database_is_backed_up_before_it_is_migrated(tmp_path: Path):
    """A database of the first revision alone: what a store of the first release is to later ones."""
    from stratal.store import migrating

    path = tmp_path / "stratal.db"
    folder = migrating.FOLDER
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(migrating, "newest_version", lambda: 1)
        patched.setattr(migrating, "TARGET", "0001")
        open_database(path).close()
    assert sqlite3.connect(path).execute("pragma user_version").fetchone() == (1,)
    database = open_database(path)
    assert database.version() == newest_version()
    [backup] = tmp_path.glob("stratal-schema1-*.backup.db")
    assert sqlite3.connect(backup).execute("pragma user_version").fetchone() == (1,)
    assert folder.is_dir()
    database.close()


def test_migrations_give_the_tables_of_today(tmp_path: Path):
    import importlib
    import pkgutil

    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    import stratal

    for module in pkgutil.walk_packages(stratal.__path__, "stratal."):
        if module.name.endswith(".tables"):
            importlib.import_module(module.name)
    open_database(tmp_path / "stratal.db").close()
    with create_engine(f"sqlite:///{tmp_path / 'stratal.db'}").connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    assert [d for d in differences if not (d[0] == "remove_table" and d[1].name == "alembic_version")] == []
