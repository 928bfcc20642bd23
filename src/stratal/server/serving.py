"""Serving: the process that listens. Without a guard that asks who comes, it is reached from nowhere else."""

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn

from stratal.core.cores import stay_here
from stratal.core.errors import Misuse, StoreDown, StratalError
from stratal.core.settings import load_oidc
from stratal.server import connections
from stratal.server.app import SURFACES, Application
from stratal.server.asgi import App, Receive, Scope, Send, live
from stratal.server.authenticating import AccessGuard
from stratal.server.doorway import Doorway
from stratal.server.guards import Guard
from stratal.server.ingest import Ingest, Limits
from stratal.server.keeping import keeping
from stratal.server.openid import Provider
from stratal.server.signing_in import OIDC_PATH, Auth
from stratal.server.signing_in import PREFIX as AUTH
from stratal.server.surfaces import Surface
from stratal.store.marks import is_loopback
from stratal.store.shipments import PREFIX as INGEST
from stratal.store.store import Store

log = logging.getLogger(__name__)

HOST, PORT = "127.0.0.1", 4117
# Seconds for which a server waits for the place of its files before it tells a client to come again. A program that has the place
# itself waits longer; here others wait for the thread, and the client for its answer.
FILES_AWAY_S = 10.0
# How long a thread that does much (a query, a batch) may keep the interpreter while requests wait for it. A request takes it about ten
# times: with Python's 5 ms each, one such thread held up everybody.
_TURN_S = 0.0005
# Connections that wait to be accepted, which asyncio does in one go; without files left for them it says so for each.
_BACKLOG = 128
# How long a peer may acknowledge nothing. Longer than a laptop's hiccup, shorter than what holds memory for nothing.
_STALLED_MS = 60_000


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Files of a certificate, with its chain, and of its key, as PEM."""

    cert: Path
    key: Path


def serve(
    store: Store,
    *,
    host: str = HOST,
    port: int = PORT,
    guard: AccessGuard | None = None,
    tls: Tls | None = None,
    names: Sequence[str] = (),
    listens: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM; in the main thread.

    port: 0 for any that is free; `listens` is told the URL. guard: None lets everybody in.
    names: hosts that a server with a guard answers to, beside addresses and this machine's own name.
    Raises Misuse for other hosts than loopback without a guard, StoreDown for a port that is taken."""
    if guard is None:
        check_loopback(host)
    connections.want_files()
    with _bound(host, port) as bound:
        server = _server(Served(store, guard=guard, names=names), tls)
        # uvicorn takes the signal, stops gracefully, and raises it once more, which would end this process before what follows. One that
        # comes before uvicorn listens to it counts, too.
        signal.signal(signal.SIGTERM, lambda _signal, _frame: setattr(server, "should_exit", True))
        listens(_url(bound, tls))
        threading.Thread(target=look_for_files, args=(store,), name="stratal-look", daemon=True).start()
        # What was imported and made until now stays for ever: looking through it took 0.1 s each time, in which every request waited.
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(_TURN_S)
        with keeping(store):
            stay_here()
            server.run(sockets=[bound])


def look_for_files(store: Store) -> None:
    """Warn where files cannot be had, and say why. Not waited for: points, searches and commands are served without them."""
    try:
        store.blobs.look()
    except StratalError as error:
        log.warning("files cannot be served: %s; %s", error.message, error.hint)


@contextlib.contextmanager
def serving(store: Store, *, host: str = HOST, port: int = 0, limits: Limits | None = None, guard: Guard | None = None) -> Iterator[str]:
    """Serve beside a block, from a thread of this process, and give the URL. For notebooks, examples and tests."""
    with listening(Served(store, limits, guard), host=host, port=port) as url:
        yield url


@contextlib.contextmanager
def listening(app: App, *, host: str = HOST, port: int = 0, tls: Tls | None = None) -> Iterator[str]:
    """Run any ASGI app beside a block, from a thread of this process, and give the URL."""
    check_loopback(host)
    with _bound(host, port) as bound:
        server = _server(app, tls)
        thread = threading.Thread(target=lambda: server.run(sockets=[bound]), name="stratal-server", daemon=True)
        thread.start()
        try:
            yield _url(bound, tls)
        finally:
            server.should_exit = True
            thread.join()


