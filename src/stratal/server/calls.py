"""Calls: one operation for one sender, in a thread. Who may do it is asked first; what it lists is what the sender may see."""

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from stratal.core.errors import Forbidden, Misuse
from stratal.core.ids import to_bytes
from stratal.core.people import EVERYTHING, Identity, Role
from stratal.server.asgi import Failed, refusal
from stratal.server.guards import Guard, check_seen
from stratal.server.linking import working_for
from stratal.server.rooms import Arguments, Item, Room
from stratal.store.admitting import admitting
from stratal.store.callers import Caller, called_by
from stratal.store.database import Transaction
from stratal.store.deadlines import reading_within
from stratal.store.names import find_run
from stratal.store.operations import Operation
from stratal.store.quotas.holding import holding_quotas
from stratal.store.store import Store
from stratal.store.wire import MSGPACK, unpack

# How long a query may read: twice what a client waits for its answer. A command is not ended: it may have been done.
MOST_READ_S = 60.0
# Values of one list or map of a call in msgpack; commas of one in JSON. The largest calls have 100,000 rows, of a few values each.
MOST_ITEMS, MOST_COMMAS = 250_000, 1_000_000
_PEEK = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])


class Call:
    """One operation of a room, over one store."""

    def __init__(self, room: Room, operation: Operation, store: Store, guard: Guard) -> None:
        self.room, self.operation = room, operation
        self._store, self._guard = store, guard
        self._run: Callable[..., object] = getattr(room.store(store), operation.name)
        self.arguments = arguments_of(room, operation)

    def read(self, body: bytes, encoding: str) -> Arguments:
        """Decode the arguments. Raises Failed, naming what is wrong."""
        check_count(body, encoding)
        try:
            return unpack(body or b"{}", encoding if body else "application/json", self.arguments)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            names = ", ".join(self.operation.arguments) or "none"
            raise _unreadable(error, f"{self.operation.name} takes: {names}") from None

    def answer(self, arguments: Arguments, sender: Identity, caller: Caller | None) -> object:
        """Run it, and give what it gives. Raises what it raises, and Forbidden."""

        def admit(tx: Transaction) -> frozenset[str] | None:
            self._check(tx, arguments, sender)
            tx.may_view = lambda on: self._guard.may(tx, sender, Role.VIEWER, on)
            return self._guard.visible(tx, sender, "experiment") if self.operation.is_scoped else None

        def created(tx: Transaction, on: str) -> None:
            self._guard.created(tx, sender, on)

        most_s = None if self.operation.takes_long or self.operation.is_command else MOST_READ_S
        with working_for(self._guard, sender), called_by(caller), holding_quotas(), admitting(admit, created), reading_within(most_s):
            with self._store.glance():  # before anything is done, and again in each transaction of the operation
                pass
            try:
                result = self._run(**{name: getattr(arguments, name) for name in self.operation.arguments})
            except OverflowError as error:  # JSON's numbers have no end; those of the store have 64 bits
                raise Misuse(f"a number is too large for the store: {error}", hint="numbers have at most 64 bits") from error
            if (listed := self.room.lists.get(self.operation.name)) is None:
                return result
            with self._store.database.read(sender) as tx:
                return self._visible(tx, sender, result, *listed)

    def _check(self, tx: Transaction, arguments: Arguments, sender: Identity) -> None:
        if self.room.is_for_known and not sender.is_authenticated:
            raise Forbidden(
                "this server asks nobody who they are, and so neither shows nor changes who may come in to one that does",
                hint="do it where the store lies, with --store FOLDER; or at a server that asks: stratal server --auth",
            )
        if self.operation.is_own:
            self._guard.visible(tx, sender, "experiment")  # raises for who is not let in any more
        if self.operation.is_own or self.operation.is_scoped or self.operation.name in self.room.lists:
            return
        needs = Role.VIEWER if self.operation.asks_itself else self.operation.needs
        named = [(needs, on) for on in self.room.objects_of(self.operation, arguments)]
        on_runs: Role = needs if self.room.on_runs is None else min(needs, self.room.on_runs)
        found = [find_run(tx, to_bytes(run)) for run in self.room.runs_of(self.operation, arguments)]
        # A run that is not there is as one that may not be seen; but an operation that says where runs belong may be what makes it.
        absent = [] if self.operation.name in self.room.experiments else [EVERYTHING]
        of_runs = [(on_runs, on) for run in found for on in (absent if run is None else [f"experiment:{run.experiment}"])]
        if not any(role == needs for role, _ in (*named, *of_runs)):
            (of_runs if found else named).append((needs, EVERYTHING))
        for role, on in dict.fromkeys(named):
            self._guard.check(tx, sender, role, on)
        for role, on in dict.fromkeys(of_runs):
            check_seen(self._guard, tx, sender, role, on)

    def _visible(self, tx: Transaction, sender: Identity, items: Any, kind: str, name_of: Callable[[Item], str]) -> list[Item]:
        names = self._guard.visible(tx, sender, "experiment" if kind == "run" else kind)
        if names is None:
            return list(items)
        if kind != "run":
            return [item for item in items if name_of(item) in names]
        runs = [(item, find_run(tx, to_bytes(name_of(item)))) for item in items]
        return [item for item, run in runs if run is not None and run.experiment in names]


def check_count(body: bytes, encoding: str) -> None:
    """Raise Failed for so many values that making them would hold up everybody: a decoder lets no other thread run until it is done."""
    if encoding != MSGPACK:
        count, most = body.count(b","), MOST_COMMAS
    else:
        count, most = _length(body) or _longest(body), MOST_ITEMS
    if count > most:
        raise refusal(413, "too-large", f"the body holds {count:,} values; at most {most:,} are taken", "send less at a time")


def _longest(body: bytes) -> int:
    try:
        return max((_length(bytes(memoryview(value)[:5])) for value in _PEEK.decode(body).values()), default=0)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return 0  # whoever decodes it says what is wrong


def _length(packed: bytes) -> int:
    """Give the length that a list or map of msgpack announces, 0 for one below 65,536 and for all else."""
    return int.from_bytes(packed[1:5], "big") if packed[:1] in (b"\xdd", b"\xdf") else 0


def arguments_of(room: Room, operation: Operation) -> type[msgspec.Struct]:
    """Make the record of an operation's arguments, out of its signature."""
    signature = inspect.signature(getattr(room.store, operation.name))
    fields: list[Any] = []
    for name, hint in operation.arguments.items():
        default = signature.parameters[name].default
        fields.append((name, hint) if default is inspect.Parameter.empty else (name, hint, default))
    title = f"{room.name}_{operation.name}"
    return msgspec.defstruct(title, fields, kw_only=True, frozen=True, forbid_unknown_fields=True)


def _unreadable(error: Exception, hint: str) -> Failed:
    return refusal(400, "arguments", f"the body cannot be read: {str(error) or type(error).__name__}"[:500], hint)
