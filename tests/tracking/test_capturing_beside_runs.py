"""The thread that captures beside runs. Excludes what is captured."""

import threading
from dataclasses import replace
from typing import NoReturn

import pytest

from stratal.store.store import Store
from stratal.tracking import capturing
from stratal.tracking.capture.capture import Capture, Captured, quick, thorough
from stratal.tracking.capturing import Capturer
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.system import sampler


def test_a_capture_that_breaks_costs_itself_and_neither_the_next_one_nor_the_end_of_the_process(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def break_once(start: Capture) -> Captured:
        calls.append(start)
        if len(calls) == 1:
            raise RuntimeError("a module's own __getattr__")
        return thorough(start)

    monkeypatch.setattr(capturing, "thorough", break_once)
    capturer, start = Capturer(), quick(user="t", now_ns=1)
    with run("e", store=store) as first:
        capturer.request(first, start)
        assert capturer.wait(30)
    with run("e", store=store) as second:
        capturer.request(second, start)
        assert capturer.wait(30)
    assert "git" not in get_run(first.id, store=store).capture
    assert "packages" in get_run(second.id, store=store).capture


def test_a_process_that_can_have_no_more_threads_logs_and_ends_its_runs(store: Store, monkeypatch: pytest.MonkeyPatch):
    def refuse(_thread: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(capturing, "_capturer", Capturer())
    monkeypatch.setattr(sampler, "_sampler", sampler.Sampler(sampler._this_machine))
    monkeypatch.setattr(store, "settings", replace(store.settings, capture=True, system_metrics_s=15.0))
    with monkeypatch.context() as no_threads:
        no_threads.setattr(threading.Thread, "start", refuse)
        with run("e", store=store) as first:
            first.log({"a": 1.0})
        sampler.begin()
        assert capturing.wait_for_captures(0.0)
    read = get_run(first.id, store=store)
    assert (read.status, read.metrics, read.capture["entry"] is not None) == ("finished", {"a": 1.0}, True)
    with run("e", store=store) as second:
        assert capturing.wait_for_captures(120)
    assert "packages" in get_run(second.id, store=store).capture
