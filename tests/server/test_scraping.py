"""What a scrape says of the store, and who may read it while the database is away. Excludes the counters of the process."""

import shutil

import httpx
import pytest

from stratal.core.ids import new_id, to_bytes
from stratal.server import scraping
from stratal.server.app import Application
from stratal.store.journal import Writer
from stratal.store.store import Store
from stratal.tracking.facts import START, Start
from stratal.webhooks.store import WebhookStore

GOOD = "correct horse battery"
OF_STORE = ("journal_waiting_bytes", "webhook_deliveries_waiting", "webhook_waiting_seconds")


def gauges(answer: httpx.Response) -> dict[str, float]:
    """What a scrape says, of what has no labels."""
    assert answer.status_code == 200, answer.text
    pairs = (line.partition(" ") for line in answer.text.splitlines() if line.startswith("stratal_") and "{" not in line)
    return {name.removeprefix("stratal_"): float(value) for name, _, value in pairs}


def take_away(store: Store) -> None:
    """Let the database be away: its folder is none any more."""
    store.database.close()
    shutil.rmtree(store.folder)
    store.folder.write_text("")


@pytest.fixture
def http(whole) -> httpx.Client:
    return whole.http


def test_what_nobody_has_settled_is_said_in_bytes(http, store):
    store.settle()
    before = gauges(http.get("/metrics"))["journal_waiting_bytes"]
    writer = Writer(store.journals)  # of another process
    writer.fact(to_bytes(new_id()), 0, START, Start(experiment="there", user="ann"))
    [path] = [path for path in store.journals.iterdir() if path.name.startswith(writer.id)]
    assert (before, gauges(http.get("/metrics"))["journal_waiting_bytes"]) == (0, path.stat().st_size)
    store.settle()
    assert gauges(http.get("/metrics"))["journal_waiting_bytes"] == 0
    writer.close()


def test_what_waits_for_webhooks_is_counted_and_told_in_seconds(http, store):
    assert {name: gauges(http.get("/metrics"))[name] for name in OF_STORE[1:]} == {
        "webhook_deliveries_waiting": 0,
        "webhook_waiting_seconds": 0,
    }
    WebhookStore(store).add(name="chat", url="https://chat.example.org/in", events=[], on=[])
    WebhookStore(store).ask_trial(name="chat")
    said = gauges(http.get("/metrics"))
    assert said["webhook_deliveries_waiting"] == 1
    assert said["webhook_waiting_seconds"] > 0


def test_the_help_of_what_is_of_the_store_says_so(http):
    lines = http.get("/metrics").text.splitlines()
    for name in OF_STORE:
        [told] = [line for line in lines if line.startswith(f"# HELP stratal_{name} ")]
        assert "Of the store" in told


def test_a_scrape_is_answered_while_the_database_is_away_without_what_it_would_say(http, store):
    assert gauges(http.get("/metrics"))["store_up"] == 1
    take_away(store)
    said = gauges(http.get("/metrics"))
    assert said["store_up"] == 0
    assert not set(OF_STORE) & set(said)  # a number of before would pass for one of now
    assert said["pool_threads"] > 0
    store.folder.unlink()


def test_a_store_that_says_nothing_in_time_is_away(http, monkeypatch: pytest.MonkeyPatch):
    http.get("/metrics")
    monkeypatch.setattr(scraping, "ANSWER_S", 0)
    assert gauges(http.get("/metrics"))["store_up"] == 0


def test_while_the_database_is_away_who_was_let_in_is_so_again_and_nobody_else(guarded, store):
    guarded.accounts.add_person(name="prometheus", kind="service")
    guarded.accounts.grant(person="prometheus", role="viewer", on="*")
    scraper, viewer, late = guarded.having_token("prometheus"), guarded.having_token("vera"), guarded.having_token("prometheus")
    guarded.accounts.set_password(name="ada", password=GOOD)
    session = guarded.sender()
    assert session.http.post("/auth/login", json={"name": "ada", "password": GOOD}).status_code == 200
    assert [sender.http.get("/metrics").status_code for sender in (scraper, session, viewer, guarded.sender())] == [200, 200, 403, 401]
    guarded.guard.forget()
    take_away(store)
    assert [gauges(sender.http.get("/metrics"))["store_up"] for sender in (scraper, session)] == [0, 0]
    unknown = guarded.sender(authorization=scraper.http.headers["authorization"][:-1] + "_")
    browser = guarded.sender(cookie=f"stratal_session=strses_{'a' * 43}")
    away = [sender.http.get("/metrics").status_code for sender in (viewer, late, unknown, browser, guarded.sender())]
    assert away == [503, 503, 503, 503, 401]
    store.folder.unlink()


def test_who_was_refused_since_is_remembered_no_more(guarded, store):
    guarded.accounts.grant(person="vera", role="viewer", on="*")
    vera = guarded.having_token("vera")
    assert vera.http.get("/metrics").status_code == 200
    guarded.accounts.remove_grant(person="vera", role="viewer", on="*")
    assert vera.http.get("/metrics").status_code == 403
    guarded.guard.forget()
    take_away(store)
    assert vera.http.get("/metrics").status_code == 503
    store.folder.unlink()


def test_after_a_day_without_a_database_nobody_is_remembered(store, stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scraping, "REMEMBERED_S", -1.0)
    stage[0].handler = application = Application(store)
    with httpx.Client(base_url=stage[1], timeout=30) as http:
        assert http.get("/metrics").status_code == 200
        take_away(store)
        assert http.get("/metrics").status_code == 503
    application.close()
    store.folder.unlink()


def test_what_fails_is_counted_from_0_on_every_surface(http):
    lines = http.get("/metrics").text.splitlines()
    for surface in ("/api/v1", "/api/2.0/mlflow", "/ingest/v1", "/ready", "other"):
        for status in (429, 500, 503):
            assert f'stratal_requests_total{{surface="{surface}",status="{status}"}} 0' in lines
