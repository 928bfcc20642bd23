"""Rows of people, tokens and grants, read and written inside somebody's transaction."""

import secrets
from collections.abc import Collection

from sqlalchemy import and_, bindparam, delete, exists, func, or_, select, update

from stratal.core.errors import Conflict, NotFound
from stratal.core.people import EVERYTHING, Grant, Role
from stratal.core.records import Record, from_json, to_json
from stratal.store.access.records import Change, GivenGrant, NewToken, Person, Token
from stratal.store.access.rules import GROUP, Scope, folded, role_named, state_of
from stratal.store.access.secrets import TOKEN, digest, new_secret
from stratal.store.access.tables import change, person, token
from stratal.store.database import Row, Transaction, insert
from stratal.store.tables import grant

_PERSON = select(
    person.c.name, person.c.kind, person.c.display, person.c.subject, person.c.is_disabled, person.c.password.is_not(None),
    person.c.created_by, person.c.created_ns,
    exists().where(grant.c.person == person.c.name, grant.c.role == "admin", grant.c.object == EVERYTHING),
)  # fmt: skip
_PEOPLE = _PERSON.order_by(person.c.name)
_BY_NAME = _PERSON.where(person.c.folded == bindparam("folded_name"))
_BY_SUBJECT = _PERSON.where(person.c.subject == bindparam("said"))
_DISABLED = select(person.c.name).where(person.c.is_disabled != 0)
_ADD_PERSON = insert(person).on_conflict_do_nothing()
_ONE = update(person).where(person.c.name == bindparam("who"))
_DISABLE = _ONE.values(is_disabled=bindparam("now_disabled"), valid_from_ns=bindparam("at"))
_BIND = _ONE.values(subject=bindparam("said"))
_SET_PASSWORD = _ONE.values(password=bindparam("kept"), valid_from_ns=bindparam("at"))
_SIGN_IN = select(person.c.name, person.c.password, person.c.is_disabled, person.c.valid_from_ns).where(
    person.c.folded == bindparam("folded_name")
)

_TOKEN = select(
    token.c.id, token.c.person, token.c.title, token.c.role, token.c.objects, token.c.created_by, token.c.created_ns,
    token.c.expires_ns, token.c.used_ns, token.c.revoked_ns,
)  # fmt: skip
_TOKENS = _TOKEN.order_by(token.c.created_ns, token.c.id)
_TOKENS_OF = _TOKENS.where(token.c.person == bindparam("who"))
_TOKEN_BY_ID = _TOKEN.where(token.c.id == bindparam("token_id"))
_TOKEN_BY_DIGEST = _TOKEN.where(token.c.digest == bindparam("of"))
_ADD_TOKEN = insert(token)
_REVOKE = update(token).where(token.c.id == bindparam("token_id"), token.c.revoked_ns.is_(None)).values(revoked_ns=bindparam("at"))

_GRANT = select(grant.c.person, grant.c.role, grant.c.object, grant.c.given_by, grant.c.at_ns)
_GRANTS = _GRANT.order_by(grant.c.person, grant.c.object, grant.c.role)
_GRANTS_OF = select(grant.c.role, grant.c.object).where(grant.c.person == bindparam("who"))
_GIVEN_TO = _GRANTS.where(grant.c.person == bindparam("who"))
_GRANTED = select(func.count()).select_from(grant).where(grant.c.object == bindparam("of_object"))
_ADD_GRANT = insert(grant).on_conflict_do_nothing()
_TAKE_GRANT = delete(grant).where(
    or_(grant.c.person == bindparam("who"), grant.c.given_by == bindparam("source")),
    grant.c.role == bindparam("of_role"),
    grant.c.object == bindparam("of_object"),
)
_TAKE_FROM_GROUPS = delete(grant).where(grant.c.person == bindparam("who"), grant.c.given_by.like(f"{GROUP}%"))
_OTHER_ADMINS = (
    select(func.count())
    .select_from(grant)
    .join(person, and_(person.c.name == grant.c.person, person.c.is_disabled == 0))
    .where(grant.c.role == "admin", grant.c.object == EVERYTHING, grant.c.person != bindparam("but"))
)

_CHANGE = insert(change)
_CHANGES = select(*change.columns).order_by(change.c.id.desc()).limit(bindparam("most"))


class SignIn(Record, frozen=True, kw_only=True):
    """What deciding about a sign-in needs. password: as it is kept, None for none. valid_from_ns: older sign-ins are void."""

    name: str
    password: str | None
    is_disabled: bool
    valid_from_ns: int


def people(tx: Transaction) -> list[Person]:
    """List everybody, by name."""
    return [_person(row) for row in tx.rows(_PEOPLE)]


def find_person(tx: Transaction, name: str) -> Person | None:
    """Give who has that name, however it is written."""
    found = tx.row(_BY_NAME, folded_name=folded(name))
    return _person(found) if found else None


