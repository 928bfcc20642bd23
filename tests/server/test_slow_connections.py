"""Connections without a request, over real sockets: heads byte by byte, silence, bodies that nobody reads, handshakes. Excludes bodies of
requests that are served, which each surface bounds."""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from certificates import make_certificate
from stratal.server import connections
from stratal.server.asgi import Answer, live, send_answer
from stratal.server.serving import Tls, listening

GET = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


async def app(scope, receive, send) -> None:
    """Answer at once, without a look at the body."""
    if scope["type"] == "lifespan":
        return await live(receive, send, lambda: None)
    return await send_answer(Answer(status=200, body=b"hello"), send)


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    monkeypatch.setattr(connections, "HANDSHAKE_S", 0.3)
    monkeypatch.setattr(connections, "MOST_WAITING", 4)


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as peer:
        yield peer


def read_all(peer: socket.socket) -> bytes:
    """Read until the server hangs up."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := peer.recv(65536):
            data += piece
    return data


def trickle(peer: socket.socket, piece: bytes) -> bytes:
    """Send a piece again and again until the server hangs up; give what it said."""
    peer.settimeout(0.02)
    said = b""
    for _ in range(3000):
        with contextlib.suppress(TimeoutError):
            try:
                peer.sendall(piece)
                if not (got := peer.recv(65536)):
                    return said
                said += got
            except (BrokenPipeError, ConnectionResetError):
                return said
    raise AssertionError("it was never cut off")


def test_who_sends_nothing_is_cut_off(bounds):
    with listening(app) as url, connected(url) as peer:
        assert read_all(peer) == b""


def test_a_head_that_is_not_whole_in_time_is_told_so_and_cut_off(bounds):
    with listening(app) as url, connected(url) as peer:
        peer.sendall(GET[:-2])
        assert read_all(peer).startswith(b"HTTP/1.1 408 ")


def test_a_byte_now_and_then_is_no_sign_of_life(bounds):
    with listening(app) as url, connected(url) as peer:
        peer.sendall(GET[:-2])
        assert trickle(peer, b"a: b\r\n").startswith(b"HTTP/1.1 408 ")
    with listening(app) as url, connected(url) as peer:  # and again after a request that was served
        peer.sendall(GET)
        assert peer.recv(65536).startswith(b"HTTP/1.1 200 ")
        trickle(peer, b"G")


def test_a_body_that_nobody_reads_is_not_taken_for_ever(bounds):
    with listening(app) as url, connected(url) as peer:
        peer.sendall(b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000000000\r\n\r\n")
        assert trickle(peer, b"x").startswith(b"HTTP/1.1 200 ")


def _let_twelve_wait_where_four_may() -> None:
    """The oldest eight are closed; a request beside them is served, and so is the youngest."""
    with listening(app) as url, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(url)) for _ in range(12)]
        for peer in silent:
            peer.sendall(b"GET")
        for peer in silent[:8]:
            read_all(peer)
        with connected(url) as asking:
            asking.sendall(GET)
            assert asking.recv(65536).startswith(b"HTTP/1.1 200 ")
        silent[-1].sendall(GET[3:])
        assert silent[-1].recv(65536).startswith(b"HTTP/1.1 200 ")


def test_of_too_many_that_wait_the_oldest_goes_and_a_request_is_served(bounds, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "HEAD_S", 60.0)
    _let_twelve_wait_where_four_may()


def test_of_more_than_there_are_files_for_the_oldest_that_waits_goes_and_a_request_is_served(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (connections.OWN_FILES + 4, connections.OWN_FILES + 4))
    _let_twelve_wait_where_four_may()


@pytest.mark.parametrize(("hard", "soft_after"), [(1_000_000, 4096), (resource.RLIM_INFINITY, 4096), (512, 512)])
def test_a_server_opens_as_many_files_as_it_wants_or_may(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hard, soft_after
):
    said = []
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (256, hard))
    monkeypatch.setattr(connections.resource, "setrlimit", lambda _, bounds: said.append(bounds))
    connections.want_files()
    assert said == [(soft_after, hard)]
    assert ("LimitNOFILE" in caplog.text) == (soft_after < 4096)


def test_servers_of_one_process_count_their_own_connections_only(bounds, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "HEAD_S", 60.0)
    with listening(app) as url, listening(app) as other, contextlib.ExitStack() as stack:
        resting = [stack.enter_context(connected(url)) for _ in range(4)]
        for peer in resting:
            peer.sendall(GET)
            assert peer.recv(65536).startswith(b"HTTP/1.1 200 ")
        silent = [stack.enter_context(connected(other)) for _ in range(8)]
        for peer in silent:
            peer.sendall(b"GET")
        for peer in silent[:4]:
            read_all(peer)
        for peer in resting:
            peer.sendall(GET)
            assert peer.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_request_that_is_served_may_take_longer(bounds):
    goes_on = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def slow(scope, receive, send) -> None:
        if scope["type"] == "http":
            loops.append(asyncio.get_running_loop())
            await goes_on.wait()
        await app(scope, receive, send)

    with listening(slow) as url, connected(url) as asking:
        asking.sendall(GET)
        for _ in range(2):
            with connected(url) as silent:
                read_all(silent)  # so long
        loops[0].call_soon_threadsafe(goes_on.set)
        assert asking.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    cert, key = make_certificate(tmp_path_factory.mktemp("certificate"))
    return Tls(cert=cert, key=key)


def test_a_handshake_that_never_ends_is_cut_off_and_others_are_served(monkeypatch: pytest.MonkeyPatch, certificate: Tls):
    monkeypatch.setattr(connections, "HANDSHAKE_S", 1.0)  # for whoever asks, too
    monkeypatch.setattr(connections, "HEAD_S", 60.0)
    context = ssl.create_default_context(cafile=str(certificate.cert))
    with listening(app, tls=certificate) as url, connected(url) as silent, connected(url) as other:
        assert url.startswith("https:")
        with context.wrap_socket(other, server_hostname="localhost") as asking:
            asking.sendall(GET)
            assert asking.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert read_all(silent) == b""


def test_a_server_with_tls_does_not_wait_for_idle_clients_when_it_stops(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    cert, key = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=cert)
    with contextlib.ExitStack() as open_still:
        with listening(app, tls=Tls(cert=cert, key=key)) as url:
            peer = context.wrap_socket(open_still.enter_context(connected(url)), server_hostname="localhost")
            open_still.callback(peer.close)
            peer.sendall(GET)
            assert peer.recv(65536).startswith(b"HTTP/1.1 200")
        assert "timeout graceful shutdown exceeded" not in caplog.text, "it waited for a goodbye as long as it waits for anybody"
