"""A snapshot of a store in a folder, brought to PostgreSQL. Excludes what a backup holds and refuses (test_backups)."""

import errno
import json
import logging
import shutil
import tempfile

import pytest

from stratal.cli.app import main
from stratal.core.errors import Conflict, Damaged, Misuse, OutcomeUnknown, StoreDown
from stratal.store import migrating
from stratal.store.access.accounts import AccessStore
from stratal.store.access.noticing import note_refusals, refusals
from stratal.store.backups import DATABASE, MANIFEST, back_up
from stratal.store.carrying import restore_into
from stratal.store.files.blobs import digest_of_file
from stratal.store.migrating import open_database
from stratal.store.settling import SYSTEM
from stratal.store.store import Store
from stratal.tracking.doctor import doctor
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


@pytest.fixture
def backup(store, tmp_path):
    """A snapshot of a store with two runs, a file, odd texts and an admin; and the ids of the runs."""
    ids = []
    for number in range(2):
        with run("churn", params={"depth": number, "odd": "a\0b"}, tags={"of": "team"}, store=store) as made:
            for step in range(50):
                made.log({"loss": 1 / (step + 1), "nan": float("nan"), "inf": float("inf")}, step=step)
            made.save_bytes("file", b"x" * 1000 * (number + 1))
            made.note("looks\0fine")
        ids.append(made.id)
    AccessStore(store).add_person(name="maria", is_admin=True)
    back_up(store, tmp_path / "backup")
    return tmp_path / "backup", ids


@pytest.fixture
def there(lent):
    """An empty store on PostgreSQL."""
    opened = open_store(lent())
    yield opened
    opened.close()


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no room")


def rows_of(store: Store) -> dict[str, int]:
    connection = store.database.connect()
    names = (
        "select name from sqlite_master where type = 'table' and name not like 'sqlite%'"
        if store.address is None
        else "select table_name from information_schema.tables where table_schema = 'public'"
    )
    counts = {
        str(name): connection.execute(f'select count(*) from "{name}"').fetchone()[0] for (name,) in connection.execute(names).fetchall()
    }
    connection.close()
    return counts


def test_a_store_in_a_folder_goes_on_on_postgresql(store, backup, there):
    folder, ids = backup
    done = restore_into(folder, there)
    assert (done.blobs, done.lacking) == (2, ())
    assert rows_of(there) == rows_of(store)
    for id in ids:
        old, new = get_run(id, store=store), get_run(id, store=there)
        assert new.series("loss").values.tolist() == old.series("loss").values.tolist()
        assert (new.metrics["inf"], new.tags, new.params) == (float("inf"), old.tags, old.params)
        assert [note.text for note in new.notes] == ["looks␀fine"]
        assert there.blobs.read(new.artifacts[0].digest) == store.blobs.read(old.artifacts[0].digest)
    assert [person.name for person in AccessStore(there).people()] == ["maria"]
    with run("churn", store=there) as more:  # numbers that the database gives go on after those that came
        more.log({"other": 1.0})
        more.note("and on")
    assert len(find_runs(store=there)) == 3
    assert all(check.state != "bad" for check in doctor(store=there))


def test_nothing_is_written_over(backup, there):
    with run("mine", store=there):
        pass
    there.settle()
    with pytest.raises(Conflict, match="holds something already"):
        restore_into(backup[0], there)
    assert [found.experiment for found in find_runs(store=there)] == ["mine"]


def test_a_server_that_turned_somebody_away_before_does_not_stand_in_the_way(backup, there):
    with there.database.write(SYSTEM) as tx:
        note_refusals(tx, {("", "sign in", ""): 3})
    restore_into(backup[0], there)
    assert {found.id for found in find_runs(store=there)} == set(backup[1])
    with there.database.read(SYSTEM) as tx:
        assert refusals(tx, 10) == []  # nobody was turned away from the store of the snapshot


