"""Guards: who may come in, and what they may do. Every surface of the server asks one; what it allows is decided nowhere else."""

import math
import re
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import unquote

from stratal.core.errors import Forbidden
from stratal.core.people import Identity, Role
from stratal.server.asgi import Request
from stratal.store.admitting import Unseen
from stratal.store.database import Transaction
from stratal.store.shipments import USER


class Unauthenticated(Forbidden):
    """Nobody knows yet who this is: who says so may try again."""


class TooManyTries(Unauthenticated):
    """Somebody tried to sign in too often; after `wait_s` seconds they may again."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many tries to sign in", hint=f"wait {math.ceil(wait_s)} s; a token is not counted")
        self.wait_s = wait_s


class Guard(Protocol):
    """Laws: 1 all raise Forbidden and change nothing. 2 `identify` never blocks the event loop. 3 the others are called in threads.
    4 they are asked in the transaction that reads or writes: what was taken away before it began counts."""

    async def identify(self, headers: Mapping[str, str]) -> Identity:
        """Say who sends a request. Raises Unauthenticated."""
        ...

    def check(self, tx: Transaction, sender: Identity, needs: Role, on: str) -> None:
        """Raise Forbidden unless the sender holds the role on an object: '*', 'experiment:NAME' or 'model:NAME'.

        '*' is everything: who holds roles on some experiments only does not hold it. Who lists asks `visible` instead."""
        ...

    def may(self, tx: Transaction, sender: Identity, needs: Role, on: str) -> bool:
        """Tell whether `check` would let the sender; no refusal is noted. Raises Unauthenticated."""
        ...

    def visible(self, tx: Transaction, sender: Identity, kind: str) -> frozenset[str] | None:
        """Give the names of the experiments or models that the sender may view; None: all. kind: 'experiment' or 'model'."""
        ...

    def may_write(self, tx: Transaction, sender: Identity, runs: set[bytes]) -> None:
        """Raise Forbidden unless the sender may write to each of these runs, as they are now; of none, unless they may write at all.

        A run that is not there yet is nobody's: ask again when its experiment is known, before the transaction ends."""
        ...

    def created(self, tx: Transaction, sender: Identity, on: str) -> None:
        """Note that the sender, who was checked, has made an experiment or a model in this write transaction."""
        ...

    def turned_away(self, why: str) -> None:
        """Note that a request was refused before anybody was asked who they are. On the event loop."""
        ...


class OpenGuard:
    """For loopback only: a sender is who it says it is, and may do everything. Hosts of other names are refused,
    so that no web page reaches this server under a name of its own."""

    async def identify(self, headers: Mapping[str, str]) -> Identity:
        """Give the asserted identity."""
        host = headers.get("host", "")
        if not is_this_machine(host):
            raise Forbidden(f"{host[:80]!r} is not this machine", hint="use http://127.0.0.1:PORT")
        name = unquote(headers.get(USER, "")) or "unknown"
        if not 0 < len(name) <= 200 or not name.isprintable():
            raise Forbidden("the name of the sender cannot be a name", hint="set STRATAL_USER")
        return Identity(name=name)

    def check(self, tx: Transaction, sender: Identity, needs: Role, on: str) -> None:
        """Let everybody."""

    def may(self, tx: Transaction, sender: Identity, needs: Role, on: str) -> bool:
        """Tell what `check` would say."""
        try:
            self.check(tx, sender, needs, on)
        except Forbidden:
            return False
        return True

    def visible(self, tx: Transaction, sender: Identity, kind: str) -> frozenset[str] | None:
        """Show all."""
        return None

    def may_write(self, tx: Transaction, sender: Identity, runs: set[bytes]) -> None:
        """Let everybody."""

    def created(self, tx: Transaction, sender: Identity, on: str) -> None:
        """Need no note: everybody may do everything."""

    def turned_away(self, why: str) -> None:
        """Keep no note: there is nobody to read it."""


async def identified(guard: Guard, request: Request) -> Identity:
    """Say who sends a request, and note it for the line in the log. Raises Unauthenticated."""
    sender = await guard.identify(request.headers)
    request.note_sender(sender.name)
    return sender


def check_seen(guard: Guard, tx: Transaction, sender: Identity, needs: Role, on: str) -> None:
    """Ask for a role on what the sender did not name themselves. Raises Unseen where they may not even view it, else Forbidden."""
    try:
        guard.check(tx, sender, needs, on)
    except Forbidden:
        if guard.may(tx, sender, Role.VIEWER, on):
            raise
        raise Unseen(sender.name) from None


def is_this_machine(host: str) -> bool:
    """Tell whether the header Host names loopback, with or without a port."""
    return re.fullmatch(r"(localhost|\[::1\]|127(\.[0-9]{1,3}){3})(:[0-9]+)?", host) is not None
