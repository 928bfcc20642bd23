"""The doorway: what stands before everything of a server that asks who comes.

It notes from where, and answers to no name but its own: else a page elsewhere could give its own name this
server's address (DNS rebinding), and ask it from a browser that reaches it.
"""

import ipaddress
import logging
import re
import socket
from collections.abc import Iterable
from functools import cache

from stratal.server.asgi import App, Message, Receive, Scope, Send, headers_of, refusal, send_answer
from stratal.server.peers import current_peer, note_peer
from stratal.store.access.secrets import without_secrets

log = logging.getLogger(__name__)


class Doorway:
    """Passes requests on to `inner`. names: those of this server, beside addresses, localhost and the machine's own name."""

    def __init__(self, inner: App, *, names: Iterable[str] = ()) -> None:
        self._inner = inner
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI 3 says."""
        if scope["type"] != "http":
            return await self._inner(scope, receive, send)
        note_peer(scope)
        host = _host(scope)
        if not is_own_name(host, self._names):
            log.info("refused host=%r address=%s path=%r", host[:80], current_peer().address, without_secrets(str(scope["path"]))[:200])
            refused = refusal(403, "host", f"{host[:80]!r} is no name of this server", "if it is one, say so: stratal server --name NAME")
            return await send_answer(refused.answer, send)
        return await self._inner(scope, receive, _with_challenge(send))


def is_own_name(host: str, names: frozenset[str]) -> bool:
    """Tell whether a host, without its port, is an address or a name of this server. Nobody can give a name to an address."""
    if host in names or host == "localhost" or host in _machine():
        return True
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


@cache
def _machine() -> frozenset[str]:
    """Give what this machine calls itself."""
    return frozenset({socket.gethostname().lower()} - {""})


def _host(scope: Scope) -> str:
    return re.sub(r":[0-9]*$", "", headers_of(scope).get("host", "")).lower().rstrip(".")


def _with_challenge(send: Send) -> Send:
    """Say with each 401 how one signs in. No browser asks for a password because of it."""

    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 401:
            held: list[tuple[bytes, bytes]] = list(message.get("headers") or ())  # type: ignore[call-overload]  # ASGI says pairs of bytes
            message = {**message, "headers": [*held, (b"www-authenticate", b'Bearer realm="stratal"')]}
        await send(message)

    return send_on
