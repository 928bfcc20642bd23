"""Queries of a process that has logged what its server does not have yet: they are answered soon, and say what they lack. Excludes a
server that is away."""

import threading

import pytest

from stratal.core.errors import Refused, StoreDown
from stratal.store import uploading
from stratal.store.calling import Busy, Server
from stratal.tracking.finding import find_runs
from stratal.tracking.leased import start_leased
from stratal.tracking.quotas import UNLIMITED, set_quota
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.syncing import sync


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Wait for what is known to wait for a moment only; but for a pass of the thread beside, however long it takes."""
    monkeypatch.setattr(uploading, "READ_S", 0.05)
    monkeypatch.setattr(uploading, "SHIP_S", 0.1)
    monkeypatch.setattr(uploading, "PASS_S", 60.0)


@pytest.fixture
def files_away(monkeypatch):
    """Let the place of files be away, until it is called."""
    put = Server.put_blob

    def away(*_arguments, **_named):
        raise Busy("the place of files is away")

    monkeypatch.setattr(Busy, "wait_s", 0.01)
    monkeypatch.setattr(Server, "put_blob", away)
    return lambda: monkeypatch.setattr(Server, "put_blob", put)


def lacks(caplog) -> list[str]:
    said = [record.getMessage() for record in caplog.records if "lacks it" in record.getMessage()]
    caplog.clear()
    return said


def test_behind_a_file_that_waits_queries_are_answered_and_say_once_that_they_lack_it(store, far, files_away, caplog):
    with run("churn", store=far) as one:
        one.log({"loss": 1.0}, step=0)
        one.save_bytes("a.bin", b"a")
        one.log({"loss": 0.5}, step=1)
        assert get_run(one.ref, store=far).metrics == {"loss": 1.0}
        [said] = lacks(caplog)
        assert "the place of files is away" in said
        assert get_run(one.ref, store=far).metrics == {"loss": 1.0} and lacks(caplog) == []
        with pytest.raises(StoreDown, match="the place of files is away"):
            start_leased("churn", kind="train", store=far)
        files_away()
        sync(store=far)
        assert get_run(one.ref, store=far).metrics == {"loss": 0.5} and lacks(caplog) == []


def test_what_is_known_to_wait_is_not_waited_for_again(far, files_away, monkeypatch):
    with run("churn", store=far) as one:
        one.save_bytes("a.bin", b"a")
        shipping = far.uploader.make_pass
        assert shipping.ship_now([], must=False).waits
        monkeypatch.setattr(uploading, "READ_S", 3600.0)
        shipping._waits_since_s -= 3600.0
        assert shipping.ship_now([], must=False).waits, "a pass is made, and no second one"
        files_away()
        sync(store=far)
        shipping._shipper._blobs_at_s = 0.0  # it is time to try files again
        assert shipping.ship_now([], must=False) == uploading.Landed()


def test_behind_a_run_without_room_queries_say_what_they_lack_and_commands_are_refused(store, far, caplog):
    set_quota("churn", most_runs=0, store=store)
    with run("churn", store=far):
        assert list(find_runs(experiment="churn", store=far)) == []
        [said] = lacks(caplog)
        assert "no room for another run" in said
        with pytest.raises(Refused, match="no room for another run"):
            start_leased("other", kind="train", store=far)
        set_quota("churn", most_runs=UNLIMITED, store=store)
        assert len(find_runs(experiment="churn", store=far)) == 1 and lacks(caplog) == []


def test_while_something_is_sent_that_takes_long_queries_are_answered(far, caplog, monkeypatch):
    with run("churn", store=far) as one:
        one.log({"loss": 1.0}, step=0)
        assert get_run(one.ref, store=far).metrics == {"loss": 1.0}
        is_held, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with far.uploader.make_pass._turn:
                is_held.set()
                leave.wait()

        holding = threading.Thread(target=hold)
        holding.start()
        is_held.wait()
        one.log({"loss": 0.5}, step=1)
        with monkeypatch.context() as impatient:
            impatient.setattr(uploading, "PASS_S", 0.05)
            assert get_run(one.ref, store=far).metrics == {"loss": 1.0}
        [said] = lacks(caplog)
        assert "sending something that takes long" in said
        leave.set()
        holding.join()
        assert get_run(one.ref, store=far).metrics == {"loss": 0.5}
