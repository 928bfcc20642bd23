"""Live: server-sent events out of the store's sequence. A plain ASGI callable at /api/v1/events.

One thread asks the database for everybody, while somebody listens. Its answers are one window of the newest events, which all readers
share; a reader is a number, the last event that it was given, so that a slow one costs no memory, and falls back on pages of the database.

Laws (tested): 1 a reader gets each event that it may see and asked for once, in order, across any number of connections. 2 a reader that
takes nothing for a while is dropped, and keeps nobody waiting. 3 who may see what is asked of the guard again for each batch, and who
somebody is at each heartbeat. 4 what belongs to no experiment and no model is for admins only.
"""

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec

from stratal.core.errors import Conflict, Forbidden, StoreDown, StratalError
from stratal.core.people import EVERYTHING, Identity, Role
from stratal.core.records import Record
from stratal.server.asgi import Message, Request, Send, refusal
from stratal.server.guards import Guard
from stratal.server.surfaces import Routes, Surface
from stratal.store.database import Transaction
from stratal.store.events import Told, checked_on, checked_subject, events_since, latest_seq, oldest_seq, told, wait
from stratal.store.settling import SYSTEM
from stratal.store.store import Store

log = logging.getLogger(__name__)

PATH = "/api/v1/events"
LAST_ID = "last-event-id"
_ASKABLE = ("since", "kind", "subject", "on")
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy that collects an answer before it passes it on would show nothing
)
Handler = Callable[[Request, Identity, Send], Awaitable[None]]

# Seconds of events that make one batch where there are many.
_BATCH_S = 0.03
# Bytes that are handed to a connection in one piece.
_PIECE = 32 << 10


@dataclass(frozen=True, kw_only=True)
class LiveLimits:
    """What the stream serves at a time."""

    # Connections, and those of one person: a browser has a few pages open, and nobody takes all.
    readers: int = 256
    readers_each: int = 32
    # Seconds between two looks at journals while somebody listens; what is committed is heard of sooner (store/events.py).
    look_s: float = 0.2
    # Seconds after which a silent stream says that it lives, and asks again who its reader is. Proxies cut at 60 or more.
    heartbeat_s: float = 15.0
    # Seconds that a reader may take nothing while something waits for it.
    slow_s: float = 20.0
    # Newest events that are kept in memory for all, and events of a page for those who are further back.
    window: int = 4096
    page: int = 500
    # Filters of one reader.
    filters: int = 100


class Wish(Record, frozen=True, kw_only=True):
    """What a reader asked for; an empty set is everything."""

    kinds: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    on: frozenset[str] = frozenset()

    def wants(self, event: Told) -> bool:
        """Tell whether an event passes."""
        return (
            (not self.kinds or event.kind in self.kinds)
            and (not self.subjects or event.subject in self.subjects)
            and (not self.on or event.on in self.on)
        )


class Sight(NamedTuple):
    """What somebody may see: names of experiments and models (None: all), and whether it is an admin of everything."""

    experiments: frozenset[str] | None
    models: frozenset[str] | None
    is_admin: bool

    def sees(self, event: Told) -> bool:
        """Tell whether an event is for it."""
        kind, _, name = event.on.partition(":")
        if kind not in ("experiment", "model"):
            return self.is_admin
        seen = self.experiments if kind == "experiment" else self.models
        return seen is None or name in seen


class Line(NamedTuple):
    """An event, and its text on the wire."""

    event: Told
    text: bytes


class Window:
    """The newest events in order: all with a number over `start`, up to `end`."""

    def __init__(self, size: int) -> None:
        self.start = self.end = 0
        self._size = size
        self._lines: deque[Line] = deque()

    def begin(self, at: int) -> None:
        """Hold nothing, and go on after `at`."""
        self._lines.clear()
        self.start = self.end = at

    def add(self, lines: Sequence[Line]) -> None:
        """Take what comes next; the oldest go."""
        self._lines.extend(lines)
        self.end = lines[-1].event.seq if lines else self.end
        while len(self._lines) > self._size:
            self.start = self._lines.popleft().event.seq

    def after(self, seq: int) -> list[Line] | None:
        """Give what came after a number, None if some of it is not held any more."""
        if seq < self.start:
            return None
        found = list(takewhile(lambda line: line.event.seq > seq, reversed(self._lines)))
        return found[::-1]


# Of who may not come in any more.
NOTHING = Sight(frozenset(), frozenset(), False)


class _Reader:
    """A connection: who reads, what it asked for and may see, and the last event that it is past."""

    def __init__(self, sender: Identity, wish: Wish, sight: Sight, at: int) -> None:
        self.sender, self.wish, self.sight, self.at = sender, wish, sight, at

    def pieces(self, lines: Sequence[Line]) -> Iterator[bytes]:
        """Give what of these events is for this reader, and move on past each piece."""
        piece = b""
        for line in lines:
            if self.wish.wants(line.event) and self.sight.sees(line.event):
                piece += line.text
            if len(piece) >= _PIECE:
                yield piece
                piece = b""
        if piece:
            yield piece
        self.at = lines[-1].event.seq if lines else self.at