def test_all_rows_come_or_none(backup, there):
    there.database.connect().execute("alter table note add constraint none check (text = '')")
    with pytest.raises(StoreDown, match="does not take the snapshot"):
        restore_into(backup[0], there)
    there.database.connect().execute("alter table note drop constraint none")
    assert rows_of(there)["run"] == 0
    restore_into(backup[0], there)
    assert rows_of(there)["run"] == 2


ENDS = """create function ends() returns trigger language plpgsql as
'begin perform pg_terminate_backend(pg_backend_pid()); return null; end';
create constraint trigger ends after insert on run {when} for each row execute function ends()"""


@pytest.mark.parametrize(
    ("when", "error", "says"),
    [("", StoreDown, "nothing of it is there"), ("deferrable initially deferred", OutcomeUnknown, "restore once more")],
    ids=["while rows come", "in the commit"],
)
def test_a_connection_that_is_lost_says_whether_anything_can_be_there(backup, there, capsys, monkeypatch, when, error, says):
    connection = there.database.connect()
    for statement in ENDS.format(when=when).split(";\n"):
        connection.execute(statement)
    monkeypatch.setattr(logging.getLogger("psycopg"), "propagate", False)  # as where nobody has set logging up
    logging.getLogger("psycopg").error("error ignored terminating")  # as the driver does where a copy is cut
    with pytest.raises(error) as refused:
        restore_into(backup[0], there)
    assert type(refused.value) is error and says in refused.value.hint
    assert capsys.readouterr() == ("", "")
    connection.execute("drop function ends() cascade")
    assert rows_of(there)["run"] == 0
    assert restore_into(backup[0], there).blobs == 2


def test_a_backup_is_read_where_it_lies_and_no_copy_of_it_is_made(backup, there, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    before = sorted(backup[0].rglob("*"))
    assert restore_into(backup[0], there).blobs == 2
    assert sorted(backup[0].rglob("*")) == before


def test_a_snapshot_of_an_older_release_is_migrated_on_the_way_and_stays_as_it_was(backup, there, monkeypatch):
    [folder] = (backup[0] / "snapshots").iterdir()
    (folder / DATABASE).unlink()
    with monkeypatch.context() as patched:
        patched.setattr(migrating, "newest_version", lambda: 13)
        patched.setattr(migrating, "TARGET", "0013")
        open_database(folder / DATABASE).close()
    said = json.loads((folder / MANIFEST).read_text())
    said |= {"schema": 13, "digest": (digest := digest_of_file(folder / DATABASE))}
    (folder / MANIFEST).write_text(json.dumps(said))
    restore_into(backup[0], there)
    assert (rows_of(there)["run"], digest_of_file(folder / DATABASE)) == (0, digest)
    with monkeypatch.context() as patched, pytest.raises(StoreDown, match="cannot be written: no room"):
        patched.setattr(shutil, "copyfile", no_room)
        restore_into(backup[0], there)


def test_without_all_files_no_row_comes_unless_that_is_allowed(backup, there):
    next((backup[0] / "blobs").glob("??/*")).unlink()
    with pytest.raises(Damaged, match="lacks 1 of 2 blobs"):
        restore_into(backup[0], there)
    assert rows_of(there)["run"] == 0
    assert len(restore_into(backup[0], there, allow_lacking=True).lacking) == 1


def test_how_far_it_is_is_told_while_files_and_rows_come(backup, there):
    told: dict[str, list[tuple[int, int]]] = {}
    restore_into(backup[0], there, progress=lambda what, done, size: told.setdefault(what, []).append((done, size)))
    assert list(told) == ["files", "database"]
    for steps in told.values():
        assert steps == sorted(steps) and steps[-1][0] == steps[-1][1] > 0


def test_the_command_takes_a_folder_or_a_database_and_says_so(backup, there, tmp_path, capsys):
    for place in (there.address.url, str(tmp_path / "new")):
        with pytest.raises(SystemExit) as ended:
            main(["backup", "restore", str(backup[0]), place])
        assert ended.value.code == 0 and "with 2 files" in capsys.readouterr().out
        assert len(find_runs(store=open_store(place))) == 2
    with pytest.raises(Misuse, match="is a folder"):
        restore_into(backup[0], open_store(tmp_path / "other"))
