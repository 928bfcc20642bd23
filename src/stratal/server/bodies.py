"""Bodies of operations: how much of them is in memory at once, however many connections bring them. Shipments and files have bounds of
their own."""

from collections.abc import Iterator
from contextlib import contextmanager

from stratal.core.people import Identity
from stratal.server.asgi import refusal
from stratal.server.shares import Shares

# Bytes of large bodies, all together; of these one person gets half, so that who sends slowly keeps out nobody else.
MOST_BYTES = 256 << 20
# What always has room: the call of nearly every operation.
SMALL_BYTES = 64 << 10


class Bodies:
    """The bodies that one server holds now. For its event loop."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._held = Shares()

    @contextmanager
    def holding(self, size_bytes: int, sender: Identity) -> Iterator[None]:
        """Take a body into memory while the block runs. Raises Failed (429) without room."""
        if size_bytes <= SMALL_BYTES:
            yield
            return
        name = sender.name if sender.is_authenticated else ""
        if not self._held.has_room(name, size_bytes, self._most_bytes):
            raise refusal(429, "busy", "as many large bodies are on their way as are taken at a time", "come again", retry_after_s=1)
        with self._held.more(name, size_bytes):
            yield
