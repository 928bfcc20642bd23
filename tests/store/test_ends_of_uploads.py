"""The end of the thread that brings away what a program logs. Excludes what a pass of it does (test_shipping)."""

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from stratal.core.errors import Misuse, StoreDown
from stratal.store.journal import Writer
from stratal.store.uploading import Uploader


def test_the_end_looks_once_more_for_a_server_that_was_away(tmp_path: Path):
    was_tried, is_back = threading.Event(), threading.Event()
    shipped: list[str] = []

    def make_pass() -> Iterable[str]:
        was_tried.set()
        if not is_back.is_set():
            raise StoreDown("the server is not reached")
        shipped.append("all of it")
        return ()

    uploader = Uploader(Writer(tmp_path / "journal"), make_pass)
    assert was_tried.wait(60)
    is_back.set()  # seconds before the thread would look again by itself
    uploader.finish()
    assert shipped


def test_the_end_does_not_wait_for_a_server_that_stays_away(tmp_path: Path):
    tries: list[int] = []

    def make_pass() -> Iterable[str]:
        tries.append(len(tries))
        raise StoreDown("the server is not reached")

    uploader = Uploader(Writer(tmp_path / "journal"), make_pass)
    uploader.finish()
    assert tries
    uploader.finish()  # which has nothing more to wait for


def test_what_a_pass_refuses_is_said_with_what_helps(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def make_pass() -> Iterable[str]:
        raise Misuse("a pooler is in between", hint="let it pool sessions")

    Uploader(Writer(tmp_path / "journal"), make_pass).finish()
    assert "failed: a pooler is in between\n  let it pool sessions" in caplog.text


def test_a_program_that_ends_before_all_was_sent_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stratal.store.uploading.UNKNOWN_S", 0.01)
    goes_on = threading.Event()

    def make_pass() -> Iterable[str]:
        assert goes_on.wait(60)
        return ()

    uploader = Uploader(Writer(tmp_path / "journal"), make_pass)
    uploader.finish()
    assert "ends before all of it was sent; the next one sends the rest, or `stratal sync`" in caplog.text
    monkeypatch.setattr("stratal.store.uploading.UNKNOWN_S", 60)
    goes_on.set()
    caplog.clear()
    uploader.finish()
    assert not caplog.text
