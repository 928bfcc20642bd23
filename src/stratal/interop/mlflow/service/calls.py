"""Calls: a function of the protocol, how it opens the store, and what it is told beside its request.

Laws: 1 a command's writes are one transaction, or none. 2 what was answered is durable, and seen by every later call.
3 rights are checked inside of the transaction that the function reads or writes with, before it runs.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from stratal.core.errors import NotFound, StratalError
from stratal.core.ids import is_id
from stratal.core.people import EVERYTHING, Role
from stratal.core.records import Record
from stratal.interop.mlflow.service.errors import MISSING, MlflowError, required
from stratal.interop.mlflow.service.seen import Seen
from stratal.interop.mlflow.service.store.experiments import number
from stratal.interop.mlflow.service.store.runs import Head
from stratal.store.admitting import Unseen
from stratal.store.database import Transaction
from stratal.store.names import join_runs
from stratal.store.relays import hear
from stratal.store.store import Store

R = TypeVar("R", bound="Request")
A = TypeVar("A", bound="Answer")


class Request(Record, frozen=True, kw_only=True):
    """Base of all requests. Every field may be left out: the functions say which they need."""


class Answer(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all answers. What has its default is not sent."""


class Empty(Answer, frozen=True, kw_only=True):
    """Nothing to say."""


class OfRun(Request, frozen=True, kw_only=True):
    """A request about one run. Old clients only know `run_uuid`."""

    run_id: str | None = None
    run_uuid: str | None = None

    @property
    def run(self) -> str:
        """The run's id, as it was sent. Raises MlflowError if there is none."""
        if not (id := self.run_id or self.run_uuid):
            raise required("run_id")
        return id


class Rights(Protocol):
    """What the caller may do, as the surface that it came through knows."""

    def check(self, tx: Transaction, needs: Role, on: str) -> None:
        """Raise Forbidden unless the caller holds the role on '*', 'experiment:NAME' or 'model:NAME'; Unseen if they may not view it."""
        ...

    def visible(self, tx: Transaction, kind: str) -> frozenset[str] | None:
        """Give the names of the experiments or models that the caller may view; None: all."""
        ...

    def created(self, tx: Transaction, on: str) -> None:
        """Note that the caller, who was checked, has made 'experiment:NAME' or 'model:NAME'."""
        ...


class Everything:
    """The rights of who has the store itself."""

    def check(self, tx: Transaction, needs: Role, on: str) -> None:
        """Let everything be done."""

    def visible(self, tx: Transaction, kind: str) -> frozenset[str] | None:
        """Show all."""
        return None

    def created(self, tx: Transaction, on: str) -> None:
        """Need no note: everybody may do everything."""


class Service:
    """The protocol over one store; `seen` is what this process remembers of points that it wrote.

    is_relay: its clients are elsewhere, and may come back through another process; else they are this process."""

    def __init__(self, store: Store, *, is_relay: bool = False) -> None:
        self.store = store
        self.is_relay = is_relay
        self.seen = Seen()


class Call:
    """One call under way: its transaction, and who asks."""

    def __init__(self, service: Service, tx: Transaction, rights: Rights, runs: Collection[str] = ()) -> None:
        """runs: whose writers were heard before a command began."""
        self.service = service
        self.runs = runs
        self.store = service.store
        self.tx = tx
        self._rights = rights
        self.heads: dict[str, Head] = {}  # of runs that it asked for, as they stood when it began
        self.refusal: StratalError | None = None

    def refuse(self, error: StratalError) -> None:
        """End the call by an error, but keep what it has written: it is raised after the commit."""
        self.refusal = error

    def attend(self, run: bytes) -> None:
        """Join the writers of a run, in a call that commands: for as long as this process lives, or as its clients say something."""
        if self.service.is_relay:
            hear(self.tx, run, self.store.writer.id)
        else:
            join_runs(self.tx, [(run, self.store.writer.id)])

    @contextlib.contextmanager
    def commanding(self, run: str) -> Iterator["Call"]:
        """Open a command about a run, from inside of a call that only reads."""
        with self.store.command(runs=[run]) as tx:
            yield Call(self.service, tx, self._rights)

    def check(self, needs: Role, on: str) -> None:
        """Raise Forbidden unless the caller holds the role there."""
        self._rights.check(self.tx, needs, on)

    @contextlib.contextmanager
    def finding(self) -> Iterator[None]:
        """Look for what a request names. Raises Unseen for what is not there, to who may not view everything: they are told the same
        of what they may not view."""
        try:
            yield
        except MlflowError as error:
            if error.code == MISSING:
                self.check(Role.VIEWER, EVERYTHING)
            raise

    def visible(self, kind: str) -> frozenset[str] | None:
        """Give the names of the experiments or models that the caller may view; None: all."""
        return self._rights.visible(self.tx, kind)

    def created(self, on: str) -> None:
        """Note that the caller has made 'experiment:NAME' or 'model:NAME': whoever makes something may manage it."""
        self._rights.created(self.tx, on)


