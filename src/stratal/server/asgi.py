"""ASGI, as much of it as a handler needs: requests with bounded bodies, answers, and failures that are answers."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import TypeAlias
from urllib.parse import quote

import msgspec

from stratal.core.records import Record
from stratal.store.shipments import COMPLAINT, Complaint

Message: TypeAlias = MutableMapping[str, object]
Scope: TypeAlias = MutableMapping[str, object]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
_HEADERS = "stratal.headers"
# Bytes of a refusal in a header: proxies take heads of 4 KiB and more.
_MOST_SAID = 3000
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class Answer(Record, frozen=True, kw_only=True):
    """Status, headers and body of a response."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Failed(Exception):
    """A request that ends here, with the answer that says why."""

    def __init__(self, status: int, complaint: Complaint, *, retry_after_s: int | None = None) -> None:
        super().__init__(complaint.message)
        self.complaint = complaint
        headers = () if retry_after_s is None else (("retry-after", str(retry_after_s)),)
        self.answer = json_answer(status, complaint, headers=headers)


class Gone(Exception):
    """The sender has left in the middle of its body; there is nobody to answer."""


class Request:
    """One request. Its body is read once, in pieces, each in time."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method = str(scope["method"])
        self.path = str(scope["path"])
        self.scheme = str(scope.get("scheme", "http"))
        self.query = bytes(scope.get("query_string") or b"").decode("latin-1")  # type: ignore[call-overload]  # ASGI says bytes
        self.headers = headers_of(scope)
        self.sender, self.has_place = "", False  # who takes a place with it, once they were checked, and whether it has one
        self._scope, self._receive = scope, receive

    def note_sender(self, name: str) -> None:
        """Note who sends it, for the line in the log."""
        state = self._scope.setdefault("state", {})
        if isinstance(state, dict):
            state["sender"] = name

    def number(self, header: str, most: int) -> int:
        """Give a header as a number from 0 to `most`. Raises Failed if it is missing, none, or larger."""
        text = self.headers.get(header, "")
        if not text.isascii() or not text.isdigit() or len(text) > 19:
            raise refusal(400, "header", f"the header {header} is no number: {text[:40]!r}")
        if int(text) > most:
            raise refusal(413, "too-large", f"{header} is {text}; at most {most} is taken", "send less at a time")
        return int(text)

    async def pieces(self, most: int, piece_s: float, whole_s: float) -> AsyncIterator[bytes]:
        """Give the body piece by piece. Raises Failed if it is over `most` bytes, or too slow; Gone if the sender leaves."""
        got, ends_s = 0, asyncio.get_running_loop().time() + whole_s
        is_more = True
        while is_more:
            piece, is_more = await self._piece(most - got, piece_s, ends_s)
            got += len(piece)
            if piece:
                yield piece

    async def body(self, most: int, piece_s: float, whole_s: float) -> bytes:
        """Give the whole body; as `pieces`."""
        ends_s = asyncio.get_running_loop().time() + whole_s
        pieces: list[bytes] = []
        left, is_more = most, True
        while is_more:
            piece, is_more = await self._piece(left, piece_s, ends_s)
            left -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _piece(self, most: int, piece_s: float, ends_s: float) -> tuple[bytes, bool]:
        """Give the next piece of the body, and whether there are more."""
        try:
            async with asyncio.timeout_at(min(asyncio.get_running_loop().time() + piece_s, ends_s)):
                message = await self._receive()
        except TimeoutError:
            raise refusal(408, "slow", "the body did not come in time", "send it again") from None
        if message["type"] == "http.disconnect":
            raise Gone
        piece = bytes(message.get("body") or b"")  # type: ignore[call-overload]  # ASGI says bytes
        if len(piece) > most:
            raise refusal(413, "too-large", "the body has more bytes than are taken", "send less at a time")
        return piece, bool(message.get("more_body"))

    async def left(self) -> None:
        """Wait until the sender has left. After the body."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def range_asked(header: str, size: int) -> range | None:
    """Read which of `size` bytes a range header asks for, empty if there are none of those; None if it is not one range."""
    found = _RANGE.fullmatch(header)
    if found is None or not (found[1] or found[2]):
        return None
    start = int(found[1]) if found[1] else max(0, size - int(found[2]))
    return range(start, min(size, int(found[2]) + 1) if found[1] and found[2] else size)


def headers_of(scope: Scope) -> Mapping[str, str]:
    """Give the headers of a request by their names in lower case; read once, however many ask."""
    found = scope.get(_HEADERS)
    if not isinstance(found, dict):
        pairs: list[tuple[bytes, bytes]] = list(scope["headers"])  # type: ignore[call-overload]  # ASGI says pairs of bytes
        found = scope[_HEADERS] = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}
    return found


def json_answer(status: int, value: object, *, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Make an answer of a record."""
    return Answer(status=status, body=msgspec.json.encode(value), headers=(("content-type", "application/json"), *headers))


def refusal(status: int, error: str, message: str, hint: str = "", *, retry_after_s: int | None = None) -> Failed:
    """Make the failure that tells a sender what is wrong. retry_after_s: when they should come again."""
    return Failed(status, Complaint(error=error, message=message, hint=hint), retry_after_s=retry_after_s)


async def send_answer(answer: Answer, send: Send, *, is_head: bool = False) -> None:
    """Send it."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    headers.append((b"content-length", b"%d" % len(answer.body)))
    if is_head and answer.status >= 400 and len(said := quote(answer.body)) <= _MOST_SAID:
        headers.append((COMPLAINT.encode(), said.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else answer.body})


async def live(receive: Receive, send: Send, at_end: Callable[[], None]) -> None:
    """Answer the lifespan protocol, and call `at_end` when the server stops."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            at_end()
            return
