"""What is told of access: people, tokens, grants, changes, refusals. No secret is in any of them but `NewToken`."""

from stratal.core.people import Identity
from stratal.core.records import Record
from stratal.store.access.rules import Scope, TokenState


class Known(Identity, frozen=True, kw_only=True):
    """Somebody whom a server has checked, and within which bounds. token_id: of the token that showed who it is, '' for another way."""

    is_authenticated: bool = True
    scope: Scope = Scope()
    token_id: str = ""


class Person(Record, frozen=True, kw_only=True):
    """Somebody who may sign in. kind: person or service. subject: 'ISSUER SUBJECT' of an OIDC provider, '' for none. is_admin: of
    everything."""

    name: str
    kind: str
    display: str
    subject: str
    is_disabled: bool
    has_password: bool
    created_by: str
    created_ns: int
    is_admin: bool = False


class Token(Record, frozen=True, kw_only=True):
    """A token, without its secret. id: what it is revoked by. expires_ns: None for never. used_ns: to the minute, None for never."""

    id: str
    person: str
    title: str
    scope: Scope
    created_by: str
    created_ns: int
    expires_ns: int | None
    used_ns: int | None
    revoked_ns: int | None
    state: TokenState


class NewToken(Record, frozen=True, kw_only=True):
    """A token that was just made, with its secret: shown this once, and kept nowhere."""

    secret: str
    token: Token


class GivenGrant(Record, frozen=True, kw_only=True):
    """A grant, and who gave it: a person, or group:NAME for what came with a group at the last sign-in."""

    person: str
    role: str
    on: str
    given_by: str
    at_ns: int


class Change(Record, frozen=True, kw_only=True):
    """What somebody changed. body: JSON text, by action."""

    id: int
    at_ns: int
    actor: str
    is_authenticated: bool
    action: str
    subject: str
    body: str


class Refusal(Record, frozen=True, kw_only=True):
    """What somebody was refused within an hour, and how often. person: as it was said, where nobody was known."""

    hour_ns: int
    person: str
    action: str
    object: str
    count: int
    last_ns: int
