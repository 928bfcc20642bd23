"""Admitting: what a server says, at each transaction, of whoever it works for. Embedded, nobody is asked, and all may be seen.

A server runs an operation inside `admitting`. Each transaction that the operation opens by its store is then asked about, inside
of itself: whether the sender may do this, and, for operations that are scoped, which experiments the sender may see. A command tells
at its end what it has made, so that its maker may be given rights on it. Inside `linking` a transaction also
knows whether the sender may read a blob that is named, and links none that is not proved (proofs.py).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from stratal.core.errors import Forbidden

if TYPE_CHECKING:  # a process that only logs never imports SQLAlchemy
    from stratal.store.database import Transaction


class Unseen(Forbidden):
    """Something that is not there, or may not be viewed: to who may not view it, both are the same, in words, too."""

    def __init__(self, who: str) -> None:
        super().__init__(
            f"what was asked for is not there, or {who} may not view it",
            hint="an admin can give a role on it, viewer to see, contributor to write: "
            f"stratal grant add {who} ROLE experiment:NAME, or model:NAME",
        )


# Raises Forbidden, or gives the names of the experiments whose runs may be seen; None: of all.
Admit = Callable[["Transaction"], frozenset[str] | None]
# Is told of an experiment or a model that a command has made: 'experiment:NAME', 'model:NAME'.
Created = Callable[["Transaction", str], None]
# Tells whether whoever is worked for may read a blob now.
MayRead = Callable[["Transaction", str], bool]

_admit: ContextVar[tuple[Admit, Created] | None] = ContextVar("stratal_admit", default=None)
_may_read: ContextVar[MayRead | None] = ContextVar("stratal_may_read", default=None)


@contextmanager
def admitting(admit: Admit, created: Created = lambda _tx, _on: None) -> Iterator[None]:
    """Ask at each transaction that is opened inside the block, and tell of what commands make."""
    token = _admit.set((admit, created))
    try:
        yield
    finally:
        _admit.reset(token)


@contextmanager
def linking(may_read: MayRead | None) -> Iterator[None]:
    """Let transactions inside the block link only blobs that may be read, or of which all bytes were sent. None: any."""
    token = _may_read.set(may_read)
    try:
        yield
    finally:
        _may_read.reset(token)


def admitted(tx: "Transaction") -> "Transaction":
    """Give a transaction that was asked about, and knows what may be seen. Raises Forbidden."""
    tx.may_read = _may_read.get()
    asked = _admit.get()
    if asked is not None:
        tx.sees, tx.made = asked[0](tx), []
    return tx


def tell_made(tx: "Transaction") -> None:
    """Tell of what a command has made, at its end: rights on it must not count before."""
    asked = _admit.get()
    if asked is not None:
        for on in tx.made or ():
            asked[1](tx, on)
