"""The thread that captures beside runs. Excludes what is captured."""

import pytest

from stratal.store.store import Store
from stratal.tracking import capturing
from stratal.tracking.capture.capture import Capture, Captured, quick, thorough
from stratal.tracking.capturing import Capturer
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


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
