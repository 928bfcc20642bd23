"""Delivering: the loop of the server process that tells endpoints of events.

Laws (tested, with kills): 1 an event that an endpoint wants becomes one delivery, and is tried until it is taken or dead: at least once.
2 repeats of a delivery have its id and its bytes. 3 an endpoint that hangs, fails or is slow holds up no other, unless
as many are so as are told at once: then others wait for a turn. 4 any number of servers may deliver for one store. 5 who is stopped
waits for no endpoint: what was under way is tried by whoever comes next, at once.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from stratal.core.errors import Conflict, StoreDown, StratalError
from stratal.store.settling import SYSTEM
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.store.lost import tell_lost, untold
from stratal.webhooks import store as rows
from stratal.webhooks.sending import Cut, Outcome, send
from stratal.webhooks.signing import ID, SIGNATURE, TIMESTAMP, sign

log = logging.getLogger(__name__)

# Seconds between two looks. Lost runs, and the log's end, are looked at less often.
LOOK_S, SELDOM_S = 1.0, 60.0
# Bytes of journals that are settled though nobody asked: 10,000 calls of one metric. A reader waits for as much a tenth of a second.
MUCH_BYTES = 1 << 20
# Endpoints that are told at once, and seconds after which one that always has something due gives its place to others.
_AT_ONCE, _TURN_S = 8, 5.0


class Deliverer:
    """Delivers for one store. `send` is what makes a request; much_bytes: of journals that are settled though there is nobody to tell."""

    def __init__(self, store: Store, *, send: Callable[..., Outcome | None] = send, much_bytes: int = MUCH_BYTES) -> None:
        self._store = store
        self._send = send
        self._much_bytes = much_bytes
        self._allowed = store.settings.private_hosts
        self._stopped, self._cut = threading.Event(), Cut()
        self._turns: dict[str, Future[int]] = {}  # of endpoints that are being told

    def run(self) -> None:
        """Deliver until `stop`."""
        seldom = 0.0
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stratal-webhook") as threads:
            while not self._stopped.is_set():
                with _logged():
                    if self._store.clock.monotonic_s() >= seldom:
                        seldom = self._store.clock.monotonic_s() + SELDOM_S
                        self.tidy()
                    self._begin(threads)
                self._stopped.wait(LOOK_S)

    def stop(self) -> None:
        """End now: attempts that are under way are broken off, and count as not made."""
        self._stopped.set()
        self._cut.make()

    def deliver(self) -> int:
        """Write deliveries of what happened, and try all that are due. Gives how many were tried."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stratal-webhook") as threads:
            return sum(turn.result() for turn in self._begin(threads))

    def _begin(self, threads: Executor) -> list[Future[int]]:
        """Write deliveries of what happened, and begin to tell who has something due and is not being told already."""
        with contextlib.suppress(StoreDown, Conflict):
            self.settle()
        while True:
            with self._store.database.read(SYSTEM) as tx:
                if not rows.is_behind(tx):
                    break
            with self._store.database.write(SYSTEM) as tx:
                if not rows.fill(tx):
                    break
        with self._store.database.read(SYSTEM) as tx:
            names = rows.due(tx)
        for name in [name for name, turn in self._turns.items() if turn.done()]:
            with _logged():
                self._turns.pop(name).result()
        begun = {name: threads.submit(self._serve, name) for name in names if name not in self._turns}
        self._turns |= begun
        return list(begun.values())

    def settle(self) -> int:
        """Settle what endpoints may want to hear of; where there are none, only what would keep the next reader waiting."""
        with self._store.database.read(SYSTEM) as tx:
            is_wanted = rows.has_endpoints(tx)
        if is_wanted or self._store.settler.waiting_bytes() > self._much_bytes:
            return self._store.settler.settle()
        return 0

    def tidy(self) -> None:
        """Tell of runs that were lost, and forget old deliveries."""
        lost = [run.id for run in find_runs("status = 'lost'", limit=1000, store=self._store)]
        with self._store.database.read(SYSTEM) as tx:
            news = untold(tx, lost)
        with self._store.database.write(SYSTEM) as tx:
            rows.forget_old(tx)
            for id in news:
                tell_lost(tx, id)

    def try_this(self, id: str) -> None:
        """Try one delivery, if it is due and nobody else is at it."""
        with self._store.database.write(SYSTEM) as tx:
            attempt = rows.claim_this(tx, id)
        if attempt is not None:
            self._try(attempt)

    def _serve(self, name: str) -> int:
        """Try what is due for an endpoint, for a turn, or until one fails: the others would, too. Gives how many were tried."""
        count, ends_s = 0, self._store.clock.monotonic_s() + _TURN_S
        while not self._stopped.is_set() and self._store.clock.monotonic_s() < ends_s:
            with self._store.database.write(SYSTEM) as tx:
                attempt = rows.claim(tx, name)
            if attempt is None:
                return count
            count += 1
            if not self._try(attempt):
                return count
        return count

    def _try(self, attempt: rows.Attempt) -> bool:
        now_s = self._store.clock.now_ns() // 1_000_000_000
        headers = {
            "content-type": "application/json", "user-agent": "stratal-webhooks", ID: attempt.id, TIMESTAMP: str(now_s),
            SIGNATURE: sign(attempt.secret, attempt.id, now_s, attempt.body),
        }  # fmt: skip
        outcome = self._send(attempt.url, headers, attempt.body, allowed=self._allowed, cut=self._cut)
        if outcome is None:
            with self._store.database.write(SYSTEM) as tx:
                rows.give_back(tx, attempt)
            return False
        with self._store.database.write(SYSTEM) as tx:
            state = rows.finish(tx, attempt, outcome)
        log.info("webhook delivery=%s attempt=%d state=%s status=%s", attempt.id, attempt.attempts, state, outcome.status)
        return not outcome.error


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Be the edge of a thread: what goes wrong is logged, and tried again at the next look."""
    try:
        yield
    except StratalError as error:
        log.warning("webhooks wait for the store error=%s", error.message)
    except Exception:
        log.exception("webhooks failed")


@contextlib.contextmanager
def delivering(store: Store) -> Iterator[Deliverer]:
    """Deliver beside a block, in a thread of this process."""
    deliverer = Deliverer(store)
    thread = threading.Thread(target=deliverer.run, name="stratal-webhooks", daemon=True)
    thread.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()
        thread.join()
