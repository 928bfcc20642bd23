"""Gathering: what is written to a connection in one go of the event loop leaves by one call of the system.

An answer is a head and a body, which uvicorn writes one after the other. A client that has the head of an answer and loses the body,
because the server was killed in between, raises: it repeats only calls that were not answered at all.
"""

import asyncio
from typing import Any


class Gathering:
    """A transport that keeps what is written until the loop comes round. All else is the transport's."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write, in a moment."""
        if not data:
            return
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Write what is kept, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held:
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
