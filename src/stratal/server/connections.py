"""Connections: how long one may be open without a request. Who sends a head byte by byte, or nothing, keeps no place of others.

uvicorn bounds only the silence between two requests. What a request may hold once its head is there, each surface bounds itself.
"""

import asyncio
from collections import OrderedDict
from typing import Any, ClassVar

from stratal.server.parsing import Protocol

# Seconds from the beginning of a connection, or the end of an answer, until the next head is whole; nothing counts as a sign of life.
HEAD_S = 20.0
# Seconds until the handshake of TLS is done.
HANDSHAKE_S = 10.0
# Seconds that an idle client has for TLS's goodbye when the server stops: most read nothing until they send again.
GOODBYE_S = 0.5
# Connections that may be without a request at once; of more, the one that has been for the longest is closed. Those of requests are bounded
# by the surfaces. Open files of a process are 1,024 where nobody says more.
MOST_WAITING = 512


class BoundedProtocol(Protocol):
    """One connection that waits only so long."""

    # Of one server's connections those that are without a request, the oldest first.
    waiting: ClassVar["OrderedDict[BoundedProtocol, None]"]
    _ends: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that it makes whole ends the wait."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Begin to wait for the next head, unless it is there already."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait."""
        self._wait_no_more()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End it, at once or after the answer that is under way."""
        super().shutdown()
        if self.transport.is_closing() and self.transport.get_extra_info("sslcontext") is not None:
            self.loop.call_later(GOODBYE_S, self.transport.abort)

    def _look(self) -> None:
        is_served = self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]  # it is None before the first
        if is_served or self.transport.is_closing():
            self._wait_no_more()
        elif self._ends is None:
            self._ends = self.loop.call_later(HEAD_S, self._close)
            self.waiting[self] = None
            if len(self.waiting) > MOST_WAITING:
                next(iter(self.waiting))._close()

    def _wait_no_more(self) -> None:
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None
            self.waiting.pop(self, None)

    def _close(self) -> None:
        """Close, and say why to who has begun a head."""
        self._wait_no_more()
        if self._is_head:
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()


def bounded() -> type[BoundedProtocol]:
    """Give the protocol of one server: a process may have several, each with an event loop of its own."""
    return type("OneServersProtocol", (BoundedProtocol,), {"waiting": OrderedDict()})
