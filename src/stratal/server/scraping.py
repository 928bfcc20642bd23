"""Scraping: who may read the metrics, and what these say of the store. A scrape is answered while the database is away, too."""

import asyncio
import hashlib
import math
import secrets
from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Forbidden, StoreDown
from stratal.core.people import EVERYTHING, Identity, Role
from stratal.server.asgi import Failed, Request
from stratal.server.guards import Guard, identified
from stratal.server.pool import Pool
from stratal.store.shipments import USER
from stratal.store.store import Store
from stratal.webhooks.store import MOST_COUNTED, backlog

# How long the store may take to say how it is: Prometheus waits 10 s for all.
ANSWER_S = 2.0
# How long one who was let in is remembered while nobody can be asked: an outage over night is seen to its end. And how many of them.
REMEMBERED_S, MOST_REMEMBERED = 86_400.0, 100
# Scrapes that may wait for the store.
_MOST_SCRAPES = 8

Gauges = dict[str, tuple[str, float]]


class Scrapes:
    """Scrapes of one store's server."""

    def __init__(self, store: Store, guard: Guard) -> None:
        self._store, self._guard = store, guard
        self._pool = Pool(threads=1, most_calls=_MOST_SCRAPES)  # of its own: that others wait for a thread is no fault of the store
        self._let_in: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._salt = secrets.token_bytes(16)

    async def of_store(self, request: Request) -> Gauges:
        """Let a request read the metrics, and give the gauges of the store. Raises Forbidden and Unauthenticated.

        While the database is away nobody can be asked who may: who was let in before, by the same credentials, is so again, and for others
        it raises StoreDown."""
        key, now_s = self._key(request.headers), self._store.clock.monotonic_s()
        asked = asyncio.ensure_future(self._ask(request))
        asked.add_done_callback(lambda done: done.cancelled() or done.exception())  # it was read: nobody may be there any more to do so
        try:
            sender, found = await asyncio.wait_for(asyncio.shield(asked), ANSWER_S)
        except Forbidden:
            self._let_in.pop(key, None)
            raise
        except (StoreDown, Failed, OSError) as error:  # OSError: journals that cannot be read, and no answer in time
            name, at_s = self._let_in.get(key, ("", -math.inf))
            if now_s - at_s > REMEMBERED_S:
                raise StoreDown("the store does not say whether you may read this", hint="see that its database is there") from error
            request.note_sender(name)
            return {"store_up": (_UP, 0.0)}
        self._let_in[key] = (sender.name, now_s)
        self._let_in.move_to_end(key)
        while len(self._let_in) > MOST_REMEMBERED:
            self._let_in.popitem(last=False)
        return {"store_up": (_UP, 1.0), **found}

    def close(self) -> None:
        """Wait for what is under way, and take nothing more."""
        self._pool.close()

    async def _ask(self, request: Request) -> tuple[Identity, Gauges]:
        sender = await identified(self._guard, request)
        return sender, await self._pool.run(lambda: self._look(sender))

    def _look(self, sender: Identity) -> Gauges:
        with self._store.database.look(sender) as tx:
            self._guard.check(tx, sender, Role.VIEWER, EVERYTHING)
            told = backlog(tx)
            waited_ns = 0 if told.since_ns is None else max(0, tx.now_ns - told.since_ns)
        return {
            "journal_waiting_bytes": (_JOURNALS, float(self._store.settler.waiting_bytes())),
            "webhook_deliveries_waiting": (_DELIVERIES, float(told.waiting)),
            "webhook_waiting_seconds": (_WAITING, waited_ns / SECOND_NS),
        }

    def _key(self, headers: Mapping[str, str]) -> bytes:
        """Give what credentials are remembered by: nothing that would be worth anything to who reads this process's memory later."""
        shown = [headers.get(name, "") for name in ("authorization", "cookie", USER)]
        return hashlib.blake2b(msgspec.json.encode(shown), key=self._salt, digest_size=16).digest()


_UP = f"Whether the database of the store answered within {ANSWER_S:g} s; where it did not, the gauges of the store are left out."
_OF_ALL = "Of the store, so the same at each of its servers."
_JOURNALS = "Bytes of journals that are not settled yet, whoever wrote them. Of the store's folder on this machine."
_DELIVERIES = f"Deliveries of webhooks that wait, up to {MOST_COUNTED} of each webhook; those of paused ones are left out. {_OF_ALL}"
_WAITING = f"Seconds since the oldest event of which a webhook that is not paused still has to be told, else 0. {_OF_ALL}"