def person_named(tx: Transaction, name: str) -> Person:
    """Give who has that name. Raises NotFound."""
    found = find_person(tx, name)
    if found is None:
        raise NotFound(f"there is no person or service {name!r:.100}", hint="stratal user list shows all; stratal user add adds one")
    return found


def person_of_subject(tx: Transaction, subject: str) -> Person | None:
    """Give who an OIDC provider's subject is here."""
    found = tx.row(_BY_SUBJECT, said=subject)
    return _person(found) if found else None


def add_person(tx: Transaction, name: str, *, kind: str, display: str, subject: str) -> Person:
    """Make the row of somebody. Raises Conflict if the name, in any writing, or the subject is taken."""
    added = tx.run(
        _ADD_PERSON, name=name, folded=folded(name), kind=kind, display=display, subject=subject or None, password=None, is_disabled=0,
        valid_from_ns=tx.now_ns, created_by=tx.actor.name, created_ns=tx.now_ns,
    )  # fmt: skip
    if added != 1:
        taken = find_person(tx, name)
        what = f"there is {taken.name} already" if taken else "somebody else has this subject already"
        gives = f"; stratal grant add {taken.name} admin makes them admin of everything" if taken else ""
        raise Conflict(f"{name} cannot be added: {what}", hint=f"stratal user list shows all{gives}")
    note_change(tx, "add", name, {"kind": kind, "display": display, "subject": subject})
    return person_named(tx, name)


def set_disabled(tx: Transaction, name: str, *, is_disabled: bool) -> None:
    """Lock somebody out at once, or let them in again; either way they sign in anew."""
    tx.run(_DISABLE, who=name, now_disabled=int(is_disabled), at=tx.now_ns)
    note_change(tx, "disable" if is_disabled else "enable", name, {})


def disabled(tx: Transaction) -> tuple[str, ...]:
    """List who is locked out."""
    return tuple(str(name) for (name,) in tx.rows(_DISABLED))


def bind(tx: Transaction, name: str, subject: str) -> None:
    """Let somebody sign in as an OIDC provider's subject, '' for none. Raises Conflict if it is somebody else's."""
    taken = person_of_subject(tx, subject) if subject else None
    if taken is not None and taken.name != name:
        raise Conflict(f"this subject is {taken.name}'s already", hint=f"take it from them first: stratal user bind {taken.name} ''")
    tx.run(_BIND, who=name, said=subject or None)
    note_change(tx, "bind", name, {"subject": subject})


def set_password(tx: Transaction, name: str, kept: str | None) -> None:
    """Put a password in place of the one that is there; who signed in before signs in anew."""
    tx.run(_SET_PASSWORD, who=name, kept=kept, at=tx.now_ns)
    note_change(tx, "password", name, {"is_set": kept is not None})


def find_sign_in(tx: Transaction, name: str) -> SignIn | None:
    """Give what a sign-in by that name is decided by."""
    found = tx.row(_SIGN_IN, folded_name=folded(name))
    if found is None:
        return None
    return SignIn(name=found[0], password=found[1], is_disabled=bool(found[2]), valid_from_ns=found[3])


def tokens(tx: Transaction, person_name: str | None) -> list[Token]:
    """List tokens, of one or of all, the oldest first."""
    rows = tx.rows(_TOKENS) if person_name is None else tx.rows(_TOKENS_OF, who=person_name)
    return [_token(row, tx.now_ns) for row in rows]


def find_token(tx: Transaction, secret_digest: bytes) -> Token | None:
    """Give the token that a secret is of."""
    found = tx.row(_TOKEN_BY_DIGEST, of=secret_digest)
    return _token(found, tx.now_ns) if found else None


def token_by_id(tx: Transaction, id: str) -> Token:
    """Give a token. Raises NotFound."""
    found = tx.row(_TOKEN_BY_ID, token_id=id)
    if found is None:
        raise NotFound(f"there is no token {id!r:.80}", hint="stratal token list shows all")
    return _token(found, tx.now_ns)


def add_token(tx: Transaction, person_name: str, *, title: str, scope: Scope, expires_ns: int | None) -> NewToken:
    """Make a token. Its secret is in the answer and nowhere else."""
    secret, id = new_secret(TOKEN), secrets.token_hex(6)
    tx.run(
        _ADD_TOKEN, id=id, digest=digest(secret), person=person_name, title=title, role=scope.role.name.lower(),
        objects=to_json(scope.objects), created_by=tx.actor.name, created_ns=tx.now_ns, expires_ns=expires_ns, used_ns=None,
        revoked_ns=None,
    )  # fmt: skip
    made = token_by_id(tx, id)
    note_change(tx, "token", person_name, {"token": id, "title": title, "role": scope.role.name.lower(), "objects": scope.objects})
    return NewToken(secret=secret, token=made)


