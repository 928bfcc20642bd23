"""The doctor: each thing that can be wrong is found, named with what to do, and nothing is changed. Excludes full disks."""

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from stratal.cli.app import main
from stratal.core.clock import SECOND_NS
from stratal.core.errors import StoreDown
from stratal.store import examining, migrating
from stratal.store.examining import Check, check_disk
from stratal.store.journal import segments
from stratal.store.migrating import open_database
from stratal.store.proofs import claim
from stratal.store.store import Store
from stratal.store.upgrading import schema_of
from stratal.testing.victims import Victims
from stratal.tracking.doctor import doctor
from stratal.tracking.opening import open_store, use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


def log_one(store: Store, content: bytes) -> str:
    with run("churn", store=store) as made:
        made.log({"loss": 1.0}, step=0)
        made.save_bytes("file", content)
    return get_run(made.id, store=store).artifacts[0].digest


def found(store: Store, *, deep: bool = False) -> dict[str, Check]:
    checks = doctor(deep=deep, store=store)
    assert all(check.hint for check in checks if check.state != "good"), "each says what to do"
    return {check.name: check for check in checks}


def states(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.state for name, check in checks.items() if check.state != "good"}


@pytest.fixture(autouse=True)
def _a_roomy_disk(monkeypatch):
    """The machine of the test may have little room; that is not what these are about."""
    monkeypatch.setattr(examining, "_LITTLE_BYTES", 0)
    monkeypatch.setattr(examining, "_LITTLE_SHARE", 0.0)


def test_a_healthy_store_is_good_in_all(store):
    log_one(store, b"x")
    checks = found(store, deep=True)
    assert states(checks) == {}
    assert set(checks) == {
        "schema", "disk", "clock", "database", "journals", "damage", "times", "files", "sent", "garbage", "runs", "quotas",
    }  # fmt: skip


def test_a_file_that_was_used_is_needed_and_a_frame_is_none(store, tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n")
    with run("churn", store=store) as made:
        made.use(tmp_path / "rows.csv")
        made.use(pl.DataFrame({"a": [1]}))
    assert found(store)["files"].says.startswith("1 files that are needed: there")


def test_missing_and_spoilt_files_are_found(store):
    missing, spoilt = log_one(store, b"missing"), log_one(store, b"spoilt")
    store.blobs.path(missing).unlink()
    path = store.blobs.path(spoilt)
    path.chmod(0o644)
    path.write_bytes(b"spoiled"[:6])
    assert found(store)["files"].details == (f"missing {missing}",)
    assert found(store, deep=True)["files"].details == (f"missing {missing}", f"spoilt {spoilt}")


def test_files_that_were_named_and_never_sent_are_told_after_a_day(store, monkeypatch):
    with store.command() as tx:
        claim(tx, "d" * 64, "run:00", "eve")
    assert found(store)["sent"].state == "good", "they may be on their way"
    later_ns = store.clock.now_ns() + 90_000 * SECOND_NS
    monkeypatch.setattr(store.database.clock, "now_ns", lambda: later_ns)
    check = found(store)["sent"]
    assert (check.state, check.details) == ("note", (f"eve named {'d' * 64} in run:00",))


def test_a_spoilt_database_is_found_and_not_touched(store):
    for number in range(50):
        log_one(store, b"%d" % number)
    store.settle()
    store.database.checkpoint()
    store.close()
    path = store.folder / "stratal.db"
    data = bytearray(path.read_bytes())
    for page in range(5, len(data) // 4096, 3):  # first bytes of pages: their kind
        data[page * 4096] ^= 0xFF
    path.write_bytes(data)
    for left in store.folder.glob("stratal.db-*"):
        left.unlink()
    with pytest.raises(StoreDown, match="malformed") as told:
        open_store(store.folder).settle()
    assert "stratal backup restore" in str(told.value.hint)
    checks = doctor(store=open_store(store.folder))
    assert [(check.name, check.state) for check in checks if check.state == "bad"] == [("database", "bad")]
    assert checks[-1].name == "database", "nothing after it is looked at"
    assert path.read_bytes() == data


def test_a_store_whose_process_ended_before_there_was_a_database_is_one(store, tmp_path):
    log_one(store, b"x")
    store.close()
    shutil.copytree(store.journals, tmp_path / "early" / "journal")
    early = open_store(tmp_path / "early")
    check = found(early)["database"]
    assert check.state == "note" and "bytes wait in the journals" in check.says
    early.settle()
    assert states(found(early)) == {"files": "bad"}, "its files were not copied"


def test_a_flipped_bit_in_a_journal_is_told(store):
    with run("churn", store=store) as made:
        for step in range(10):
            made.log({"loss": 1.0}, step=step)
        [name] = segments(store.journals)
        path = store.journals / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        check = found(store)["damage"]
    assert check.state == "bad" and name in check.details[0]


def test_a_torn_end_is_a_note(store, tmp_path):
    log_one(store, b"x")
    [name] = segments(store.journals)
    store.close()
    with (store.journals / name).open("ab") as file:
        file.write(b"torn")
    opened = open_store(store.folder)
    assert states(found(opened)) == {"journals": "note"}
    opened.close()


def test_runs_whose_process_is_gone_are_told(store, victims: Victims):
    victims.start("stratal.testing.webhook_workloads:begin_and_die", str(store.folder)).wait()
    assert states(found(store)) == {"runs": "note"}


def test_what_nobody_needs_is_told(store):
    digest = store.blobs.put(b"orphan")
    old = store.clock.now_ns() - 2 * 86_400 * SECOND_NS
    os.utime(store.blobs.path(digest), ns=(old, old))
    assert states(found(store)) == {"garbage": "note"}
    assert store.blobs.has(digest)


def test_an_event_of_the_future_is_told(store):
    with store.command() as tx:
        tx.emit("x", "y")
    connection = store.database.connect()
    connection.execute("update event set at_ns = at_ns + ?", [3600 * SECOND_NS])
    connection.close()
    assert states(found(store)) == {"times": "note"}


def test_an_older_store_is_not_migrated_by_the_doctor(tmp_path, monkeypatch):
    folder = tmp_path / "old"
    folder.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(migrating, "newest_version", lambda: 13)
        patched.setattr(migrating, "TARGET", "0013")
        open_database(folder / "stratal.db").close()
    opened = open_store(folder)
    assert states(found(opened)) == {"schema": "note"}
    assert schema_of(folder) == 13


def test_where_there_is_no_store_it_says_so(tmp_path):
    assert states(found(open_store(tmp_path / "none"))) == {"database": "bad"}
    assert not (tmp_path / "none" / "stratal.db").exists()


def test_little_room_is_a_note(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(examining, "_LITTLE_SHARE", 2.0)
    assert check_disk(tmp_path).state == "note"


def test_the_command_prints_and_exits_with_1_if_something_is_bad(store, capsys):
    use_store(store)
    digest = log_one(store, b"x")

    def output(*words: str, code: int) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["doctor", *words])
        assert ended.value.code == code
        return capsys.readouterr().out

    assert "good" in output(code=0)
    store.blobs.path(digest).unlink()
    assert digest in output(code=1)
    assert {check["name"] for check in json.loads(output("--json", code=1)) if check["state"] == "bad"} == {"files"}
