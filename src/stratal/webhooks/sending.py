"""The guarded request: to a public address only, to the very one that was checked, bounded in time and size, without redirects.

Who adds a webhook says where this server's machine connects to. So a name is resolved once, addresses of private networks are
refused unless the settings name the host (`webhook_hosts`), and the connection goes to the address that was judged, with the name in Host
and TLS. Nothing of an answer is shown but its status.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from stratal.core.errors import Refused
from stratal.core.records import Record
from stratal.core.threads import start_aside
from stratal.store.trusting import authorities

T = TypeVar("T")

# Seconds for all of it: the name, the connection, the answer.
LIMIT_S = 10.0
# Bytes of an answer that are read, so that the connection ends well; nobody looks at them.
_MOST_ANSWER = 4096
# Networks that lead elsewhere than their number says (NAT64, Teredo, 6to4), and those that releases of Python do not agree on.
_ODD = tuple(
    ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "192.0.0.0/24", "192.88.99.0/24")
)

# Gives the addresses of a host.
Resolve = Callable[[str, int], Awaitable[list[str]]]


class Outcome(Record, frozen=True, kw_only=True):
    """What came of a request. status: None if there was no answer; error: '' if it was taken."""

    status: int | None = None
    error: str = ""


class Cut:
    """Ends requests that are under way in other threads, and those that begin later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_made = False
        self._running: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Outcome]]] = set()

    def make(self) -> None:
        """End them now."""
        with self._lock:
            self._is_made = True
            for loop, task in self._running:
                loop.call_soon_threadsafe(task.cancel)

    async def run(self, work: Coroutine[Any, Any, Outcome], limit_s: float) -> Outcome | None:
        """Give what work gives within a time, None if it was ended. Raises TimeoutError."""
        running = asyncio.get_running_loop(), asyncio.create_task(work)
        with self._lock:
            self._running.add(running)
            if self._is_made:
                running[1].cancel()
        try:
            return await asyncio.wait_for(running[1], limit_s)
        except asyncio.CancelledError:
            if not self._is_made:
                raise  # by Ctrl-C
            return None
        finally:
            with self._lock:  # a loop that has ended takes no calls
                self._running.discard(running)


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a host."""
    found = await aside(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return [str(each[4][0]) for each in found]


async def aside(call: Callable[[], T]) -> T:
    """Call in a thread that nobody waits for at the end: asyncio's own are waited for, and a resolver may take a minute."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(give: Callable[[], None]) -> None:
        def give_if_wanted() -> None:
            if not answer.done():
                give()

        with contextlib.suppress(RuntimeError):  # the loop has ended: it was given up
            loop.call_soon_threadsafe(give_if_wanted)

    def run() -> None:
        try:
            found = call()
        except (OSError, ValueError) as error:  # ValueError: a name that no name can be
            failed = error  # the name `error` is gone when it is told
            tell(lambda: answer.set_exception(failed))
        else:
            tell(lambda: answer.set_result(found))

    start_aside(run, "stratal-resolve")
    return await answer


def send(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    allowed: Collection[str],
    cut: Cut | None = None,
    limit_s: float = LIMIT_S,
    resolve: Resolve = resolve,
) -> Outcome | None:
    """Post a body, and give what came of it; whatever happens, within `limit_s`. None: it was cut, and who knows how far it came.

    allowed: hosts that may be private."""
    try:
        return asyncio.run((cut or Cut()).run(_send(url, headers, body, allowed, resolve), limit_s))
    except TimeoutError:
        return Outcome(error=f"no answer within {limit_s:g} s")
    except Refused as error:
        return Outcome(error=f"{error.message}; {error.hint}")
    except (OSError, httpx.HTTPError, ssl.SSLError, UnicodeError, ValueError) as error:
        return Outcome(error=f"not reached: {str(error) or type(error).__name__}"[:500])


def choose(host: str, addresses: Collection[str], allowed: Collection[str]) -> str:
    """Give the address to connect to. Raises Refused if none is public, and the host is not allowed by name."""
    if host.lower().rstrip(".") in allowed and addresses:
        return next(iter(addresses))
    for address in addresses:
        if is_public(address):
            return address
    raise Refused(
        f"{host[:100]} is in a private network",
        hint=f"whoever runs the server may allow it: webhook_hosts = {host[:100]!r} in stratal.toml",
    )


def is_public(text: str) -> bool:
    """Tell whether an address is one of the public internet."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in _ODD):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def _send(url: str, headers: Mapping[str, str], body: bytes, allowed: Collection[str], resolve: Resolve) -> Outcome:
    parts = urlsplit(url)
    host, is_secure = parts.hostname or "", parts.scheme == "https"
    address = choose(host, await resolve(host, parts.port or (443 if is_secure else 80)), allowed)
    target = httpx.URL(url).copy_with(host=address)
    # Without timeouts of its own: all of it together is bounded.
    async with httpx.AsyncClient(
        trust_env=False, follow_redirects=False, timeout=None, verify=authorities() if is_secure else False
    ) as client:
        request = client.build_request(
            "POST", target, headers={**headers, "host": parts.netloc}, content=body, extensions={"sni_hostname": host}
        )
        answer = await client.send(request, stream=True)
        try:
            got = 0
            async for piece in answer.aiter_raw():
                got += len(piece)
                if got >= _MOST_ANSWER:
                    break
        finally:
            await answer.aclose()
    if answer.is_success:
        return Outcome(status=answer.status_code)
    why = "redirects are not followed" if answer.is_redirect else "the endpoint did not take it"
    return Outcome(status=answer.status_code, error=f"answered {answer.status_code}: {why}")
