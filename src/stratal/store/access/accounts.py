"""Accounts: what an admin does with people, tokens and grants; each verb one transaction, and in the log."""

from collections.abc import Sequence

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Forbidden, Misuse, NotFound
from stratal.core.people import EVERYTHING, Role
from stratal.store.access import noticing, rows
from stratal.store.access.records import Change, GivenGrant, Known, NewToken, Person, Refusal, Token
from stratal.store.access.rules import (
    GROUP,
    KINDS,
    Scope,
    check_holder,
    check_object,
    check_objects,
    check_person,
    check_role,
    check_scope_role,
)
from stratal.store.access.secrets import hash_password
from stratal.store.database import Transaction
from stratal.store.operations import operation
from stratal.store.store import Store

# Days for which a token is good if nobody says otherwise: a quarter, so that none is forgotten for years.
TOKEN_DAYS = 90


class AccessStore:
    """The accounts of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.ADMIN)
    def people(self) -> list[Person]:
        """List people and services, by name."""
        with self._store.glance() as tx:
            return rows.people(tx)

    @operation(needs=Role.ADMIN)
    def add_person(self, *, name: str, kind: str = "person", display: str = "", subject: str = "", is_admin: bool = False) -> Person:
        """Add a person, or a service (kind='service'). subject: 'ISSUER SUBJECT', for who signs in through OIDC.

        Raises Misuse for a name that cannot be one, Conflict for one that is taken, in whatever writing."""
        check_person(name)
        if kind not in KINDS:
            raise Misuse(f"{kind[:40]!r} is no kind of account", hint=f"choose one of: {', '.join(KINDS)}")
        _check_subject(subject)
        if len(display) > 200 or not display.isprintable():
            raise Misuse("a display name has at most 200 printable characters")
        with self._store.command() as tx:
            rows.add_person(tx, name, kind=kind, display=display, subject=subject)
            if is_admin:
                rows.add_grant(tx, name, "admin", EVERYTHING, given_by=tx.actor.name)
            return rows.person_named(tx, name)

    @operation(needs=Role.ADMIN)
    def disable(self, *, name: str) -> Person:
        """Lock somebody out at once, tokens and sessions included. Raises NotFound, Misuse for the last admin."""
        with self._store.command() as tx:
            found = rows.person_named(tx, name)
            self._check_admins_left(tx, found.name)
            if not found.is_disabled:
                rows.set_disabled(tx, found.name, is_disabled=True)
            return rows.person_named(tx, name)

    @operation(needs=Role.ADMIN)
    def enable(self, *, name: str) -> Person:
        """Let somebody in again: their tokens work as before, sessions do not. Raises NotFound."""
        with self._store.command() as tx:
            found = rows.person_named(tx, name)
            if found.is_disabled:
                rows.set_disabled(tx, found.name, is_disabled=False)
            return rows.person_named(tx, name)

    @operation(needs=Role.ADMIN)
    def bind(self, *, name: str, subject: str) -> Person:
        """Let somebody sign in as an OIDC provider's subject, 'ISSUER SUBJECT'; '' for none. Raises NotFound, Conflict, Misuse."""
        _check_subject(subject)
        with self._store.command() as tx:
            found = rows.person_named(tx, name)
            if found.subject != subject:
                rows.bind(tx, found.name, subject)
            return rows.person_named(tx, name)

    @operation(needs=Role.ADMIN)
    def set_password(self, *, name: str, password: str) -> Person:
        """Set a password; sessions of before are void. Raises NotFound, Misuse for services and for a password that is too short."""
        with self._store.glance() as tx:
            found = rows.person_named(tx, name)
        if found.kind == "service":
            raise Misuse(f"{found.name} is a service, and services have tokens", hint=f"stratal token create {found.name}")
        kept = hash_password(password)  # slow on purpose, and so outside of the transaction
        with self._store.command() as tx:
            rows.set_password(tx, found.name, kept)
            return rows.person_named(tx, name)

    @operation(needs=Role.ADMIN)
    def tokens(self, *, person: str | None = None) -> list[Token]:
        """List tokens, of one or of all; never their secrets. Raises NotFound."""
        with self._store.glance() as tx:
            return rows.tokens(tx, None if person is None else rows.person_named(tx, person).name)

    @operation(needs=Role.ADMIN)
    def create_token(
        self, *, person: str, title: str = "", role: str = "admin", objects: Sequence[str] = (), days: float | None = TOKEN_DAYS
    ) -> NewToken:
        """Make a token for somebody; its secret is in the answer, and never again.

        role and objects bound what it may do; what its person may not do, it may not either. days: how long it is good, None for ever.
        Raises NotFound, Misuse."""
        scope = Scope(role=check_scope_role(role), objects=check_objects(objects))
        _check_token(title, days)
        with self._store.command() as tx:
            found = rows.person_named(tx, person)
            return rows.add_token(tx, found.name, title=title, scope=scope, expires_ns=_expiry(tx, days))

    @operation(needs=Role.VIEWER, is_scoped=True, is_own=True)
    def own_tokens(self) -> list[Token]:
        """List the tokens of whoever calls; never their secrets."""
        with self._store.glance() as tx:
            return rows.tokens(tx, rows.person_named(tx, tx.actor.name).name)

    @operation(needs=Role.CONTRIBUTOR, is_own=True)
    def create_own_token(
        self, *, title: str = "", role: str | None = None, objects: Sequence[str] = (), days: float | None = TOKEN_DAYS
    ) -> NewToken:
        """Make a token for whoever calls; its secret is in the answer, and never again.

        role, objects: None and none: those of what one signed in with, and never more than that; nor is it good for longer than a token
        that makes it. Raises Forbidden, Misuse."""
        _check_token(title, days)
        with self._store.command() as tx:
            found, bound, until_ns = rows.person_named(tx, tx.actor.name), Scope(), None
            if isinstance(tx.actor, Known):
                bound, until_ns = tx.actor.scope, rows.token_by_id(tx, tx.actor.token_id).expires_ns if tx.actor.token_id else None
            scope = Scope(
                role=bound.role if role is None else check_scope_role(role), objects=check_objects(objects) if objects else bound.objects
            )
            if not bound.holds(scope):
                bounds = f"{bound.role.name.lower()} on {', '.join(bound.objects)}"
                raise Forbidden(
                    f"this token of {found.name} is bounded to {bounds}, and makes none that may more",
                    hint="bound the new one within that, or sign in with another token",
                )
            ends = [end for end in (_expiry(tx, days), until_ns) if end is not None]
            return rows.add_token(tx, found.name, title=title, scope=scope, expires_ns=min(ends, default=None))

    @operation(needs=Role.CONTRIBUTOR, is_own=True)
    def revoke_own_token(self, *, id: str) -> Token:
        """Make a token of whoever calls worthless at once; idempotent. Raises NotFound, for one of somebody else, too; Forbidden where it
        may more than the token that asks."""
        with self._store.command() as tx:
            found = next((token for token in rows.tokens(tx, rows.person_named(tx, tx.actor.name).name) if token.id == id), None)
            if found is not None and isinstance(tx.actor, Known) and tx.actor.token_id != id and not tx.actor.scope.holds(found.scope):
                raise Forbidden(f"this token of {tx.actor.name} ends none that may more than itself", hint="sign in with another token")
            if found is None:
                raise NotFound(f"you have no token {id!r:.80}", hint="stratal token list --own shows those that you have")
            return rows.revoke_token(tx, id)

    @operation(needs=Role.ADMIN)
    def revoke_token(self, *, id: str) -> Token:
        """Make a token worthless at once; idempotent. Raises NotFound."""
        with self._store.command() as tx:
            return rows.revoke_token(tx, id)

    @operation(needs=Role.ADMIN)
    def grants(self, *, person: str | None = None) -> list[GivenGrant]:
        """List grants, of one or of all."""
        with self._store.glance() as tx:
            return rows.grants(tx, None if person is None else self._holder(tx, person))

    @operation(needs=Role.ADMIN)
    def grant(self, *, person: str, role: str, on: str = EVERYTHING) -> list[GivenGrant]:
        """Give a person, service or group:NAME a role on '*', experiment:NAME or model:NAME; idempotent. Gives all that they hold now.

        Raises NotFound, Misuse."""
        check_role(role, check_object(on))
        with self._store.command() as tx:
            holder = self._holder(tx, person)
            rows.add_grant(tx, holder, role, on, given_by=tx.actor.name)
            return rows.grants(tx, holder)

    @operation(needs=Role.ADMIN)
    def remove_grant(self, *, person: str, role: str, on: str = EVERYTHING) -> list[GivenGrant]:
        """Take a role away, at once. Gives what is left. Raises NotFound if they do not hold it, Misuse for the last admin."""
        with self._store.command() as tx:
            holder = self._holder(tx, person)
            if (role, on) == ("admin", EVERYTHING):
                self._check_admins_left(tx, holder)
            if not rows.take_grant(tx, holder, role, on):
                raise NotFound(f"{holder} does not hold {role} on {on}", hint=f"stratal grant list {holder} shows what they hold")
            return rows.grants(tx, holder)

    @operation(needs=Role.ADMIN)
    def changes(self, *, limit: int = 100) -> list[Change]:
        """List the last changes of people, tokens and grants, the newest first."""
        with self._store.glance() as tx:
            return rows.changes(tx, min(max(limit, 0), 10_000))

    @operation(needs=Role.ADMIN)
    def refusals(self, *, limit: int = 100) -> list[Refusal]:
        """List what was refused lately, counted by the hour, the newest first."""
        with self._store.glance() as tx:
            return noticing.refusals(tx, min(max(limit, 0), 10_000))

    def _holder(self, tx: Transaction, name: str) -> str:
        return check_holder(name) if name.startswith(GROUP) else rows.person_named(tx, name).name

    def _check_admins_left(self, tx: Transaction, name: str) -> None:
        if rows.is_last_admin(tx, name):
            raise Misuse(f"{name} is the last admin", hint="make somebody else admin first: stratal grant add NAME admin")


def _check_token(title: str, days: float | None) -> None:
    if len(title) > 200 or not title.isprintable():
        raise Misuse("a title has at most 200 printable characters")
    if days is not None and not 0 < days <= 3660:
        raise Misuse(f"a token cannot be good for {days:g} days", hint="up to 3660; None, --days 0, is for one that does not expire")


def _expiry(tx: Transaction, days: float | None) -> int | None:
    return None if days is None else tx.now_ns + int(days * 86400) * SECOND_NS


def _check_subject(subject: str) -> None:
    issuer, _, name = subject.partition(" ")
    if subject and (not issuer or not name or len(subject) > 500 or not subject.isprintable()):
        raise Misuse(f"{subject[:80]!r} is no subject of a provider", hint="write 'ISSUER SUBJECT', with a blank between")
