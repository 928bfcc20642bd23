"""A bad network: a loopback proxy for HTTP that cuts, doubles, reorders, delays and spoils what passes, by a script or by dice."""

import contextlib
import itertools
import random
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

# What the proxy may do with a request. "pass" is a good network.
FAULTS = (
    "pass", "refuse", "cut request", "cut answer", "drop answer", "double", "repeat later", "delay", "flip request", "flip answer",
)  # fmt: skip
# How an object store is away: the network ends, or says nothing until the script changes; or it answers, and does nothing.
AWAY = ("refuse", "stall", "slow down", "internal error")
_ANSWERS = {"slow down": ("503 Slow Down", "SlowDown"), "internal error": ("500 Internal Server Error", "InternalError")}

# Gives one of FAULTS or AWAY for each request, in the order in which they come.
Script = Callable[[], str]


class BadNetwork:
    """What a proxy does and did. Set `script` to change it; `seen` counts the requests by fault."""

    def __init__(self, targets: Sequence[str], script: Script, dice: random.Random) -> None:
        self.script = script
        self.seen: dict[str, int] = {}
        self._targets = len(targets)
        self._places = itertools.cycle([(urlsplit(target).hostname or "", urlsplit(target).port or 0) for target in targets])
        self._dice = dice
        self._kept: list[bytes] = []
        self._lock = threading.Lock()

    def serve(self, client: socket.socket) -> None:
        """Pass the requests of one connection on, until it ends or is cut."""
        with contextlib.suppress(ConnectionError, OSError):
            while request := _read_message(client):
                if not self._one(client, request):
                    _reset(client)
                    return

    def _one(self, client: socket.socket, request: bytes) -> bool:
        """Serve a request. False: cut the connection."""
        with self._lock:
            fault = self.script()
            self.seen[fault] = self.seen.get(fault, 0) + 1
            place = self._dice.randrange(len(request))
            late = self._kept.pop(self._dice.randrange(len(self._kept))) if self._kept and self._dice.random() < 0.3 else None
        if late is not None:
            self._forward(late)  # a request of long ago arrives only now
        if fault in AWAY:
            return self._be_away(client, request, fault)
        if fault == "cut request":
            self._forward(request[:place], wait_s=0)
            return False
        if fault == "flip request":
            request = _flipped(request, place, self._dice)
        if fault == "delay":
            threading.Event().wait(0.02)
        # A spoilt length makes the server wait for a body that never comes.
        answer = self._forward(request, wait_s=0.1 if fault == "flip request" else 30)
        if fault == "double":
            answer = self._forward(request)
        if fault == "repeat later":
            self._kept.append(request)
        if fault == "drop answer":
            return False
        if not answer:
            return False
        if fault == "cut answer":
            client.sendall(answer[: self._dice.randrange(len(answer))])
            return False
        client.sendall(_flipped(answer, self._dice.randrange(len(answer)), self._dice) if fault == "flip answer" else answer)
        # Nobody knows where a spoilt answer ends, or one that the server ended by hanging up.
        return fault != "flip answer" and _length(answer) is not None

    def _connected(self, wait_s: float) -> socket.socket:
        """Connect to the next target that is there."""
        for _ in range(self._targets - 1):
            with contextlib.suppress(ConnectionRefusedError):
                return socket.create_connection(next(self._places), timeout=wait_s)
        return socket.create_connection(next(self._places), timeout=wait_s)

    def _be_away(self, client: socket.socket, request: bytes, how: str) -> bool:
        while how == "stall" and self.script() == how:
            threading.Event().wait(0.05)
        if how not in _ANSWERS:
            return False
        status, code = _ANSWERS[how]
        body = "" if request.startswith(b"HEAD ") else f"<Error><Code>{code}</Code></Error>"
        client.sendall(f"HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        return True

    def _forward(self, request: bytes, wait_s: float = 30) -> bytes:
        """Send bytes on a connection of their own, and give the answer; b'' if there is none in time. wait_s 0: hang up at once."""
        with contextlib.suppress(OSError), self._connected(wait_s or 30) as server:
            server.sendall(request)
            return _read_message(server, has_body=not request.startswith(b"HEAD ")) if wait_s else b""
        return b""


@contextlib.contextmanager
def bad_network(target: str, script: Script = lambda: "pass", *, seed: int = 0) -> Iterator[tuple[str, BadNetwork]]:
    """Give the URL of a proxy before `target` (http://host:port), and what steers it. Several, with spaces between, take turns."""
    network = BadNetwork(target.split(), script, random.Random(seed))

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            network.serve(self.request)

    with _running(Handler) as url:
        yield url, network


@contextlib.contextmanager
def cutting_network(target: str, after_bytes: Callable[[], int]) -> Iterator[str]:
    """Give the URL of a proxy that passes streams on as they come, and cuts each connection after so many bytes of its answer."""
    place = (urlsplit(target).hostname or "", urlsplit(target).port or 0)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            left = after_bytes()
            with contextlib.suppress(OSError), socket.create_connection(place, timeout=30) as server:
                server.sendall(_read_message(self.request))
                while left > 0 and (piece := server.recv(min(left, 65536))):
                    self.request.sendall(piece)
                    left -= len(piece)
            _reset(self.request)

    with _running(Handler) as url:
        yield url


def dice_script(dice: random.Random, faults: tuple[str, ...] = FAULTS, *, good: float = 0.5) -> Script:
    """Give a script that passes a share of the requests, and spoils the others at random."""
    return lambda: "pass" if dice.random() < good else dice.choice(faults)


@contextlib.contextmanager
def _running(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    class Proxy(socketserver.ThreadingTCPServer):
        daemon_threads, allow_reuse_address, request_queue_size = True, True, 64

    with Proxy(("127.0.0.1", 0), handler) as proxy:
        thread = threading.Thread(target=lambda: proxy.serve_forever(poll_interval=0.02), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
            thread.join()


def _read_message(peer: socket.socket, *, has_body: bool = True) -> bytes:
    """Read one HTTP/1.1 message: a request ends where it says, an answer without a length ends with the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = _length(data)
    if length is None:
        length = 1 << 40 if head.startswith(b"HTTP/") else 0
    while has_body and len(body) < length:
        piece = peer.recv(1 << 20)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


def _length(message: bytes) -> int | None:
    for line in message.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return None


def _flipped(data: bytes, place: int, dice: random.Random) -> bytes:
    spoilt = bytearray(data)
    spoilt[place] ^= 1 << dice.randrange(8)
    return bytes(spoilt)


def _reset(peer: socket.socket) -> None:
    """Close as a broken network does: by a reset, not by an end."""
    with contextlib.suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
