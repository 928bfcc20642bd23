"""Rules of access, apart from any store: names, roles and objects, the life of a token, what a scope lets through."""

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum

from stratal.core.errors import Misuse
from stratal.core.people import EVERYTHING, Role
from stratal.core.records import Record

# What grants name that is no person: who is in a group is said by an OIDC provider.
GROUP = "group:"
# Names that the system itself acts under.
TAKEN = ("stratal", "unknown", "nobody")
KINDS = ("person", "service")

_NAME = re.compile(r"[^\s:,/\\]{1,100}")
# Characters that count as printable, and that nobody sees (Unicode's default ignorable ones, and Braille's blank): with one, a name looks
# like another one.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
# How like one of the server's roles a free one may not be: `contributer` is a slip, `reviewer` is a role.
_LIKE = 0.9
_FREE_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class TokenState(StrEnum):
    """Only an ACTIVE token lets anybody in."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


# What becomes of a token: the state it is in, what happens, the state after. What is not in here changes nothing.
LIFE = {
    (TokenState.ACTIVE, "expire"): TokenState.EXPIRED,
    (TokenState.ACTIVE, "revoke"): TokenState.REVOKED,
    (TokenState.EXPIRED, "revoke"): TokenState.REVOKED,
}


class Scope(Record, frozen=True, kw_only=True):
    """An upper bound: at most this role, and only on these objects. What its person may not do, it never lets through."""

    role: Role = Role.ADMIN
    objects: tuple[str, ...] = (EVERYTHING,)

    def lets(self, needs: Role, on: str) -> bool:
        """Tell whether the bound holds for a role on an object; EVERYTHING is only within EVERYTHING."""
        return needs <= self.role and (EVERYTHING in self.objects or on in self.objects)

    def holds(self, other: "Scope") -> bool:
        """Tell whether whatever the other bound lets through, this one does."""
        return all(self.lets(other.role, on) for on in other.objects)


def state_of(*, expires_ns: int | None, revoked_ns: int | None, now_ns: int) -> TokenState:
    """Give the state of a token now, after all that has happened to it."""
    state = TokenState.ACTIVE
    if expires_ns is not None and now_ns >= expires_ns:
        state = LIFE.get((state, "expire"), state)
    if revoked_ns is not None:
        state = LIFE.get((state, "revoke"), state)
    return state


def folded(name: str) -> str:
    """Give what names of one person have in common."""
    return unicodedata.normalize("NFKC", name).casefold()


def check_person(name: str) -> str:
    """Give a name that somebody may have. Raises Misuse."""
    if not _NAME.fullmatch(name) or not name.isprintable() or _UNSEEN.search(name) or folded(name) in TAKEN:
        raise Misuse(
            f"{name[:60]!r} cannot be the name of a person or service",
            hint=f"1 to 100 characters without blanks, ':', ',' and slashes, and none of {', '.join(TAKEN)}; an e-mail address will do",
        )
    return name


def check_holder(name: str) -> str:
    """Give what a grant may name: a person, or group:NAME. Raises Misuse."""
    check_person(name.removeprefix(GROUP))
    return name


def check_role(role: str, on: str) -> str:
    """Give a role that may be granted there: one of the server's, or on models a free approval role. Raises Misuse."""
    if not _FREE_ROLE.fullmatch(role):
        raise Misuse(
            f"{role[:60]!r} cannot be a role",
            hint="viewer, contributor, approver, admin, or a name of your own for approvals, as legal",
        )
    if role_named(role) is None and (meant := get_close_matches(role.lower(), [each.name.lower() for each in Role], cutoff=_LIKE)):
        raise Misuse(f"{role!r} would be taken for {meant[0]}", hint=f"say {meant[0]}, or name the role for approvals otherwise")
    if role_named(role) is None and on.startswith("experiment:"):
        raise Misuse(f"{role!r} is a role for approvals, and experiments have none", hint="grant it on model:NAME, or on '*'")
    return role


def role_named(name: str) -> Role | None:
    """Give the server's role of that name, None for a free one."""
    return Role.__members__.get(name.upper()) if name.islower() else None


def check_scope_role(name: str) -> Role:
    """Give a role as a bound. Raises Misuse."""
    role = role_named(name)
    if role is None:
        raise Misuse(f"{name[:60]!r} is no role that a token can be bounded by", hint="viewer, contributor, approver or admin")
    return role


def check_object(on: str) -> str:
    """Give what roles are held on: '*', 'experiment:NAME' or 'model:NAME'. Raises Misuse."""
    kind, _, name = on.partition(":")
    if on != EVERYTHING and (kind not in ("experiment", "model") or not 0 < len(name) <= 500 or not name.isprintable()):
        raise Misuse(f"{on[:80]!r} is nothing that a role can be held on", hint="'*', experiment:NAME or model:NAME")
    return on


def check_objects(objects: Iterable[str]) -> tuple[str, ...]:
    """Give the objects of a scope, each once; none is all. Raises Misuse."""
    return tuple(sorted({check_object(on) for on in objects})) or (EVERYTHING,)
