"""The edge: what every request passes, whatever serves it. Names of hosts and origins, ids, the log's line, counts, safe headers.

On loopback, too: a page of the web may make a browser ask 127.0.0.1, or let a name of its own point there (DNS rebinding).
"""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

from stratal.server.asgi import App, Failed, Message, Receive, Scope, Send, headers_of, refusal, send_answer
from stratal.server.guards import is_this_machine
from stratal.server.logs import as_line
from stratal.server.metrics import Metrics
from stratal.server.peers import address_of
from stratal.store.access.secrets import holds_secret, without_secrets

log = logging.getLogger("stratal.server.requests")

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What who asks may see is kept by no cache on the way, where the answer itself does not say otherwise.
_SAFE = (
    (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)  # fmt: skip


class Edge:
    """Passes requests on to `inner`. surface_of: the name under which a path is counted; turned_away: is told why, for the guard's log;
    hosts: allowed names besides loopback; None: what stands before has looked."""

    def __init__(
        self,
        inner: App,
        metrics: Metrics,
        surface_of: Callable[[str], str],
        turned_away: Callable[[str], None],
        *,
        hosts: Iterable[str] | None = (),
        origins: Iterable[str] = (),
    ) -> None:
        self._inner, self._metrics, self._surface_of, self._turned_away = inner, metrics, surface_of, turned_away
        # Ids of requests are no secrets, and random bytes for each took a twentieth of a small request's time.
        self._begins, self._count = secrets.token_hex(4), itertools.count(1)
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        began_s, path = time.perf_counter(), str(scope["path"])
        headers = headers_of(scope)
        given = headers.get("x-request-id", "")
        id = given if _ID.fullmatch(given) else f"{self._begins}{next(self._count):08x}"
        status = 0
        scope["state"] = {"request_id": id}

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(str(message["status"]))
                message = {**message, "headers": _with_safe(message.get("headers"), id)}
            await send(message)

        self._metrics.open += 1
        try:
            self._check(headers, f"{path}?{bytes(scope.get('query_string') or b'').decode('latin-1')}")  # type: ignore[call-overload]  # ASGI says bytes
            await self._inner(scope, receive, send_on)
        except Failed as failed:
            await send_answer(failed.answer, send_on)
        finally:
            self._metrics.open -= 1
            seconds, surface = time.perf_counter() - began_s, self._surface_of(path)
            self._metrics.count(surface, status, seconds)
            if log.isEnabledFor(logging.INFO):  # `log.info` would also look up from where it was called, for a tenth of a request's time
                log.handle(log.makeRecord(log.name, logging.INFO, "", 0, _line(scope, id, surface, status, seconds), (), None))

    def _check(self, headers: Mapping[str, str], address: str) -> None:
        host = headers.get("host", "").lower()
        name = re.sub(r":[0-9]+$", "", host)
        if self._hosts is not None and not is_this_machine(host) and not self._hosts & {name, host}:
            raise refusal(403, "host", f"{name[:80]!r} is no name of this server", "use http://127.0.0.1:PORT, or the name that it serves")
        origin = headers.get("origin", "").lower()
        if origin and origin not in self._origins and urlsplit_host(origin) != host:
            raise refusal(
                403, "origin", f"pages of {origin[:80]!r} may not call this server, which was asked as {host[:80]!r}",
                "if both are its name, a proxy before it leaves out the port: let it pass on Host as it came",
            )  # fmt: skip
        if holds_secret(address):
            self._turned_away("secret in a URL")
            raise refusal(
                400, "secret-in-url", "this address holds a secret, and addresses are kept in logs and histories: it is none any more",
                "if it is a token, revoke it (stratal token revoke ID), make another one, and send that in the header authorization",
            )  # fmt: skip


def urlsplit_host(origin: str) -> str:
    """Give host and port of an origin, '' if it has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _with_safe(held: object, id: str) -> list[tuple[bytes, bytes]]:
    pairs: list[tuple[bytes, bytes]] = list(held or ())  # type: ignore[call-overload]  # ASGI says pairs of bytes
    names = {name.lower() for name, _ in pairs}
    return [*pairs, *(pair for pair in _SAFE if pair[0] not in names), (b"x-request-id", id.encode())]


def _line(scope: Scope, id: str, surface: str, status: int, seconds: float) -> str:
    """One JSON object: no query, no header, no body, and no token that somebody put into the path, so that no secret is in it."""
    state = scope.get("state")
    said = {
        "request": id, "address": address_of(scope), "surface": surface, "method": str(scope["method"])[:16],
        "path": without_secrets(str(scope["path"]))[:200], "status": status, "ms": round(1000 * seconds, 2),
        "sender": state.get("sender") if isinstance(state, dict) else None,
    }  # fmt: skip
    return as_line(said)
