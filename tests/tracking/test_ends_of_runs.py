"""How runs begin and end: full disks, late renewals, runs that failed once, many threads. Excludes what they log."""

import errno
import os
import sys
import threading
from types import ModuleType

import pytest

from stratal.core.errors import StoreDown
from stratal.store import journal, leases
from stratal.store.store import Store
from stratal.tracking import active
from stratal.tracking.facts import END
from stratal.tracking.leased import start_leased
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


def _refuse(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_end_that_could_not_be_written_can_be_said_again(store: Store, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as full, pytest.raises(StoreDown):
        with run("e", store=store) as opened:
            full.setattr(journal.os, "write", _refuse)
    assert active.active_run() is None
    opened.finish()
    assert get_run(opened.id, store=store).status == "finished"


@pytest.mark.here
def test_a_leased_end_that_could_not_be_written_can_be_said_again(store: Store):
    leased = start_leased("e", store=store, kind="job")

    def fail(point: str) -> None:
        if point == "before commit":
            store.database.fault = lambda _: None
            raise StoreDown("no room")

    store.database.fault = fail
    with pytest.raises(StoreDown):
        leased.finish()
    leased.renew()
    leased.finish()
    assert get_run(leased.id, store=store).status == "finished"


def test_a_run_that_failed_and_was_resumed_does_not_say_of_what_it_failed(store: Store):
    with pytest.raises(ValueError), run("e", store=store) as opened:
        raise ValueError("no data")
    assert get_run(opened.id, store=store).error == "ValueError: no data"
    with run(resume=opened.id, store=store):
        assert get_run(opened.id, store=store).error == ""
    read = get_run(opened.id, store=store)
    assert (read.status, read.error) == ("finished", "")


def test_of_two_ends_in_one_epoch_the_later_one_says_the_error(store: Store):
    opened = run("e", store=store)
    opened.say(END, {"status": "failed", "error": "first"})
    opened.finish()
    read = get_run(opened.id, store=store)
    assert (read.status, read.error) == ("finished", "")


@pytest.mark.here
def test_a_renewal_that_comes_after_the_end_leaves_nothing_that_could_expire(store: Store):
    leased = start_leased("e", store=store, kind="job")
    leased.finish()
    leased.renew()
    assert not leased.is_lost
    with store.command() as tx:
        assert leases.read_lease(tx, leased.id).expires_ns is None


def test_runs_that_end_in_other_threads_are_forgotten_by_the_one_that_started_them(store: Store):
    for _ in range(5):
        opened = run("e", store=store)
        ending = threading.Thread(target=opened.finish)
        ending.start()
        ending.join()
    run("e", store=store).leave()
    assert len(active._entered.get()) <= 1


def test_threads_that_use_a_store_first_share_one_writer(store: Store):
    """So that a command sees what each of them has logged."""
    seen, start = [], threading.Barrier(8)

    def look() -> None:
        start.wait()
        seen.append(store.writer.id)

    for _ in range(30):
        from stratal.store.store import _writers

        _writers.clear()
        seen.clear()
        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(seen)) == 1


def test_a_run_begins_while_another_thread_imports_asyncio(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "asyncio", ModuleType("asyncio"))  # there, and not whole yet
    with run("e", store=store) as outer, run("e", store=store) as inner:
        pass
    assert get_run(inner.id, store=store).parent == outer.id
