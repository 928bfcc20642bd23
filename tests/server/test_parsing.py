"""HTTP/1.1 over bare sockets: hostile heads, and how answers leave. Excludes what is served."""

import asyncio
import json
import socket
import threading
from urllib.parse import urlsplit

import pytest

from stratal.server.parsing import MOST_AHEAD, MOST_HEAD
from stratal.server.serving import listening

HOST, LAST = b"host: 127.0.0.1\r\n", b"connection: close\r\n"
GO_ON = threading.Event()


async def echo(scope, receive, send):
    """Answer with what was seen, or as the path says."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, is_more = b"", True
    while is_more:
        message = await receive()
        body, is_more = body + message.get("body", b""), message.get("more_body", False)
    names = [name.decode("latin-1") for name, _ in scope["headers"]]
    said = json.dumps({"path": scope["path"], "names": names, "body": body.decode("latin-1")}).encode()
    pieces = [b"x" * 100_000] * 30 if scope["path"] == "/large" else [said]
    size = sum(map(len, pieces))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    while scope["path"] == "/waits" and not GO_ON.is_set():
        await asyncio.sleep(0.001)
    for at, piece in enumerate(pieces, 1):
        await send({"type": "http.response.body", "body": piece, "more_body": at < len(pieces)})


@pytest.fixture(scope="module")
def port():
    with listening(echo) as url:
        yield urlsplit(url).port


@pytest.fixture
def peer(port):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connected:
        yield connected


def answers(peer: socket.socket, request: bytes) -> bytes:
    """Send a request after which the server closes, and give all that comes."""
    try:
        peer.sendall(request)
        found = b""
        while piece := peer.recv(1 << 20):
            found += piece
    except ConnectionError:  # it hung up while we still sent
        return b""
    return found


def seen(answer: bytes) -> dict:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def asks(headers: bytes = b"", body: bytes = b"", line: bytes = b"POST /a HTTP/1.1") -> bytes:
    return line + b"\r\n" + HOST + headers + b"\r\n" + body


@pytest.mark.parametrize(
    "request_",
    [
        b"nothing of the kind\r\n\r\n",
        b"GET /a HTTP/9.9\r\n" + HOST + b"\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"host: example.org\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        asks(b"content-length: 3\r\ncontent-length: 3\r\n", b"abc"),
        asks(b"content-length: 3\r\ncontent-length: 4\r\n", b"abc"),
        asks(b"content-length: 3, 3\r\n", b"abc"),
        asks(b"content-length: +3\r\n", b"abc"),
        asks(b"content-length: -3\r\n", b"abc"),
        asks(b"content-length: 0x3\r\n", b"abc"),
        asks(b"content-length: 99999999999999999999999\r\n", b"abc"),
        asks(b"content-length: 3\r\ntransfer-encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        asks(b"transfer-encoding: chunked\r\ncontent-length: 3\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        asks(b"transfer-encoding: gzip, chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        asks(b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        asks(b"transfer-encoding: xchunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        asks(b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n", line=b"POST /a HTTP/1.0"),
        asks(b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 3\r\n", b"abc"),
        asks(b"connection: keep-alive, Upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        asks(b"content-length : 3\r\n", b"abc"),
        asks(b"a: b\r\n folded\r\n"),
        asks(b"a: b\0c\r\n"),
        asks(b"a: b\rc\r\n"),
        asks(b"a b: c\r\n"),
        asks(b": c\r\n"),
        asks(b"a: " + b"x" * MOST_HEAD + b"\r\n"),
        asks(b"a: b\r\n" * (MOST_HEAD // 6)),
        asks(line=b"GET /" + b"x" * MOST_HEAD + b" HTTP/1.1"),
    ],
    ids=lambda request: repr(request[:60]) if isinstance(request, bytes) else None,
)
def test_what_could_be_understood_in_two_ways_or_is_too_long_is_refused(peer, request_: bytes):
    assert answers(peer, request_).partition(b"\r\n")[0] in (b"HTTP/1.1 400 Bad Request", b"")


@pytest.mark.parametrize("piece", [b"x" * 1000, b"a: b\r\n" * 100], ids=["one line", "many lines"])
def test_a_head_that_never_ends_is_cut_off_at_its_bound(peer, piece: bytes):
    peer.sendall(b"GET / HTTP/1.1\r\na: ")
    sent = 0
    try:
        while sent < 100 * MOST_HEAD:
            peer.sendall(piece)
            sent += len(piece)
        pytest.fail("all of it was taken")
    except ConnectionError:
        pass


def test_a_head_within_its_bound_passes_however_it_is_cut(peer):
    request = asks(b"a: " + b"x" * (MOST_HEAD - 1000) + b"\r\ncontent-length: 3\r\n" + LAST, b"abc")
    for at in range(0, len(request) - 10, 9000):
        peer.sendall(request[at : min(at + 9000, len(request) - 10)])
    assert seen(answers(peer, request[-10:])) == {"path": "/a", "names": ["host", "a", "content-length", "connection"], "body": "abc"}


def test_trailers_are_no_headers(peer):
    chunked = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nauthorization: Bearer stolen\r\n\r\n"
    found = seen(answers(peer, asks(b"transfer-encoding: chunked\r\n" + LAST, chunked)))
    assert found == {"path": "/a", "names": ["host", "transfer-encoding", "connection"], "body": "abcde"}


@pytest.mark.parametrize("rest", [b"0\r\na: ", b"0\r\n", b"3;a="], ids=["a trailer", "trailers", "a chunk's extension"])
def test_what_leads_to_no_end_of_a_body_is_cut_off(peer, rest: bytes):
    peer.sendall(asks(b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n" + rest))
    try:
        for _ in range(1000):
            peer.sendall(b"a: b\r\n" * 1000 if rest == b"0\r\n" else b"x" * 6000)
        pytest.fail("all of it was taken")
    except ConnectionError:
        pass


def test_a_wish_for_another_protocol_is_passed_over_where_no_body_could_be_lost(peer):
    wish = b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 0\r\n"
    peer.sendall(asks(wish))
    assert seen(peer.recv(1 << 16))["body"] == ""
    assert seen(answers(peer, asks(b"content-length: 3\r\n" + LAST, b"abc")))["body"] == "abc"


def test_requests_that_come_at_once_are_answered_in_their_order(peer):
    first, second = asks(b"content-length: 1\r\n", b"1"), asks(b"content-length: 1\r\n" + LAST, b"2")
    found = answers(peer, first + second).split(b"HTTP/1.1 200 OK\r\n")
    assert [seen(answer)["body"] for answer in found[1:]] == ["1", "2"]


def test_a_short_answer_leaves_in_one_piece(peer):
    for _ in range(20):
        peer.sendall(asks())
        assert seen(peer.recv(1 << 16))["path"] == "/a"


def test_a_head_does_not_wait_for_a_body_that_comes_later(peer):
    GO_ON.clear()
    peer.sendall(asks(line=b"POST /waits HTTP/1.1"))
    head = peer.recv(1 << 16)
    assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n")
    GO_ON.set()
    assert json.loads(peer.recv(1 << 16))["path"] == "/waits"


def test_a_long_answer_comes_whole_and_in_order(peer):
    head, _, body = answers(peer, asks(LAST, line=b"GET /large HTTP/1.1")).partition(b"\r\n\r\n")
    assert b"content-length: 3000000" in head and body == b"x" * 3_000_000


def test_requests_ahead_of_their_answers_are_answered_in_order_up_to_a_bound(peer):
    asked = [f"/{number}" for number in range(MOST_AHEAD)]
    found = answers(peer, b"".join(asks(line=f"GET {path} HTTP/1.1".encode()) for path in asked) + asks(LAST, line=b"GET /end HTTP/1.1"))
    assert [json.loads(each.partition(b"\r\n\r\n")[2].partition(b"}")[0] + b"}")["path"] for each in found.split(b"HTTP/1.1 200")[1:]] == [
        *asked,
        "/end",
    ]


def test_who_sends_more_requests_ahead_than_are_taken_is_hung_up_on(peer):
    GO_ON.clear()
    peer.sendall(asks(line=b"GET /waits HTTP/1.1") + asks(line=b"GET /a HTTP/1.1") * (MOST_AHEAD + 1))
    assert peer.recv(1 << 20).startswith(b"HTTP/1.1 400")
    assert peer.recv(1 << 20) == b""