class Unnumbered(Exception):
    """A snapshot holds experiments that have no number yet: it is read again when they have."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class Renamed(Exception):
    """A command named its run by the id that it had in MLflow: it is done again when the writers of the run `id` were heard."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id


class Opens(Enum):
    """How a function opens the store."""

    READ = "a snapshot in which all that was written before is settled"
    COMMAND = "one write transaction"
    LOG = "looks at what is settled, to check what then goes to the journal"


@dataclass(frozen=True)
class Verb(Generic[R, A]):
    """A function of the protocol, and how it opens the store."""

    function: Callable[[Call, R], A]
    opens: Opens


def reads(function: Callable[[Call, R], A]) -> Verb[R, A]:
    """Mark a function that only reads."""
    return Verb(function, Opens.READ)


def commands(function: Callable[[Call, R], A]) -> Verb[R, A]:
    """Mark a function that writes in its transaction."""
    return Verb(function, Opens.COMMAND)


def logs(function: Callable[[Call, R], A]) -> Verb[R, A]:
    """Mark a function that writes to the journal only."""
    return Verb(function, Opens.LOG)


# Which objects the caller needs its role on.
On = Callable[[Call, R], Iterable[str]]


def anything(_call: Call, _request: Request) -> Iterable[str]:
    """Rights are asked on nothing: the function shows only what the caller may view, or the caller may do everything."""
    return ()


def perform(service: Service, verb: Verb[R, A], request: R, *, rights: Rights, needs: Role, on: On[R]) -> A:
    """Open the store as the verb needs it, check the caller's rights, and run it. Raises MlflowError, or an error of the store."""
    try:
        return _once(service, verb, request, rights, needs, on)
    except (MlflowError, NotFound, Unseen) as error:
        if verb.opens is Opens.READ or (isinstance(error, MlflowError) and error.code != MISSING):
            raise
        if not service.store.settle():  # it may stand in a journal only
            raise
    return _once(service, verb, request, rights, needs, on)


def _once(service: Service, verb: Verb[R, A], request: R, rights: Rights, needs: Role, on: On[R]) -> A:
    runs = [request.run] if verb.opens is Opens.COMMAND and isinstance(request, OfRun) and is_id(request.run) else []
    try:
        return _try(service, verb, request, rights, needs, on, runs)
    except Unnumbered as missing:
        with service.store.command() as tx:
            number(tx, missing.names)
    except Renamed as found:
        runs = [found.id]
    return _try(service, verb, request, rights, needs, on, runs)


def _try(service: Service, verb: Verb[R, A], request: R, rights: Rights, needs: Role, on: On[R], runs: Collection[str]) -> A:
    with _open(service.store, verb.opens, runs) as tx:
        call = Call(service, tx, rights, runs)
        with call.finding():
            things = list(on(call, request))
        for thing in things:
            call.check(needs, thing)
        answer = verb.function(call, request)
    if call.refusal is not None:
        raise call.refusal
    return answer


@contextlib.contextmanager
def _open(store: Store, opens: Opens, runs: Collection[str]) -> Iterator[Transaction]:
    match opens:
        case Opens.READ:
            with store.query() as tx:
                yield tx
        case Opens.LOG:
            with store.database.look(store.actor()) as tx:
                yield tx
        case Opens.COMMAND:
            with store.command(runs=runs) as tx:
                yield tx
