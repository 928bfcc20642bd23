"""Admitting: what a server says, at each transaction, of whoever it works for. Embedded, nobody is asked, and all may be seen.

A server runs an operation inside `admitting`. Each transaction that the operation opens by its store is then asked about, inside
of itself: whether the sender may do this, and, for operations that are scoped, which experiments the sender may see.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a process that only logs never imports SQLAlchemy
    from stratal.store.database import Transaction

# Raises Forbidden, or gives the names of the experiments whose runs may be seen; None: of all.
Admit = Callable[["Transaction"], frozenset[str] | None]

_admit: ContextVar[Admit | None] = ContextVar("stratal_admit", default=None)


@contextmanager
def admitting(admit: Admit) -> Iterator[None]:
    """Ask at each transaction that is opened inside the block."""
    token = _admit.set(admit)
    try:
        yield
    finally:
        _admit.reset(token)


def admitted(tx: "Transaction") -> "Transaction":
    """Give a transaction that was asked about, and knows what may be seen. Raises Forbidden."""
    admit = _admit.get()
    if admit is not None:
        tx.sees = admit(tx)
    return tx
