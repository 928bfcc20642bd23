"""Failures of ours in somebody's training: what cannot be written is counted and warned of, and the training goes on. Excludes control."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import SmallDisk

import stratal as st
from stratal.core.errors import Misuse, StoreDown
from stratal.core.settings import load_settings
from stratal.store.store import Store
from stratal.tracking import runs
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.values import Model


@pytest.fixture(autouse=True)
def _warn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As it is where nobody sets anything."""
    monkeypatch.delenv("STRATAL_ON_ERROR")
    yield
    runs._unended.clear()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "disk", "1m") as mounted:
        yield mounted


def test_a_training_goes_on_over_a_full_disk_and_what_is_lost_is_counted(disk: SmallDisk, caplog: pytest.LogCaptureFixture):
    store = open_store(disk.folder / "store")
    calls = 40_000
    with caplog.at_level(logging.WARNING), run("e", store=store) as training:
        for step in range(calls):
            training.log({"m": float(step)}, step=step)
        training.log_params({"late": 1})
        saved = training.save_bytes("weights", b"x" * 500_000)
        lost = training.lost_calls
        assert lost > 100
        assert not store.blobs.has(saved.digest)
        disk.resize("64m")
        training.log({"m": -1.0}, step=calls)
    assert training.lost_calls == lost, "what is written again is not lost"
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2, "one warning when it begins, one at the end"
    assert "loses what it says, and goes on (log)" in warned[0] and "No space left" in warned[0] and "on_error" in warned[0]
    assert f"has lost {lost} calls: 1 x artifact, {lost - 2} x log, 1 x params" in warned[1]
    read = get_run(training.id, store=store)
    assert (read.status, read.lost_calls) == ("finished", lost)
    assert len(read.series("m").steps) == calls + 1 - (lost - 2), "what was not counted as lost is there"
    store.close()


def test_a_read_only_store_loses_everything_and_breaks_nothing(disk: SmallDisk, caplog: pytest.LogCaptureFixture):
    disk.make_read_only()
    with caplog.at_level(logging.WARNING):
        store = open_store(disk.folder / "store")
        with run("e", params={"lr": 0.1}, note="a note", store=store) as training:
            training.log({"m": 1.0}, step=0)
            training.set_tags({"a": "b"})
            training.save_bytes("file", b"x")
            Path("rows.csv").write_text("a\n1\n")
            training.use("rows.csv")
    assert "cannot say yet how it begins" in caplog.text and "Read-only file system" in caplog.text
    assert training.lost_calls == 7  # note, log, tags, artifact, file that is used, its edge, end
    with pytest.raises(StoreDown, match="cannot be made"):
        store.settle()


def test_a_run_that_began_on_a_read_only_disk_says_how_it_began_when_it_can(disk: SmallDisk):
    disk.make_read_only()
    store = open_store(disk.folder / "store")
    with run("e", params={"lr": 0.1}, store=store) as training:
        training.log({"m": 0.0}, step=0)
        disk.make_writable()
        training.log({"m": 1.0}, step=1)
    read = get_run(training.id, store=store)
    assert (read.experiment, read.params, read.status, read.lost_calls) == ("e", {"lr": 0.1}, "finished", 1)
    assert read.series("m").steps.tolist() == [1]
    assert read.started is not None and read.ended is not None and read.started < read.ended
    store.close()


def test_an_end_that_could_not_be_written_is_said_at_exit(disk: SmallDisk):
    store = open_store(disk.folder / "store")
    with pytest.raises(ZeroDivisionError), run("e", store=store) as training:
        store.writer.close()
        disk.make_read_only()
        1 / 0  # noqa: B018
    assert training.lost_calls == 1
    disk.make_writable()
    runs._end_open_runs()
    read = get_run(training.id, store=store)
    assert (read.status, read.error) == ("failed", "ZeroDivisionError: division by zero")
    store.close()


def test_a_folder_where_no_store_can_be_made_does_not_stop_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("STRATAL_STORE", str(tmp_path / "file" / "store"))
    with st.run("e") as training:
        st.log({"m": 1.0}, step=0)
    assert training.lost_calls == 2
    with pytest.raises(StoreDown, match="cannot be made"):
        st.runs()


def test_whoever_wants_errors_gets_them(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch):
    store = open_store(disk.folder / "store")
    with run("e", store=store, on_error="raise") as training:
        store.writer.close()
        disk.make_read_only()
        with pytest.raises(StoreDown, match="Read-only"):
            training.log({"m": 1.0})
        with pytest.raises(StoreDown):
            training.save_bytes("file", b"x")
        assert training.lost_calls == 0
        with pytest.raises(StoreDown):
            run("e", store=store, on_error="raise")
        disk.make_writable()
    monkeypatch.setenv("STRATAL_ON_ERROR", "raise")
    assert load_settings().on_error == "raise"
    monkeypatch.delenv("STRATAL_ON_ERROR")
    Path("stratal.toml").write_text('on_error = "raise"')
    assert load_settings().on_error == "raise"
    store.close()


@pytest.mark.parametrize("value", ["ignore", ""])
def test_an_unknown_word_is_refused(store: Store, value: str):
    with pytest.raises(Misuse, match="choose one of: warn, raise"):
        run("e", store=store, on_error=value)


def test_mistakes_of_the_caller_raise_in_any_case(store: Store):
    with run("e", store=store) as training:
        for mistake in (
            lambda: training.log({"m": object()}),
            lambda: training.log_params({"": 1}),
            lambda: training.save_bytes("../x", b""),
            lambda: training.edge("liked", "dataset:d@1"),
        ):
            with pytest.raises(Misuse):
                mistake()
        with pytest.raises(st.NotFound):
            training.save("missing.txt")
    assert training.lost_calls == 0


def test_the_end_of_work_under_a_lease_raises_if_it_cannot_be_kept(store: Store):
    """It is a command: whoever goes on without it would let others do the work again."""
    leased = start_leased("e", store=store, kind="job")

    def fail(point: str) -> None:
        if point == "before commit":
            store.database.fault = lambda _: None
            raise StoreDown("no room")

    store.database.fault = fail
    with pytest.raises(StoreDown):
        leased.finish()
    leased.finish()
    assert get_run(leased.id, store=store).status == "finished"


def test_a_forked_child_does_not_end_what_its_parent_could_not(disk: SmallDisk):
    store = open_store(disk.folder / "store")
    with run("e", store=store) as training:
        store.writer.close()
        disk.make_read_only()
    assert list(runs._unended) == [training.id]
    child = os.fork()
    if child == 0:
        os._exit(len(runs._unended))
    assert os.waitpid(child, 0)[1] == 0
    disk.make_writable()
    runs._end_open_runs()
    assert get_run(training.id, store=store).status == "finished"
    store.close()


def test_a_model_that_is_used_while_the_disk_is_read_only_does_not_stop_a_training(disk: SmallDisk):
    store = open_store(disk.folder / "store")
    with run("e", store=store) as training:
        model = Model(run=training.id, path="m", digest=training.save_bytes("m", b"m").digest, flavor="torch")
        store.writer.close()
        disk.make_read_only()
        assert training.use(model) is model
        assert training.lost_calls > 0
        disk.make_writable()
    store.close()
