"""Servers that take a connection, and a request, and say nothing, or a little now and then. Excludes servers that are away."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256

import pytest

from stratal.core.errors import Misuse, OutcomeUnknown, StoreDown
from stratal.core.settings import load_settings
from stratal.registry import ModelStore, verify_audit
from stratal.store import calling
from stratal.store.calling import work_timeout
from stratal.store.operations import operations_of
from stratal.tracking.finding import find_runs
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import open_store
from stratal.tracking.operations.quotas import QuotaStore
from stratal.tracking.operations.upkeep import Upkeep
from stratal.tracking.runs import run
from stratal.tracking.syncing import sync


@pytest.fixture
def silent(tmp_path, monkeypatch):
    """The store behind the URL of a server that says nothing, of which the client hears after a twentieth of a second."""
    monkeypatch.setattr("stratal.store.store.upload_aside", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as listening:  # the kernel takes the connections
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        store = open_store(url, settings=replace(load_settings(), state_home=tmp_path / "state", answer_s=0.05))
        yield store
        store.close()


def test_a_query_says_who_was_silent_for_how_long_and_which_setting_waits_longer(silent):
    with pytest.raises(StoreDown) as told:
        find_runs(store=silent)
    assert told.value.message == f"{silent.url} took the request, and said nothing for 0.05 s"
    assert "STRATAL_ANSWER_S" in told.value.hint and "answer_s in stratal.toml" in told.value.hint


def test_shipping_says_so_too_and_loses_nothing(silent):
    with run("churn", store=silent) as one:
        one.log({"a": 1.0})
    with pytest.raises(StoreDown, match="said nothing for") as told:
        sync(store=silent)
    assert "nothing is lost" in told.value.hint and "STRATAL_ANSWER_S" in told.value.hint


def test_a_command_is_waited_for_longer_and_its_outcome_is_unknown(silent, monkeypatch):
    assert work_timeout(0.05).read == 120.0 and work_timeout(300.0).read == 300.0
    monkeypatch.setattr(calling, "WORK_S", 0.1)
    with pytest.raises(OutcomeUnknown, match="was lost during"):
        start_leased("churn", kind="train", store=silent)


@contextmanager
def flowing(pieces: list[bytes], pause_s: float) -> Iterator[str]:
    """The URL of a server that gives one answer of 200, piece by piece."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % sum(map(len, pieces)))
                for piece in pieces:
                    threading.Event().wait(pause_s)
                    connection.sendall(piece)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def test_an_answer_that_flows_is_taken_however_long_it_takes_in_all(tmp_path):
    pieces = [bytes([number]) * 100 for number in range(30)]
    data = b"".join(pieces)
    with flowing(pieces, 0.04) as url:
        settings = replace(load_settings(), state_home=tmp_path / "state", answer_s=1.0)  # 1.2 s in all, 25 times less between two
        far = open_store(url, settings=settings)
        assert far.blobs.read(sha256(data).hexdigest()) == data
        far.close()


def test_what_goes_through_a_whole_store_is_waited_for_longer_than_other_commands(silent, monkeypatch):
    monkeypatch.setattr(calling, "WORK_S", 0.05)
    monkeypatch.setattr(calling, "WHOLE_S", 0.2)
    with pytest.raises(StoreDown, match=r"said nothing for 0\.2 s"):
        verify_audit(store=silent)
    rooms = (Upkeep, QuotaStore, ModelStore)
    assert {one.name for kind in rooms for one in operations_of(kind).values() if one.takes_long} == {
        "examine", "collect", "recount", "verify_audit"
    }  # fmt: skip
    assert work_timeout(0, is_whole=True).read is None and work_timeout(7200.0, is_whole=True).read == 7200.0


def test_the_setting_is_seconds_and_0_is_no_bound():
    assert load_settings(environ={"STRATAL_ANSWER_S": "90", "USER": "x"}).answer_s == 90.0
    assert work_timeout(0).read is None and calling.open_client("http://127.0.0.1:1", "x", answer_s=0).timeout.read is None
    with pytest.raises(Misuse, match="answer_s = 'soon'"):
        load_settings(environ={"STRATAL_ANSWER_S": "soon", "USER": "x"})
