"""Callers: the process that a command is run for, where that is not this one. A server sets it per request."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from stratal.core.errors import Misuse
from stratal.core.records import Record

_HOLDER = re.compile(r"([\x21-\x39\x3b-\x7e]{1,255}):([0-9]{1,10}):([0-9a-f]{16})")

_caller: ContextVar["Caller | None"] = ContextVar("stratal_caller", default=None)


class Caller(Record, frozen=True, kw_only=True):
    """A process elsewhere. holder: how it signs leases; writer: the id of its journal."""

    holder: str
    writer: str


def read_caller(text: str) -> Caller | None:
    """Read what a process says of itself, MACHINE:PID:WRITER; '' for one that says nothing. Raises Misuse."""
    if not text:
        return None
    found = _HOLDER.fullmatch(text)
    if found is None:
        raise Misuse(f"{text[:60]!r} is no holder of leases", hint="a holder is MACHINE:PID:WRITER")
    return Caller(holder=text, writer=found[3])


@contextmanager
def called_by(caller: Caller | None) -> Iterator[None]:
    """Run a block for a process elsewhere; None: for this one."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def current_caller() -> Caller | None:
    """Give the process that this is run for, None for this one."""
    return _caller.get()
