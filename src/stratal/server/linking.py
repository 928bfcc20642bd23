"""Linking: on whose behalf a server works, and which blobs they may name meanwhile: to name a digest is not to have it (proofs.py)."""

from collections.abc import Iterator
from contextlib import contextmanager

from stratal.core.people import Identity, acting_as
from stratal.server.blobs import Sight, may_read, sight_of
from stratal.server.guards import Guard
from stratal.store.admitting import linking
from stratal.store.database import Transaction
from stratal.store.files.blobs import Digest
from stratal.store.proofs import is_proved, is_proved_lately, prove
from stratal.store.store import Store


@contextmanager
def working_for(guard: Guard, sender: Identity) -> Iterator[None]:
    """Act as a sender, and link for them only what they may read or have sent. Who is only asserted may do everything anyway."""
    with acting_as(sender), linking(_Readable(guard, sender) if sender.is_authenticated else None):
        yield


def is_theirs(store: Store, guard: Guard, sender: Identity, digest: str) -> bool:
    """Tell whether somebody need not send a blob that is here: they may read it, or have sent it. This is then good for facts to come."""
    if not sender.is_authenticated:
        return True
    with store.database.read(sender) as tx:
        if is_proved_lately(tx, digest, sender.name):
            return True
        if not is_proved(tx, digest, sender.name) and not may_read(tx, guard, sender, Digest(digest)):
            return False
    note_sent(store, sender, digest)
    return True


def note_sent(store: Store, sender: Identity, digest: str) -> None:
    """Note that somebody has sent all bytes of a blob, which were verified."""
    if sender.is_authenticated:
        with store.settler.transaction(sender) as tx:
            prove(tx, digest, sender.name)


class _Readable:
    """Tells what a sender may read; their rights are read once a transaction."""

    def __init__(self, guard: Guard, sender: Identity) -> None:
        self._guard, self._sender = guard, sender
        self._known: tuple[Transaction, Sight] | None = None

    def __call__(self, tx: Transaction, digest: str) -> bool:
        known = self._known
        if known is None or known[0] is not tx:
            self._known = known = (tx, sight_of(tx, self._guard, self._sender))
        return known[1].reaches(tx, Digest(digest))
