"""Peers: from where and how a request came, for who must know it and sees only its headers."""

import ipaddress
from contextvars import ContextVar
from functools import lru_cache

from stratal.core.records import Record
from stratal.server.asgi import Scope


class Peer(Record, frozen=True, kw_only=True):
    """address: as `place_of` gives it, '' where nobody knows. method: '' counts as a change. is_encrypted: by HTTPS, here or to a proxy."""

    address: str = ""
    method: str = ""
    is_encrypted: bool = False


# Characters of what is no address: a trusted proxy may pass on what somebody made up. An address with its zone is shorter.
_MOST = 64

_peer: ContextVar[Peer | None] = ContextVar("stratal_peer", default=None)


def note_peer(scope: Scope) -> None:
    """Note from where the request of this task came."""
    _peer.set(Peer(address=address_of(scope), method=str(scope["method"]).upper(), is_encrypted=scope.get("scheme") == "https"))


def address_of(scope: Scope) -> str:
    """Give from where a request came, as `place_of` does; '' where nobody knows. Limits count it, and logs say it.

    It is who connects, or who a trusted proxy says: uvicorn reads no such header of others."""
    client = scope.get("client")
    return place_of(str(client[0])[:_MOST]) if isinstance(client, tuple | list) and client else ""


@lru_cache(maxsize=1024)
def place_of(address: str) -> str:
    """Give what one who connects cannot change at will: an address of IPv4, a network of IPv6, which is given out as a whole."""
    try:
        said = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # of a socket that has none
        return address
    if said.version == 4 or said.is_loopback:
        return address
    return str(said.ipv4_mapped or ipaddress.IPv6Network((said, 64), strict=False))


def current_peer() -> Peer:
    """Give what is known of the request of this task."""
    return _peer.get() or Peer()
