"""Journals that arrive late, twice, in part or while a sweep looks at them. Excludes kills."""

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from stratal.core.ids import new_id, to_bytes
from stratal.store import journal, leases, settling, tables
from stratal.store.database import insert
from stratal.store.journal import Writer, segments
from stratal.store.store import Store
from stratal.tracking.facts import END, PARAMS, START, End, Start
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run


def _steps(store: Store, id: str) -> list[int]:
    with store.snapshot() as snapshot:
        return snapshot.series(to_bytes(id), "a").steps.tolist()


def _hold_back(store: Store, writer: Writer) -> Path:
    """Take a writer's segment away, as if it lay on a machine that is not reached now."""
    writer.close()
    [name] = segments(store.journals, [writer.id])
    return (store.journals / name).rename(store.folder / name)


def _arrive(store: Store, held: Path) -> None:
    held.rename(store.journals / held.name)


def test_a_copy_of_a_segment_under_another_name_counts_for_nothing(store: Store):
    id, writer = new_id(), Writer(store.journals)
    for step in range(20):
        writer.log(to_bytes(id), 0, {"a": 1.0}, step)
    writer.close()
    [name] = segments(store.journals)
    shutil.copy(store.journals / name, store.journals / f"{'0' * 16}-000000.log")
    assert _steps(store, id) == list(range(20))
    store.settle()
    assert _steps(store, id) == list(range(20))


def test_a_lower_step_that_settles_later_is_not_the_last_value(store: Store):
    id, writer = new_id(), Writer(store.journals)
    for step in (5, 3):
        writer.log(to_bytes(id), 0, {"a": float(step)}, step)
        store.settle()
    assert get_run(id, store=store).metrics == {"a": 5.0}


@pytest.mark.parametrize("late_first", [False, True])
def test_of_params_said_twice_the_later_one_counts_whichever_arrives_first(store: Store, late_first: bool):
    id, early, late = new_id(), Writer(store.journals), Writer(store.journals)
    early.fact(to_bytes(id), 0, START, Start(experiment="e"))
    early.fact(to_bytes(id), 0, PARAMS, {"x": 1})
    late.fact(to_bytes(id), 0, PARAMS, {"x": 2})
    held = [_hold_back(store, early), _hold_back(store, late)]
    for file in reversed(held) if late_first else held:
        _arrive(store, file)
        store.settle()
    assert get_run(id, store=store).params == {"x": 2}
    assert store.database.connect().execute("select txt from param").fetchall() == [("2",)]


def test_how_an_epoch_ended_before_a_takeover_says_nothing_when_it_arrives_after_it(store: Store):
    id, old = new_id(), Writer(store.journals)
    with store.command() as tx:
        token = leases.claim(tx, id, "one", ttl_s=-1)
    old.fact(to_bytes(id), token, END, End(status="failed", error="of old"))
    held = _hold_back(store, old)
    with store.command() as tx:
        leases.claim(tx, id, "two", ttl_s=60)
    _arrive(store, held)
    read = get_run(id, store=store)
    assert (read.status, read.error) == ("running", "")


def test_names_come_again_often_enough_to_outlive_the_loss_of_both_first_frames(store: Store):
    id, writer = new_id(), Writer(store.journals)
    writer.log(to_bytes(id), 0, {"a": 1.0}, 0)
    first = writer._size
    for step in range(1, 1100):
        writer.log(to_bytes(id), 0, {"a": 1.0}, step)
    [name] = segments(store.journals)
    with open(store.journals / name, "r+b") as file:
        for place in (50, first + 50):
            file.seek(place)
            file.write(b"\0\0\0")
    assert _steps(store, id) == list(range(2, 1100))
    store.settle()
    assert _steps(store, id) == list(range(2, 1100))


def test_each_segment_names_its_metrics_itself(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 400)
    id, writer = new_id(), Writer(store.journals)
    for step in range(40):
        writer.log(to_bytes(id), 0, {"a": 1.0}, step)
    names = segments(store.journals)
    assert len(names) > 2
    for name in names[:-1]:
        (store.journals / name).unlink()
    store.settle()
    assert _steps(store, id)[-1] == 39


def test_a_child_that_is_forked_while_a_thread_logs_can_log(tmp_path: Path):
    writer, held, leave = Writer(tmp_path), threading.Event(), threading.Event()

    def hold() -> None:
        with writer._lock:
            held.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # dies of it where a lock is held for ever
        try:
            writer.log(to_bytes(new_id()), 0, {"a": 1.0}, 0)
            os._exit(0)
        finally:
            os._exit(1)
    leave.set()
    thread.join()
    assert os.waitpid(pid, 0)[1] == 0
    assert len(segments(tmp_path)) == 1


def test_ids_of_params_from_a_tick_that_was_rolled_back_are_not_used_again(store: Store):
    id, writer = new_id(), Writer(store.journals)
    writer.fact(to_bytes(id), 0, START, Start(experiment="e", params={"mine": 1}))

    def fail(point: str) -> None:
        if point == "after points":
            store.database.fault = lambda _: None
            raise RuntimeError

    store.database.fault = fail
    with pytest.raises(RuntimeError):
        store.settle()
    other = open_store(store.url)
    with other.command() as tx:
        other.settler.names.forget()
        tx.run(insert(tables.key), name="takes another id")
    other.close()
    store.settle()
    found = store.database.connect().execute("select key.name, txt from param join key on key.id = param.key").fetchall()
    assert found == [("mine", "1")]


def test_a_sweep_keeps_a_dead_segment_that_nobody_has_settled(store: Store):
    id, writer = new_id(), Writer(store.journals)
    writer.log(to_bytes(id), 0, {"a": 1.0}, 0)
    writer.close()
    assert store.settler.sweep(at_once=True) == 0
    assert _steps(store, id) == [0]


def test_a_sweep_keeps_a_segment_that_was_written_and_closed_after_it_looked(store: Store, monkeypatch: pytest.MonkeyPatch):
    id, writer, try_lock = new_id(), Writer(store.journals), settling.try_lock
    writer.log(to_bytes(id), 0, {"a": 1.0}, 0)
    store.settle()

    def write_and_close_first(fd: int) -> bool:
        writer.log(to_bytes(id), 0, {"a": 1.0}, 1)
        writer.close()
        return try_lock(fd)

    with monkeypatch.context() as patched:
        patched.setattr(settling, "try_lock", write_and_close_first)
        assert store.settler.sweep(at_once=True) == 0
    store.settle()
    assert _steps(store, id) == [0, 1]
