"""An endpoint on loopback that answers by a script and keeps what it was told; and a store that may reach it."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stratal.core.settings import Settings
from stratal.store.store import Store
from stratal.tracking.opening import open_store


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratal.webhooks.delivering.LOOK_S", 0.02)


class Endpoint:
    """answers: gives a status for each request, in their order."""

    def __init__(self) -> None:
        self.answers: Callable[[], int] = lambda: 204
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.headers: dict[str, str] = {}

    @property
    def told(self) -> list[dict]:
        return [json.loads(body)["data"] for _, body in self.got]

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]


@pytest.fixture
def endpoint():
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(found.answers())
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
        thread.start()
        found.url = f"http://localhost:{server.server_address[1]}/hook?a=b"
        yield found
        server.shutdown()
        thread.join()


class Hand:
    """A clock that is set by hand."""

    def __init__(self, now_ns: int = 1_800_000_000_000_000_000) -> None:
        self.now = now_ns

    def now_ns(self) -> int:
        return self.now

    def monotonic_s(self) -> float:
        return self.now / 1e9


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def near(store: Store, clock: Hand):
    """The test's store, which may send to `localhost`."""
    opened = open_store(
        store.folder, settings=Settings(user="tester", webhook_hosts="localhost, other.internal", on_error="raise"), clock=clock
    )
    yield opened
    opened.close()
