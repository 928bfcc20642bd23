"""What clients make of answers of a proxy before the server: pages in HTML, or nothing. Excludes those that our server gives itself."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from stratal.core.errors import Misuse, OutcomeUnknown, StoreDown
from stratal.core.settings import load_settings
from stratal.server.serving import serving
from stratal.store import remote
from stratal.store.calling import Server
from stratal.store.following import follow
from stratal.tracking.finding import find_runs
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import open_store


class Proxy(HTTPServer):
    """Answers as a proxy does whose server is away, until it is to pass requests on. asked: how often it was asked."""

    status, leads_to, upstream, asked, fails = 502, "", "", 0, 10**9

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_POST(self) -> None:
        self.server.asked += 1
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.server.asked <= self.server.fails:
            self._say(self.server.status, b"<html><h1>Bad Gateway</h1></html>", "text/html")
            return
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        answer = httpx.request(self.command, self.server.upstream + self.path, content=body, headers=kept)
        self._say(answer.status_code, answer.content, answer.headers["content-type"])

    do_GET = do_PUT = do_HEAD = do_POST

    def _say(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        if self.server.leads_to:
            self.send_header("location", self.server.leads_to + self.path)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(remote, "PAUSE_S", 0.0)
    monkeypatch.setattr("stratal.store.store.upload_aside", lambda *_: None)
    with Proxy() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def far(proxy: Proxy, tmp_path):
    store = open_store(proxy.url, settings=replace(load_settings(), state_home=tmp_path / "state"))
    yield store
    store.close()


def test_a_query_outlives_a_server_that_is_started_anew_behind_its_proxy(proxy: Proxy, far, store):
    with serving(store) as proxy.upstream:
        proxy.fails = remote.TRIES - 1
        assert len(find_runs(store=far)) == 0 and proxy.asked == remote.TRIES


@pytest.mark.parametrize("status", [502, 503])
def test_a_server_that_its_proxy_does_not_reach_is_said_to_be_away(proxy: Proxy, far, status: int):
    proxy.status = status
    with pytest.raises(StoreDown, match=f"answered {status}: a proxy before the server does not reach it") as told:
        find_runs(store=far)
    assert "see whether the server runs" in told.value.hint and proxy.asked == remote.TRIES


def test_a_command_is_not_sent_again_for_the_word_of_a_proxy(proxy: Proxy, far):
    with pytest.raises(OutcomeUnknown, match="does not reach it"):
        start_leased("churn", kind="train", store=far)
    assert proxy.asked == 1


def test_a_proxy_that_waits_no_longer_is_not_asked_for_the_same_work_again(proxy: Proxy, far):
    proxy.status = 504
    with pytest.raises(StoreDown, match="waits for it no longer") as told:
        find_runs(store=far)
    assert "proxy_read_timeout" in told.value.hint and proxy.asked == 1


def test_a_proxy_that_takes_no_large_bodies_is_told_how_it_would(proxy: Proxy):
    proxy.status = 413
    server = Server(proxy.url, "tester")
    with pytest.raises(StoreDown, match="takes no bodies of this size") as told:
        server.beat(["0" * 16])
    assert "client_max_body_size" in told.value.hint
    server.close()


def test_an_address_that_leads_elsewhere_names_where_to_and_not_the_path(proxy: Proxy, far):
    proxy.status, proxy.leads_to = 308, "https://ann:secret@team.example.org"
    for ask in (lambda: find_runs(store=far), lambda: next(follow(far))):
        with pytest.raises(Misuse, match=r"leads elsewhere, to https://team\.example\.org\n") as told:
            ask()
        assert "write it in STRATAL_STORE" in told.value.hint