def check_loopback(host: str) -> None:
    """Refuse hosts that other machines can reach. Raises Misuse, which names the two ways out."""
    if not is_loopback(host):
        raise Misuse(
            f"{host!r} can be reached from other machines, and this server asks nobody who they are",
            hint="listen on 127.0.0.1 and come through a tunnel (ssh -L 4117:127.0.0.1:4117 HOST), or let it ask: --auth",
        )


class Served:
    """A store with all that is served of it; behind the doorway, where a guard asks who comes."""

    def __init__(self, store: Store, limits: Limits | None = None, guard: Guard | None = None, names: Sequence[str] = ()) -> None:
        store.blobs.wait_at_most(FILES_AWAY_S)
        store.blobs.drop_old_parts()
        oidc = load_oidc() if isinstance(guard, AccessGuard) else None
        surfaces = {
            **SURFACES,
            (INGEST,): lambda store, guard: Ingest(store, guard=guard, limits=limits),
            (AUTH,): lambda store, guard: Auth(store, guard=guard, provider=Provider(oidc) if oidc is not None else None),
        }
        # With a doorway, that says which names are the server's own.
        hosts, sign_in = None if isinstance(guard, AccessGuard) else (), f"{OIDC_PATH}/login?next=/" if oidc is not None else ""
        self._inner = Application(store, guard=guard, surfaces=surfaces, hosts=hosts, sign_in=sign_in)
        self._guard = guard
        self._app: App = Doorway(self._inner, names=names) if isinstance(guard, AccessGuard) else self._inner

    @property
    def surfaces(self) -> Mapping[str, Surface]:
        """What is served, by prefix, beside the application's own paths."""
        return self._inner.surfaces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, as ASGI 3 says."""
        if scope["type"] == "lifespan":
            return await live(receive, send, self.close)
        return await self._app(scope, receive, send)

    def end(self) -> None:
        """End what would never end by itself."""
        self._inner.end()

    def close(self) -> None:
        """Wait for what is under way, and take nothing more."""
        self._inner.close()
        if isinstance(self._guard, AccessGuard):
            self._guard.close()


class _Server(uvicorn.Server):
    """Bounds handshakes, and ends streams before it waits for connections, which would wait for the streams."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        if self.config.is_ssl:  # uvicorn hands no time on, and asyncio's own is a minute
            listen = partial(loop.create_server, ssl_handshake_timeout=connections.HANDSHAKE_S)
            loop.create_server = listen  # type: ignore[method-assign]  # of this one loop
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, gracefully."""
        if (end := getattr(self.config.app, "end", None)) is not None:
            end()
        await super().shutdown(sockets)


def _server(app: App, tls: Tls | None) -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            app,
            log_level="warning",
            log_config=None,  # its lines are of no JSON: logs.py writes what it says
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            http=connections.bounded(),  # whichever others are installed, bounds are those that were tested
            loop="asyncio",
            backlog=_BACKLOG,
            timeout_graceful_shutdown=10,
            ssl_certfile=tls.cert if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
    )


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as bound:  # without it asyncio leaves Nagle on: 40 ms a request
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: who takes nothing any more is forgotten, with what waits for it
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MS)
        try:
            bound.bind((host, port))
            bound.listen(_BACKLOG)
        except (OSError, OverflowError) as error:
            raise StoreDown(f"the server cannot listen on {host}:{port}: {error}", hint=_listening_hint(error)) from error
        yield bound


def _listening_hint(error: Exception) -> str:
    if isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
        return "that is no address of this machine; --host 0.0.0.0 takes all of them"
    if isinstance(error, PermissionError):
        return "ports below 1024 are root's; choose another --port"
    return "choose another --port, or 0 for any that is free"


def _url(bound: socket.socket, tls: Tls | None) -> str:
    host, port = bound.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
