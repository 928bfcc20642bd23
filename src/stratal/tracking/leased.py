"""Runs with a lease: their start and end are commands, one thread per process renews them, and whoever loses one is told to stop."""

import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping

from stratal.core.errors import StaleLease, StratalError
from stratal.core.ids import RunId
from stratal.store.store import Store
from stratal.tracking import active
from stratal.tracking.facts import Start, to_params, to_tags
from stratal.tracking.operations.leasing import RunLeases
from stratal.tracking.runs import Run
from stratal.tracking.system.sampler import watch

log = logging.getLogger(__name__)

# Long enough for a machine that swaps, short enough that a crash costs little. A guess.
TTL_S = 30.0


class LeasedRun(Run):
    """A run that only one worker may write to. `is_lost` tells whether it was taken over; guarded commands then raise."""

    _ends_by_command = True

    def __init__(self, store: Store, id: RunId, experiment: str, token: int, *, kind: str, ttl_s: float = TTL_S) -> None:
        super().__init__(store, id, experiment, epoch=token, kind=kind)
        self.ttl_s = ttl_s
        self.is_lost = False
        _renewer.add(self)

    @property
    def token(self) -> int:
        """The fencing token: pass it to guarded commands."""
        return self.epoch

    def renew(self) -> None:
        """Hold the lease for another ttl_s. Raises StaleLease if it was taken over."""
        try:
            RunLeases(self.store).renew_lease(run=self.id, token=self.token, ttl_s=self.ttl_s)
        except StaleLease:
            self.is_lost = True
            _renewer.drop(self)
            raise

    def let_go(self) -> None:
        """Stop renewing, after a room's own command has ended the run."""
        _renewer.drop(self)
        if self.is_open:
            self._run_endings()
            self.is_open = False
            active.pop(self)

    def _end(self, status: str, error: str) -> None:
        RunLeases(self.store).end_leased(run=self.id, token=self.token, status=status, error=error)
        _renewer.drop(self)


def start_leased(
    experiment: str,
    *,
    store: Store,
    kind: str,
    name: str = "",
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, str] | None = None,
    group: str = "",
    parent: str | None = None,
    ttl_s: float = TTL_S,
) -> LeasedRun:
    """Start a run whose lease this process holds, and make it the active one. One transaction."""
    start = Start(
        experiment=experiment, name=name, kind=kind, group=group, parent=parent, params=to_params(params or {}),
        tags={name: value for name, value in to_tags(tags or {}).items() if value is not None}, user=store.actor().name,
    )  # fmt: skip
    taken = RunLeases(store).start_leased(experiment=experiment, start=start, ttl_s=ttl_s)
    return adopt(store, taken.run, experiment, taken.token, kind=kind, ttl_s=ttl_s)


def claim_leased(run_id: str, *, store: Store, from_step: int | None = None, ttl_s: float = TTL_S) -> LeasedRun:
    """Take over a run whose lease is free or has run out. from_step: where work goes on; later points are hidden.

    Raises Conflict if somebody holds it, NotFound if there is no such run.
    """
    taken = RunLeases(store).claim_leased(run=RunId(run_id), from_step=from_step, ttl_s=ttl_s)
    return adopt(store, taken.run, taken.experiment, taken.token, kind=taken.kind, ttl_s=ttl_s)


def adopt(store: Store, id: RunId, experiment: str, token: int, *, kind: str, ttl_s: float = TTL_S) -> LeasedRun:
    """Wrap a lease that a room's own command has taken, make the run active, and renew it from now on."""
    leased = LeasedRun(store, id, experiment, token, kind=kind, ttl_s=ttl_s)
    active.push(leased)
    watch(leased)
    return leased


class _Renewer:
    """One thread per process that renews all its leases, each after a third of its time; started by the first one."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._due: dict[str, tuple[float, weakref.ref[LeasedRun]]] = {}
        self._thread: threading.Thread | None = None
        self._looks_s = 0.0  # when the thread looks again by itself

    def add(self, run: LeasedRun) -> None:
        with self._change:
            due_s = time.monotonic() + run.ttl_s / 3
            self._due[run.id] = (due_s, weakref.ref(run))
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="stratal-leases", daemon=True)
                thread.start()  # raises where there can be no more: a lease that nobody renews must not be taken
                self._thread = thread
            elif due_s < self._looks_s:  # rare: waking a thread costs as much as a small transaction
                self._change.notify()

    def drop(self, run: LeasedRun) -> None:
        with self._change:
            self._due.pop(run.id, None)

    def _serve(self) -> None:
        while True:
            with self._change:
                now_s = time.monotonic()
                self._looks_s = min((now_s + TTL_S / 3, *(at_s for at_s, _ in self._due.values())))
                if self._looks_s > now_s:
                    self._change.wait(self._looks_s - now_s)
                    continue
                due = [(id, run()) for id, (at_s, run) in self._due.items() if at_s <= now_s]
                for id, run in due:
                    if run is None:  # nobody holds the run any more: its lease may run out
                        del self._due[id]
                    else:
                        self._due[id] = (now_s + run.ttl_s / 3, weakref.ref(run))
            for _, run in due:
                if run is not None:
                    _renew(run)
            due.clear()
            run = None


def _renew(run: LeasedRun) -> None:
    try:
        run.renew()
    except StaleLease:
        log.warning("lease lost run=%s", run.short)
    except StratalError as error:
        log.warning("lease not renewed run=%s error=%s", run.short, error.message)


_renewer = _Renewer()


def _after_fork() -> None:
    global _renewer
    _renewer = _Renewer()  # a child holds no lease of its parent's


os.register_at_fork(after_in_child=_after_fork)
