"""Connections: how long one may be open without a request. Who sends a head byte by byte, or nothing, keeps no place of others.

uvicorn bounds only the silence between two requests. What a request may hold once its head is there, each surface bounds itself.
"""

import asyncio
import logging
import resource
from collections import OrderedDict
from typing import Any, ClassVar

from stratal.server.parsing import Protocol

log = logging.getLogger(__name__)

# Seconds from the beginning of a connection, or the end of an answer, until the next head is whole; nothing counts as a sign of life.
HEAD_S = 20.0
# Seconds until the handshake of TLS is done.
HANDSHAKE_S = 10.0
# Seconds that an idle client has for TLS's goodbye when the server stops: most read nothing until they send again.
GOODBYE_S = 0.5
# Connections that may be without a request at once; of more, the one that has been for the longest is closed. Those of requests are bounded
# by the surfaces.
MOST_WAITING = 512
# Open files that a server wants, which is what all bounds make together; and those that are kept for its own: databases, files that come
# and go, and connections that are accepted in one go of the loop.
WANTED_FILES, OWN_FILES = 4096, 192


class BoundedProtocol(Protocol):
    """One connection that waits only so long."""

    # Of one server's connections those that are without a request, the oldest first.
    waiting: ClassVar["OrderedDict[BoundedProtocol, None]"]
    # Connections that there are files for.
    most: ClassVar[int]
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
            if len(self.waiting) > MOST_WAITING or len(self.connections) > self.most:
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


def want_files() -> None:
    """Let this process open as many files as a server wants, or as the system lets it: often the lower one of two bounds is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    may = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < may:
        resource.setrlimit(resource.RLIMIT_NOFILE, (may, hard))
    if may < WANTED_FILES:
        log.warning("this server may open %d files, so it serves fewer at once: let it open %d (LimitNOFILE, ulimit -n)", may, WANTED_FILES)


def bounded() -> type[BoundedProtocol]:
    """Give the protocol of one server: a process may have several, each with an event loop of its own."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = WANTED_FILES if soft == resource.RLIM_INFINITY else soft
    return type("OneServersProtocol", (BoundedProtocol,), {"waiting": OrderedDict(), "most": max(1, files - OWN_FILES)})