def revoke_token(tx: Transaction, id: str) -> Token:
    """Make a token worthless, once and for all. One that is revoked stays so. Raises NotFound."""
    owner = token_by_id(tx, id).person
    if tx.run(_REVOKE, token_id=id, at=tx.now_ns):
        note_change(tx, "revoke", owner, {"token": id})
    return token_by_id(tx, id)


def grants(tx: Transaction, person_name: str | None) -> list[GivenGrant]:
    """List grants, of one or of all."""
    rows = tx.rows(_GRANTS) if person_name is None else tx.rows(_GIVEN_TO, who=person_name)
    return [GivenGrant(person=who, role=role, on=on, given_by=by, at_ns=at_ns) for who, role, on, by, at_ns in rows]


def grants_of(tx: Transaction, person_name: str) -> tuple[Grant, ...]:
    """Give what somebody holds."""
    return tuple(Grant(person=person_name, role=role, on=on) for role, on in tx.rows(_GRANTS_OF, who=person_name))


def is_granted(tx: Transaction, on: str) -> bool:
    """Tell whether anybody holds anything on just that object."""
    return bool(tx.value(_GRANTED, of_object=on))


def add_grant(tx: Transaction, person_name: str, role: str, on: str, *, given_by: str) -> bool:
    """Give somebody a role; False if they hold just that already."""
    if not tx.run(_ADD_GRANT, person=person_name, role=role, object=on, given_by=given_by, at_ns=tx.now_ns):
        return False
    note_change(tx, "grant", person_name, {"role": role, "on": on, "given_by": given_by})
    return True


def take_grant(tx: Transaction, person_name: str, role: str, on: str) -> bool:
    """Take a role away, and of a group from all who have it through the group; False if nobody had it."""
    source = person_name if person_name.startswith(GROUP) else ""
    if not tx.run(_TAKE_GRANT, who=person_name, source=source, of_role=role, of_object=on):
        return False
    note_change(tx, "ungrant", person_name, {"role": role, "on": on})
    return True


def join_groups(tx: Transaction, person_name: str, groups: Collection[str]) -> None:
    """Let somebody hold what their groups hold, and no longer what came with groups that they have left."""
    before = {(each.role, each.on, each.given_by) for each in grants(tx, person_name) if each.given_by.startswith(GROUP)}
    wanted = {(each.role, each.on, GROUP + name) for name in groups for each in grants(tx, GROUP + name)}
    if wanted == before:
        return
    tx.run(_TAKE_FROM_GROUPS, who=person_name)
    for role, on, by in sorted(before - wanted):
        note_change(tx, "ungrant", person_name, {"role": role, "on": on, "given_by": by})
    for role, on, by in sorted(wanted):
        added = tx.run(_ADD_GRANT, person=person_name, role=role, object=on, given_by=by, at_ns=tx.now_ns)
        if added and (role, on, by) not in before:
            note_change(tx, "grant", person_name, {"role": role, "on": on, "given_by": by})


def is_last_admin(tx: Transaction, person_name: str) -> bool:
    """Tell whether nobody else who may sign in is admin of everything."""
    is_admin = any((each.role, each.on) == ("admin", EVERYTHING) for each in grants_of(tx, person_name))
    return is_admin and not tx.value(_OTHER_ADMINS, but=person_name)


def note_change(tx: Transaction, action: str, subject: str, body: dict[str, object]) -> None:
    """Write into the log, in the transaction that makes the change."""
    tx.run(
        _CHANGE, at_ns=tx.now_ns, actor=tx.actor.name, is_authenticated=int(tx.actor.is_authenticated), action=action, subject=subject,
        body=to_json(body),
    )  # fmt: skip


def changes(tx: Transaction, most: int) -> list[Change]:
    """List the last changes, the newest first."""
    return [
        Change(id=id, at_ns=at_ns, actor=actor, is_authenticated=bool(known), action=action, subject=subject, body=body)
        for id, at_ns, actor, known, action, subject, body in tx.rows(_CHANGES, most=most)
    ]


def _person(row: Row) -> Person:
    name, kind, display, subject, is_disabled, has_password, by, at_ns, is_admin = row
    return Person(
        name=name, kind=kind, display=display, subject=subject or "", is_disabled=bool(is_disabled), has_password=bool(has_password),
        created_by=by, created_ns=at_ns, is_admin=bool(is_admin),
    )  # fmt: skip


def _token(row: Row, now_ns: int) -> Token:
    id, who, title, role, objects, by, at_ns, expires_ns, used_ns, revoked_ns = row
    bound = Scope(role=role_named(role) or Role.VIEWER, objects=from_json(objects, tuple[str, ...]))
    state = state_of(expires_ns=expires_ns, revoked_ns=revoked_ns, now_ns=now_ns)
    return Token(
        id=id, person=who, title=title, scope=bound, created_by=by, created_ns=at_ns, expires_ns=expires_ns, used_ns=used_ns,
        revoked_ns=revoked_ns, state=state,
    )  # fmt: skip
