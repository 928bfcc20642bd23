"""Peers: from where and how a request came, for who must know it and sees only its headers."""

from contextvars import ContextVar

from stratal.core.records import Record
from stratal.server.asgi import Scope


class Peer(Record, frozen=True, kw_only=True):
    """address: of who is connected, '' where nobody knows. method: '' counts as a change. is_encrypted: by HTTPS, here or to a proxy."""

    address: str = ""
    method: str = ""
    is_encrypted: bool = False


_peer: ContextVar[Peer | None] = ContextVar("stratal_peer", default=None)


def note_peer(scope: Scope) -> None:
    """Note from where the request of this task came."""
    client = scope.get("client")
    address = str(client[0]) if isinstance(client, tuple | list) and client else ""
    _peer.set(Peer(address=address, method=str(scope["method"]).upper(), is_encrypted=scope.get("scheme") == "https"))


def current_peer() -> Peer:
    """Give what is known of the request of this task."""
    return _peer.get() or Peer()
