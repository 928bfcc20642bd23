"""Parsing: HTTP/1.1 as this server takes it, by llhttp in C, within bounds: it costs a fifth of a parser in Python.

What two readers of one request could understand differently is refused, because one of them may be a proxy that checked it: heads with
no host or several, bodies whose length is said twice, other codings than `chunked`, bodies behind a wish for another protocol, which
llhttp leaves to that protocol: they would be read as the next request. Trailers are dropped: nobody checked them. So are requests far ahead
of their answers, with their connection.
"""

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stratal.server.gathering import Gathering

# Bytes of a head, from its first line to the empty one, and of trailers. What larger ones hold is no header of ours.
MOST_HEAD = 64 << 10
# Requests that may wait behind one that is being answered. Few clients send any; each holds a hundred times the memory of its bytes, and
# uvicorn reads on after each answer, however many wait.
MOST_AHEAD = 100


class Protocol(HttpToolsProtocol):
    """One connection."""

    # Between the first line of a request and the end of its body; and in its head.
    _is_within = _is_head = False
    # Bytes since the last that belong to a body: of a head, of trailers, of the size of a chunk. Whether there was one just now.
    _loose_bytes, _has_moved = 0, False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn says the same with less
        """Begin."""
        super().connection_made(Gathering(transport))  # type: ignore[arg-type]  # all that it uses

    def data_received(self, data: bytes) -> None:
        """Take what came. What leads to no body, within bounds, ends the connection."""
        self._has_moved = False
        super().data_received(data)
        self._loose_bytes = 0 if self._has_moved or not self._is_within else self._loose_bytes + len(data)
        if self._loose_bytes > MOST_HEAD and not self.transport.is_closing():
            self.send_400_response("This request has too long a head, or too long trailers.")

    def on_message_begin(self) -> None:
        """Begin with a head."""
        self._is_within = self._is_head = self._has_moved = True
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._has_moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body."""
        self._is_within = False
        super().on_message_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the head."""
        if self._is_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head, and let the request begin. What is raised here is answered by 400."""
        self._is_head = False
        self._check()
        super().on_headers_complete()

    def _check(self) -> None:
        if len(self.pipeline) >= MOST_AHEAD:
            raise httptools.HttpParserError("too many requests ahead of their answers")
        size, hosts, coding, length = len(self.url), 0, b"", b""
        for name, value in self.headers:
            size += len(name) + len(value) + 4
            hosts += name == b"host"
            if name == b"content-length":
                length = value
            if name == b"transfer-encoding":
                coding += value
        version = self.parser.get_http_version()
        if size > MOST_HEAD or hosts > 1 or (hosts == 0 and version == "1.1"):
            raise httptools.HttpParserError("too long, or not exactly one host")
        if coding and (coding.strip().lower() != b"chunked" or version != "1.1"):
            raise httptools.HttpParserError("a transfer coding that is not taken")
        if (coding or length.strip(b"0")) and self.parser.should_upgrade():
            raise httptools.HttpParserError("a body in front of another protocol")
