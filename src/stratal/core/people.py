"""People: who acts, and what they may do.

An identity is *asserted* (somebody said so: embedded use, STRATAL_USER) or *authenticated* (a server checked).
Grants are rows of the store. Roles of the server are ordered; approval roles are free names given per model.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum

from stratal.core.records import Record

EVERYTHING = "*"


class Role(IntEnum):
    """Roles of the server, each holding all that the lower ones hold."""

    VIEWER = 1
    CONTRIBUTOR = 2
    APPROVER = 3
    ADMIN = 4


class Identity(Record, frozen=True, kw_only=True):
    """A person or service. `is_authenticated` is False for names that were only asserted."""

    name: str
    is_authenticated: bool = False


class Grant(Record, frozen=True, kw_only=True):
    """`person` holds `role` (a Role's name in lower case, or a free approval role) on `on` ('*', 'experiment:x', 'model:x')."""

    person: str
    role: str
    on: str = EVERYTHING


_actor: ContextVar[Identity | None] = ContextVar("stratal_actor", default=None)


@contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """Run a block as somebody: the server sets it per request, tests per person."""
    token = _actor.set(identity)
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor(default: str) -> Identity:
    """Give who acts now; outside of `acting_as` the asserted `default`."""
    return _actor.get() or Identity(name=default)


def holds(grants: Iterable[Grant], person: str, role: str, on: str) -> bool:
    """Tell whether the grants give the role on that object. A higher server role holds the lower ones."""
    needed = Role[role.upper()] if role.upper() in Role.__members__ else None
    for grant in grants:
        if grant.person != person or grant.on not in (EVERYTHING, on):
            continue
        held = Role[grant.role.upper()] if grant.role.upper() in Role.__members__ else None
        if grant.role == role or (needed is not None and held is not None and held >= needed):
            return True
    return False
