"""Alerts: told once, read by level, run and experiment, and sent to those who follow the store. Excluded: what follows them."""

import errno
import json
import os
import threading

import pytest

import stratal as st
from stratal.cli.app import main
from stratal.core.errors import Misuse, NotFound, StoreDown
from stratal.core.ids import short
from stratal.store.events import events_since
from stratal.store.store import Store
from stratal.tracking.alerts import find_alerts
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ns(self) -> int:
        return 1_800_000_000_000_000_000

    def monotonic_s(self) -> float:
        return self.now_s


def test_alerts_are_listed_newest_first_by_level_run_and_experiment(store: Store):
    with run("churn", name="first", store=store) as left:
        assert left.alert("loss rises", "from 0.3 to 0.9", level="warning")
        assert left.alert("half way")
    with run("fraud", store=store) as right:
        assert right.alert("diverged", level="error")
    titles = [alert.title for alert in find_alerts(store=store)]
    assert titles == ["diverged", "half way", "loss rises"]
    assert [alert.title for alert in find_alerts(level="warning", store=store)] == ["diverged", "loss rises"]
    assert [alert.title for alert in find_alerts(experiment="churn", store=store)] == ["half way", "loss rises"]
    assert [alert.title for alert in find_alerts(run=right.short, store=store)] == ["diverged"]
    assert [alert.title for alert in find_alerts(limit=1, store=store)] == ["diverged"]
    told = get_run(left.id, store=store).alerts[1]
    assert (told.run, told.experiment, told.name, told.level, told.text, told.author) == (
        left.id, "churn", "first", "warning", "from 0.3 to 0.9", "tester",
    )  # fmt: skip
    assert told.time.tzinfo is not None


def test_the_same_title_is_told_again_only_after_its_time(store: Store):
    store.clock = clock = Clock()
    with run("churn", store=store) as made:
        told = []
        for second in (0, 1, 9, 10, 11):
            clock.now_s = float(second)
            told.append(made.alert("loss rises", wait_s=10))
        assert told == [True, False, False, True, False]
        assert made.alert("loss rises", level="error", wait_s=10)
        assert made.alert("other", wait_s=10)
        assert made.alert("other again")
        assert made.alert("other again")
    assert len(get_run(made.id, store=store).alerts) == 6


def test_processes_that_share_a_run_count_each_for_itself(store: Store):
    with run("churn", store=store) as made:
        assert made.alert("loss rises", wait_s=1000)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                joined = run(resume=made.id, store=store)
                code = 0 if (joined.alert("loss rises", wait_s=1000), joined.alert("loss rises", wait_s=1000)) == (True, False) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not made.alert("loss rises", wait_s=1000)
    assert len(get_run(made.id, store=store).alerts) == 2


def test_threads_tell_the_same_title_once(store: Store):
    told: list[bool] = []
    with run("churn", store=store) as made:
        threads = [threading.Thread(target=lambda: told.append(made.alert("nan", wait_s=60))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(told) == [False] * 7 + [True]
    assert len(get_run(made.id, store=store).alerts) == 1


def refuse(_fd: int, _data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_an_alert_that_could_not_be_written_may_be_told_again(store: Store, monkeypatch: pytest.MonkeyPatch, on_error: str):
    with run("churn", store=store, on_error=on_error) as made:
        with monkeypatch.context() as broken:
            broken.setattr(os, "write", refuse)
            if on_error == "raise":
                with pytest.raises(StoreDown):
                    made.alert("nan", wait_s=60)
            else:
                assert not made.alert("nan", wait_s=60)
        assert made.alert("nan", wait_s=60)
    assert len(get_run(made.id, store=store).alerts) == 1


@pytest.mark.here
def test_those_who_follow_the_store_hear_of_it(store: Store):
    with run("churn", store=store) as made:
        made.alert("diverged", "at step 7", level="error")
    with store.query() as tx:
        (event,) = [event for event in events_since(tx, 0) if event.kind == "alert"]
    assert event.subject == made.id
    assert json.loads(event.body) == {"title": "diverged", "text": "at step 7", "level": "error", "author": "tester"}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [(("",), {}), ((3,), {}), (("a", 3), {}), (("a",), {"level": "fatal"}), (("a",), {"wait_s": -1}), (("a",), {"wait_s": "long"})],
    ids=str,
)
def test_what_is_no_alert_is_refused(store: Store, arguments: tuple[object, ...], options: dict[str, object]):
    with run("churn", store=store) as made, pytest.raises(Misuse):
        made.alert(*arguments, **options)
    assert list(find_alerts(store=store)) == []


def test_wrong_questions_are_refused(store: Store):
    for wrong in ({"level": "fatal"}, {"limit": 0}):
        with pytest.raises(Misuse):
            find_alerts(store=store, **wrong)
    with pytest.raises(NotFound):
        find_alerts(run="00000000", store=store)


def test_alerts_are_shown_in_the_shell(store: Store, capsys: pytest.CaptureFixture[str]):
    use_store(store)
    with run("churn") as made:
        made.alert("loss rises", "look \x1b[31mred", level="warning")
    for words, expected in (
        (["alerts"], short(made.id)),
        (["show", made.short], "alerts"),
        (["alerts", made.short, "-e", "churn"], "look"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        page = capsys.readouterr().out
        assert expected in page
        assert "look \\x1b[31mred" in page
    with pytest.raises(SystemExit):
        main(["alerts", "--level", "error", "--json"])
    assert json.loads(capsys.readouterr().out) == []
    with pytest.raises(SystemExit):
        main(["alerts", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["level"] == "warning"
    assert [alert.level for alert in st.alerts()] == ["warning"]