class Live(Surface):
    """The stream over one store."""

    def __init__(self, store: Store, *, guard: Guard | None = None, limits: LiveLimits | None = None) -> None:
        super().__init__(store, guard, name="live", threads=1)  # the one reader of the database
        self._limits = limits or LiveLimits()
        self._waiter = self.pool("live-wait", 1)
        self.routes = Routes[Handler](PATH, ("GET", "/?", self._follow_from), hint=f"follow events with GET {PATH}")
        self._window = Window(self._limits.window)
        self._readers: set[_Reader] = set()
        self._places = Counter[str]()  # connections by person
        self._news = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._is_ending = False

    @property
    def readers(self) -> int:
        """How many connections follow."""
        return len(self._readers)

    async def handle(self, request: Request, send: Send) -> None:
        """Send events until the reader leaves."""
        handler, _ = self.routes.find(request)
        await handler(request, await self.enter(request), send)

    async def _follow_from(self, request: Request, sender: Identity, send: Send) -> None:
        since, wish = _read(request, self._limits.filters)
        with self._place(sender):
            reader, newest = await self._begin(sender, since, wish)
            await self._stream(reader, newest, request, send)

    def end(self) -> None:
        """End all streams; readers come again, and go on where they were. For the event loop, when the server stops."""
        self._is_ending = True
        self._tell()

    def close(self) -> None:
        """Wait for the look that is under way, and look no more."""
        self._is_ending = True
        super().close()

    @contextlib.contextmanager
    def _place(self, sender: Identity) -> Iterator[None]:
        if self._places.total() >= self._limits.readers or self._places[sender.name] >= self._limits.readers_each:
            raise refusal(
                429, "busy", "as many follow events as are served at a time", "close another page, or come again", retry_after_s=5
            )
        self._places[sender.name] += 1
        try:
            yield
        finally:
            self._places[sender.name] -= 1
            self._places += Counter()  # drops zeros

    async def _begin(self, sender: Identity, since: int | None, wish: Wish) -> tuple[_Reader, int]:
        """Give a reader at its place, and the number of the newest event."""

        def look() -> tuple[_Reader, int]:
            self._settle()
            with self._store.database.read(sender) as tx:
                newest = latest_seq(tx)
                if since is not None:
                    _check_kept(tx, since, newest)
                return _Reader(sender, wish, self._sight(tx, sender), newest if since is None else since), newest

        return await self.in_thread(look)

    async def _stream(self, reader: _Reader, newest: int, request: Request, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        gone = asyncio.ensure_future(request.left())
        self._readers.add(reader)
        if self._follower is None or self._follower.done():
            self._window.begin(newest)  # not where this one is: others must not wait until it has caught up
            self._follower = asyncio.ensure_future(self._follow())
        try:
            await self._put(b"retry: 2000\nid: %d\n\n" % reader.at, send)
            beats_s = self._next_beat_s()
            while not (self._is_ending or gone.done() or reader.sight is NOTHING):
                news = self._news
                lines = self._window.after(reader.at)
                if lines is None:
                    lines = await self._page(reader)
                for piece in reader.pieces(lines):
                    await self._put(piece, send)
                if not lines:
                    await _first_of(news, gone, beats_s)
                if asyncio.get_running_loop().time() >= beats_s:
                    reader.sender = await self._identify_again(request, reader.sender)
                    await self._put(b"id: %d\n\n" % reader.at, send)
                    beats_s = self._next_beat_s()
            await self._put(b"", send, is_last=True)
        except TimeoutError:  # what it misses is in the database; uvicorn hangs up
            log.info("a slow reader of events was dropped person=%s at=%d", reader.sender.name, reader.at)
        except StratalError as error:  # the answer has begun, and can only end
            log.info("a reader of events was sent away person=%s why=%s", reader.sender.name, error.message)
            with contextlib.suppress(TimeoutError):
                await self._put(b"", send, is_last=True)
        finally:
            self._readers.discard(reader)
            gone.cancel()

    async def _identify_again(self, request: Request, sender: Identity) -> Identity:
        """Ask who this is now. Raises Forbidden if it is nobody any more, or somebody else."""
        found = await self._guard.identify(request.headers)
        if found.name != sender.name:
            raise Forbidden("somebody else has signed in here")
        return found

    def _next_beat_s(self) -> float:
        return asyncio.get_running_loop().time() + self._limits.heartbeat_s

    async def _put(self, piece: bytes, send: Send, *, is_last: bool = False) -> None:
        message: Message = {"type": "http.response.body", "body": piece, "more_body": not is_last}
        await asyncio.wait_for(send(message), self._limits.slow_s)

    async def _page(self, reader: _Reader) -> list[Line]:
        def look() -> tuple[list[Line], Sight]:
            with self._store.database.read(reader.sender) as tx:
                _check_kept(tx, reader.at, latest_seq(tx))
                return _lines(tx, reader.at, self._limits.page), self._sight(tx, reader.sender)

        lines, reader.sight = await self.in_thread(look)
        return lines

    async def _follow(self) -> None:
        """Look for news while somebody listens, for all readers at once."""
        loop = asyncio.get_running_loop()
        while self._readers and not self._is_ending:
            began_s = loop.time()
            try:
                lines, sights = await self.in_thread(partial(self._look, self._window.end, {reader.sender for reader in self._readers}))
            except StratalError as error:
                log.warning("events cannot be read error=%s", error.message)
                lines, sights = [], {}
            except Exception:  # the edge of this task: without it, all would wait for ever
                log.exception("events cannot be read")
                lines, sights = [], {}
            if lines:
                for reader in self._readers:
                    reader.sight = sights.get(reader.sender, reader.sight)
                self._window.add(lines)
                self._tell()
            if len(lines) < self._limits.page:
                # A store that is slow to look at is looked at less often; many events in a row make one batch.
                await asyncio.sleep(max(_BATCH_S, 4 * (loop.time() - began_s)) if lines else 0)
                await self._wait()

    async def _wait(self) -> None:
        """Wait for an event, or until it is time to look at journals."""
        call = partial(wait, self._store.database, self._window.end, timeout_s=self._limits.look_s)
        try:
            await self.in_thread(call, self._waiter)
        except StratalError:  # the next look says more
            await asyncio.sleep(self._limits.look_s)

    def _look(self, after: int, senders: set[Identity]) -> tuple[list[Line], dict[Identity, Sight]]:
        self._settle()
        with self._store.database.read(SYSTEM) as tx:
            lines = _lines(tx, after, self._limits.page)
            return lines, {sender: self._sight(tx, sender) for sender in senders} if lines else {}

    def _settle(self) -> None:
        """Bring in what processes of this machine have logged; a disk that is full keeps nobody from reading."""
        with contextlib.suppress(StoreDown, Conflict):
            self._store.settler.settle()

    def _sight(self, tx: Transaction, sender: Identity) -> Sight:
        """Say what somebody may see now."""
        try:
            experiments, models = (self._guard.visible(tx, sender, kind) for kind in ("experiment", "model"))
        except Forbidden:
            return NOTHING
        may_be_admin = experiments is None and models is None
        return Sight(experiments, models, may_be_admin and self._guard.may(tx, sender, Role.ADMIN, EVERYTHING))

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def _read(request: Request, most: int) -> tuple[int | None, Wish]:
    """Read where a reader goes on, and what it wants. Raises Failed, and Misuse for what no event can be about."""
    try:
        asked = parse_qsl(request.query, keep_blank_values=True, errors="strict", max_num_fields=most)
    except ValueError:
        raise refusal(400, "query", "the query cannot be read", "write ?kind=version&on=model:churn") from None
    if unknown := sorted({name for name, _ in asked} - set(_ASKABLE)):
        raise refusal(400, "query", f"events are not asked for by {unknown[0][:40]!r}", f"there are: {', '.join(_ASKABLE)}")
    chosen = {name: frozenset(value for said, value in asked if said == name) for name in _ASKABLE}
    last = [request.headers[LAST_ID]] if request.headers.get(LAST_ID) else sorted(chosen["since"])
    if len(last) > 1 or (last and not (last[0].isascii() and last[0].isdigit() and len(last[0]) <= 18)):
        raise refusal(400, "since", f"{last[0][:40]!r} is no number of an event", "go on from the id of the last event that came")
    subjects, on = frozenset(map(checked_subject, chosen["subject"])), frozenset(map(checked_on, chosen["on"]))
    return int(last[0]) if last else None, Wish(kinds=chosen["kind"], subjects=subjects, on=on)


def _check_kept(tx: Transaction, since: int, newest: int) -> None:
    """Refuse to go on where events are missing. 0 is no place to go on from: it asks for all that is kept."""
    oldest = oldest_seq(tx)
    if since > newest:
        raise refusal(
            410, "gone", f"this store has no event {since}; its newest is {newest}: it is another store, or was restored from a backup",
            f"read the present state, and go on with since={newest}",
        )  # fmt: skip
    if since and oldest > since + 1:
        raise refusal(
            410, "gone", f"the events after {since} are not kept any more; the oldest is {oldest}",
            f"read the present state, and go on with since={newest}; or since=0 for all that is kept",
        )  # fmt: skip


def _lines(tx: Transaction, after: int, most: int) -> list[Line]:
    return [Line(event, encode(event)) for event in told(tx, events_since(tx, after, limit=most))]


def encode(event: Told) -> bytes:
    """Give an event as a block of text/event-stream. JSON holds no line breaks; a kind is a word of ours, or some."""
    kind = " ".join(event.kind.split())
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, kind.encode(), msgspec.json.encode(event))


async def _first_of(news: asyncio.Event, gone: "asyncio.Future[None]", until_s: float) -> None:
    """Wait for news, for the reader to leave, or until a time of the loop."""
    coming = asyncio.ensure_future(_hear(news))
    timeout_s = max(0.0, until_s - asyncio.get_running_loop().time())
    await asyncio.wait({coming, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    coming.cancel()


async def _hear(news: asyncio.Event) -> None:
    await news.wait()
