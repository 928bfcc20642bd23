"""The application: all surfaces of the server behind one edge, over one store. Another surface is one line in SURFACES."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from stratal.core.errors import StratalError
from stratal.server import asgi
from stratal.server.api import AnyRequest, api, as_ours
from stratal.server.asgi import Receive, Scope, Send
from stratal.server.blobs import BlobReads
from stratal.server.edge import Edge
from stratal.server.front import front
from stratal.server.guards import Guard, OpenGuard
from stratal.server.ingest import Ingest
from stratal.server.live import PATH as EVENTS
from stratal.server.live import Live
from stratal.server.metrics import KIND, Metrics
from stratal.server.mlflow.surface import PREFIXES as MLFLOW
from stratal.server.mlflow.surface import Mlflow
from stratal.server.pool import Pool
from stratal.server.scraping import Scrapes
from stratal.server.surfaces import Surface
from stratal.server.transfers import PREFIX as TRANSFERS
from stratal.server.transfers import Transfers
from stratal.store.events import latest_seq
from stratal.store.settling import SYSTEM
from stratal.store.shipments import PREFIX as INGEST
from stratal.store.shipments import VERSION
from stratal.store.store import Store
from stratal.store.wire import BLOBS, JSON
from stratal.store.wire import PREFIX as API
from stratal.version import __version__

# How long the database may take to answer before the server is not ready.
READY_S = 2.0
_OWN, _OTHER = ("/", "/health", "/ready", "/metrics"), "other"

# A page of ours runs nothing, loads nothing and is shown in no other.
_CALM = {"content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"}

Surfaces = Mapping[tuple[str, ...], Callable[[Store, Guard], Surface]]
# Prefixes of paths, and what serves them: the longest that fits. What none fits, Litestar serves.
SURFACES: Surfaces = {
    (INGEST,): lambda store, guard: Ingest(store, guard=guard),
    (BLOBS,): lambda store, guard: BlobReads(store, guard=guard),
    (TRANSFERS,): lambda store, guard: Transfers(store, guard=guard),
    (EVENTS,): lambda store, guard: Live(store, guard=guard),
    MLFLOW: lambda store, guard: Mlflow(store, guard=guard),
}


class Application:
    """The server of one store, as ASGI. hosts, origins: names that it answers to, and pages that may call it, besides its own.

    sign_in: where people sign in by a browser, '' for nowhere."""

    def __init__(
        self,
        store: Store,
        *,
        guard: Guard | None = None,
        hosts: Iterable[str] | None = (),
        origins: Iterable[str] = (),
        surfaces: Surfaces = SURFACES,
        sign_in: str = "",
    ) -> None:
        self._sign_in = sign_in
        self._store, self._guard = store, guard or OpenGuard()
        _ = store.database  # what is wrong with the store is said before anybody connects
        self._pool, self._scrapes = Pool(), Scrapes(store, self._guard)
        self._looking: asyncio.Future[None] | None = None
        made = [(prefixes, make(store, self._guard)) for prefixes, make in surfaces.items()]
        self.surfaces = {prefix: surface for prefixes, surface in made for prefix in prefixes}
        self._metrics = Metrics((*self.surfaces, *_OWN, API, _OTHER))
        longest_first = sorted(self.surfaces, key=len, reverse=True)
        self._served = re.compile(rf"({'|'.join(map(re.escape, longest_first))})(?:/|\Z)")
        self._rest = api(store, self._guard, self._pool, [self._front(), self._health(), self._ready(), self._page_of_metrics()])
        self._edge = Edge(self._dispatch, self._metrics, self._name_of, self._guard.turned_away, hosts=hosts, origins=origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, as ASGI 3 says."""
        if scope["type"] == "lifespan":
            return await asgi.live(receive, send, self.close)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})
        return await self._edge(scope, receive, send)

    def end(self) -> None:
        """End what would never end by itself: streams. For the event loop, when the server stops."""
        for surface in set(self.surfaces.values()):
            if isinstance(surface, Live):
                surface.end()

    def close(self) -> None:
        """Wait for what is under way, and take nothing more."""
        for surface in set(self.surfaces.values()):
            surface.close()
        self._pool.close()
        self._scrapes.close()

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = self._prefix_of(str(scope["path"]))
        if prefix:
            return await self.surfaces[prefix](scope, receive, send)
        return await self._rest(scope, receive, send)  # type: ignore[arg-type]  # Litestar's own names of the same types

    def _prefix_of(self, path: str) -> str:
        found = self._served.match(path)
        return found[1] if found is not None else ""

    def _name_of(self, path: str) -> str:
        """Give the surface that a path is counted under: one of few."""
        if (prefix := self._prefix_of(path)) or path in _OWN:
            return prefix or path
        return API if path.startswith(f"{API}/") else _OTHER

    def _front(self) -> HTTPRouteHandler:
        async def page(request: AnyRequest) -> Response[bytes]:
            return Response(await front(self._guard, as_ours(request), self._sign_in), media_type="text/html", headers=_CALM)

        return get("/")(page)

    def _health(self) -> HTTPRouteHandler:
        async def health() -> Response[bytes]:
            return _json(200, {"status": "ok", "version": __version__, "protocol": VERSION})

        return get("/health")(health)

    def _ready(self) -> HTTPRouteHandler:
        def look() -> None:
            with self._store.database.look(SYSTEM) as tx:
                latest_seq(tx)

        def answered(future: "asyncio.Future[None]") -> None:
            if not future.cancelled():
                future.exception()  # it was read: nobody may be there any more to do so

        async def ready() -> Response[bytes]:
            if self._looking is None or self._looking.done():  # one look for all who ask: nobody asks them who they are
                self._looking = asyncio.ensure_future(self._pool.run(look))
                self._looking.add_done_callback(answered)
            try:
                await asyncio.wait_for(asyncio.shield(self._looking), READY_S)
            except (TimeoutError, StratalError, asgi.Failed):
                return _json(503, {"status": "waits for its database"})
            return _json(200, {"status": "ready"})

        return get("/ready")(ready)

    def _page_of_metrics(self) -> HTTPRouteHandler:
        async def metrics(request: AnyRequest) -> Response[bytes]:
            of_store = await self._scrapes.of_store(as_ours(request))
            gauges, counters = self._counts()
            return Response(self._metrics.text({**gauges, **of_store}, counters).encode(), media_type=KIND)

        return get("/metrics")(metrics)

    def _counts(self) -> tuple[dict[str, tuple[str, float]], dict[str, tuple[str, float]]]:
        gauges = {
            "pool_threads": ("Threads that run operations.", float(self._pool.threads)),
            "pool_calls": ("Operations in threads, and waiting for one.", float(self._pool.calls)),
            "pool_waiting": ("Operations that wait for a thread.", float(self._pool.waiting)),
        }
        return gauges, {"pool_refused_total": ("Operations that were told to come again.", float(self._pool.refused))}


def _json(status: int, value: object) -> Response[bytes]:
    return Response(msgspec.json.encode(value), status_code=status, media_type=JSON)
