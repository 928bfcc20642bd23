"""What victims of webhooks' tests do until they are killed: begin a run, deliver."""

import os
import signal
from itertools import count

from stratal.core.settings import Settings
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run
from stratal.webhooks.delivering import Deliverer
from stratal.webhooks.sending import Cut, Outcome, send


class StoppedClock:
    """A clock that stands still."""

    def __init__(self, at_ns: int) -> None:
        self._at_ns = at_ns

    def now_ns(self) -> int:
        """The time at which it stands."""
        return self._at_ns

    def monotonic_s(self) -> float:
        """No time passes."""
        return 0.0


def begin_and_die(folder: str) -> None:
    """Begin a run, log, and be killed in it."""
    with run("lost", store=open_store(folder)) as made:
        made.log({"a": 1.0}, step=0)
        os.kill(os.getpid(), signal.SIGKILL)


def deliver_until_killed(folder: str, points: int, now_ns: int) -> None:
    """Deliver what is due at a time, and die at the n-th point: of a transaction, before a request, after its answer."""
    store = open_store(folder, settings=Settings(user="tester", webhook_hosts="localhost"), clock=StoppedClock(now_ns))
    passed = count(1)

    def perhaps_die(_point: str) -> None:
        if next(passed) == points:
            os.kill(os.getpid(), signal.SIGKILL)

    def send_dangerously(url: str, headers: dict[str, str], body: bytes, *, allowed: frozenset[str], cut: Cut) -> Outcome | None:
        perhaps_die("before a request")
        outcome = send(url, headers, body, allowed=allowed, cut=cut)
        perhaps_die("after a request")
        return outcome

    store.database.fault = perhaps_die
    Deliverer(store, send=send_dangerously).deliver()
