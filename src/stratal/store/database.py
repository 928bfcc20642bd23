"""The database: what a store asks of one, whichever it is; `sqlite.py` and `postgres.py` are the two.

Laws (tested on both): 1 a `write` block is one transaction: all of it, or nothing. 2 a `read` block is one snapshot. 3 the
writers of all processes come one after another, in the order in which they asked: numbers and events are never seen out of
their order, and none of them starves. 4 after a fork the child has connections and locks of its own.
"""

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager

from stratal.core.clock import Clock, SystemClock
from stratal.core.people import Identity
from stratal.store.statements import Row, Transaction, insert, on_compile

__all__ = ["Database", "Row", "Transaction", "insert", "on_compile"]


class Database(ABC):
    """One database, and this process's connections to it."""

    def __init__(self, *, name: str, clock: Clock | None = None) -> None:
        """name: what people are told it is, without secrets."""
        self.name = name
        self.clock = clock or SystemClock()
        # Called at named points of the write protocol; fault tests kill or raise there.
        self.fault: Callable[[str], None] = _no_fault
        # Called when a write was rolled back, before anybody else may write.
        self.on_rollback: list[Callable[[], None]] = []
        # How often this process was told that there are new events.
        self.heard = 0
        self._one_writer = threading.RLock()
        self._fresh()
        _living.add(self)

    @abstractmethod
    def write(self, actor: Identity) -> AbstractContextManager[Transaction]:
        """Open the one write transaction of the store. Raises StoreDown if the database cannot be written."""

    @abstractmethod
    def read(self, actor: Identity) -> AbstractContextManager[Transaction]:
        """Open a read snapshot; it begins with the first statement. Snapshots of threads are apart from each other."""

    @abstractmethod
    def look(self, actor: Identity) -> AbstractContextManager[Transaction]:
        """Open reads that are apart from each other: each sees what is committed when it runs. Cheaper than a snapshot for one or two."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Keep the writers of all processes out, for work that is no transaction of this class: backups, migrations."""

    @abstractmethod
    def checkpoint(self) -> bool:
        """See to it that all that was committed outlives a power cut; True if it does."""

    @abstractmethod
    def version(self) -> int:
        """Give the schema's version, 0 for a new database."""

    @abstractmethod
    def wait_for_events(self, most_s: float, *, heard: int) -> None:
        """Return when events may have been committed since `heard` was read, at the latest after `most_s`."""

    @abstractmethod
    def close(self) -> None:
        """Close this process's connections."""

    def forget(self) -> None:
        """Tell those who remember something of a transaction that it was rolled back."""
        for tell in self.on_rollback:
            tell()

    @abstractmethod
    def _fresh(self) -> None:
        """Begin without any connection."""

    @abstractmethod
    def _orphan(self) -> None:
        """Let go of connections that are a parent's, in its child, without a word to their other end."""

    def _after_fork(self) -> None:
        self._orphan()
        self._one_writer = threading.RLock()
        self._fresh()


_living: "weakref.WeakSet[Database]" = weakref.WeakSet()
_forking: list["Database"] = []


def _before_fork() -> None:
    """Wait for writes of other threads: a child would inherit half a transaction, and a lock that nobody gives back."""
    for database in sorted(_living, key=id):
        database._one_writer.acquire()
        _forking.append(database)


def _after_fork_in_parent() -> None:
    while _forking:
        _forking.pop()._one_writer.release()


def _after_fork_in_child() -> None:
    while _forking:
        _forking.pop()._after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _no_fault(point: str) -> None:
    """Do nothing at this point of the protocol."""
