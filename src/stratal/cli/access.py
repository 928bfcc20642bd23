"""`stratal user | token | grant`: who may come in to a server of this store, with what, and what they may do there."""

import getpass
import sys
from typing import Annotated

import typer

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, moment, print_json, print_out, table
from stratal.core.errors import Misuse
from stratal.core.people import EVERYTHING
from stratal.store.access.accounts import TOKEN_DAYS, AccessStore
from stratal.store.access.records import GivenGrant, Person
from stratal.tracking.opening import current_store

Name = Annotated[str, typer.Argument(help="Name of a person or service.", metavar="NAME")]
Whose = Annotated[str | None, typer.Argument(help="Name of a person or service.", metavar="NAME")]
Own = Annotated[bool, typer.Option("--own", help="For yourself, at a server that knows you: within what you signed in with.")]
Holder = Annotated[str, typer.Argument(help="A person, a service, or group:NAME.", metavar="NAME")]
RoleName = Annotated[
    str, typer.Argument(help="viewer, contributor, approver, admin; or a role of your own for approvals, as legal.", metavar="ROLE")
]
On = Annotated[str, typer.Argument(help="'*' for everything, experiment:NAME or model:NAME.", metavar="OBJECT")]

_STATE_COLOURS = {"active": "green", "expired": "yellow", "revoked": "red"}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    user = typer.Typer(help="People and services that may sign in to a server of this store.", no_args_is_help=True)
    user.command("add")(_add)
    user.command("list")(_list)
    user.command("disable")(_disable)
    user.command("enable")(_enable)
    user.command("password")(_password)
    user.command("bind")(_bind)
    user.command("log")(_log)
    token = typer.Typer(help="Tokens, by which programs sign in: make, list, revoke.", no_args_is_help=True)
    token.command("create")(_create)
    token.command("list")(_tokens)
    token.command("revoke")(_revoke)
    grant = typer.Typer(help="Who holds which role on what: add, list, remove.", no_args_is_help=True)
    grant.command("add")(_grant)
    grant.command("list")(_grants)
    grant.command("remove")(_remove)
    for name, group in (("user", user), ("token", token), ("grant", grant)):
        app.add_typer(group, name=name)


def _add(
    name: Name,
    admin: Annotated[bool, typer.Option("--admin", help="Admin of everything: the first one makes the others.")] = False,
    service: Annotated[bool, typer.Option("--service", help="A service account: it has tokens and no password.")] = False,
    display: Annotated[str, typer.Option("--display", help="How pages call them.")] = "",
    subject: Annotated[str, typer.Option("--subject", help="'ISSUER SUBJECT', for who signs in through OIDC.")] = "",
    store: StoreUrl = None,
    json: Json = False,
) -> None:
    """Add a person or a service. They may do nothing until somebody grants them a role."""
    added = _accounts(store).add_person(
        name=name, kind="service" if service else "person", display=display, subject=subject, is_admin=admin
    )
    if json:
        return print_json(added)
    may = "admin of everything" if admin else f"may do nothing yet: stratal grant add {name} viewer"
    how = f"stratal token create {name}" if service else f"stratal user password {name}, or stratal token create {name}"
    return print_out(cell(f"{name} is added, {may}\nto sign in: {how}"))


def _list(store: StoreUrl = None, json: Json = False) -> None:
    """List people and services, and who of them is admin of everything; stratal grant list shows all roles."""
    found = _accounts(store).people()
    if json:
        return print_json(found)
    if not found:
        return print_out("Nobody yet. The first admin: stratal user add NAME --admin")
    shown = table("name", "kind", "admin", "called", "state", "password", "oidc", "by", "since (UTC)")
    for each in found:
        state = cell("disabled", "red") if each.is_disabled else cell("enabled", "green")
        shown.add_row(
            cell(each.name, "bold"), cell(each.kind), cell("yes" if each.is_admin else None), cell(each.display or None), state,
            cell("yes" if each.has_password else None), cell(each.subject or None), cell(each.created_by), cell(moment(each.created_ns)),
        )  # fmt: skip
    return print_out(shown)


def _disable(name: Name, store: StoreUrl = None, json: Json = False) -> None:
    """Lock somebody out at once, tokens and sessions included."""
    _say(_accounts(store).disable(name=name), "is locked out", json)


def _enable(name: Name, store: StoreUrl = None, json: Json = False) -> None:
    """Let somebody in again; their tokens work as before."""
    _say(_accounts(store).enable(name=name), "may sign in again", json)


def _bind(
    name: Name,
    subject: Annotated[str, typer.Argument(help="'ISSUER SUBJECT', as the provider says them; '' for none.", metavar="SUBJECT")],
    store: StoreUrl = None,
    json: Json = False,
) -> None:
    """Let somebody sign in as an OIDC provider's subject."""
    bound = _accounts(store).bind(name=name, subject=subject)
    _say(bound, f"signs in as {bound.subject}" if bound.subject else "signs in by no provider", json)


def _password(name: Name, store: StoreUrl = None, json: Json = False) -> None:
    """Set a password; it is asked for, or read from standard input, and never an argument. Sessions of before are void."""
    accounts = _accounts(store)
    if sys.stdin.isatty():
        said = getpass.getpass(f"Password for {name}: ")
        if getpass.getpass("Once more: ") != said:
            raise Misuse("the two are not the same", hint="nothing was changed; try again")
    else:
        said = sys.stdin.readline().rstrip("\r\n")
    _say(accounts.set_password(name=name, password=said), "has a new password", json)


def _log(
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many of each.")] = 50, store: StoreUrl = None, json: Json = False
) -> None:
    """Show who changed what about people, tokens and grants, and what was refused lately."""
    accounts = _accounts(store)
    changes, refusals = accounts.changes(limit=limit), accounts.refusals(limit=limit)
    if json:
        return print_json({"changes": changes, "refusals": refusals})
    shown = table("at (UTC)", "who", "did", "to", "what")
    for each in changes:
        who = each.actor if each.is_authenticated else f"{each.actor} (asserted)"
        shown.add_row(
            cell(moment(each.at_ns)), cell(who), cell(each.action), cell(each.subject), cell(each.body if each.body != "{}" else "")
        )
    print_out(shown if changes else "Nothing was changed yet.")
    if refusals:
        refused = table("last (UTC)", "who", "refused", "on", "times", title="Refused", numbers=("times",))
        for one in refusals:
            refused.add_row(
                cell(moment(one.last_ns)), cell(one.person or None), cell(one.action), cell(one.object or None), cell(one.count)
            )
        print_out("", refused)
    return None


def _create(
    name: Whose = None,
    own: Own = False,
    title: Annotated[str, typer.Option("--title", help="What it is for.")] = "",
    role: Annotated[
        str | None, typer.Option("--role", help="At most this role, whatever its person may do; default: admin, or that of the own token.")
    ] = None,
    on: Annotated[list[str] | None, typer.Option("--on", help="Only on this experiment:NAME or model:NAME; may be given again.")] = None,
    days: Annotated[float, typer.Option("--days", help="How long it is good; 0 for ever.")] = TOKEN_DAYS,
    store: StoreUrl = None,
    json: Json = False,
) -> None:
    """Make a token, and print its secret this once."""
    accounts = _accounts(store)
    if own:
        made = accounts.create_own_token(title=title, role=role, objects=on or (), days=days or None)
    else:
        made = accounts.create_token(person=_named(name), title=title, role=role or "admin", objects=on or (), days=days or None)
    if json:
        return print_json(made)
    print(made.secret)  # alone on its line, so that `STRATAL_TOKEN=$(stratal token create ...)` works
    until = "for ever" if made.token.expires_ns is None else f"until {moment(made.token.expires_ns)} UTC"
    print(
        f"token {made.token.id} of {made.token.person}, good {until}; the secret is not shown again. Programs take it from STRATAL_TOKEN.",
        file=sys.stderr,
    )
    return None


def _tokens(
    name: Annotated[str | None, typer.Argument(help="Only those of this person or service.", metavar="NAME")] = None,
    own: Own = False,
    store: StoreUrl = None,
    json: Json = False,
) -> None:
    """List tokens; their secrets are kept nowhere."""
    found = _accounts(store).own_tokens() if own else _accounts(store).tokens(person=name)
    if json:
        return print_json(found)
    if not found:
        return print_out(f"No token. stratal token create {name or 'NAME'} makes one.")
    shown = table("id", "of", "title", "state", "at most", "on", "used (UTC)", "expires (UTC)")
    for each in found:
        shown.add_row(
            cell(each.id, "bold"), cell(each.person), cell(each.title or None), cell(str(each.state), _STATE_COLOURS[each.state]),
            cell(each.scope.role.name.lower()), cell(", ".join(each.scope.objects)), cell(moment(each.used_ns)),
            cell(moment(each.expires_ns)),
        )  # fmt: skip
    return print_out(shown)


def _revoke(
    id: Annotated[str, typer.Argument(help="Its id, as stratal token list shows it.", metavar="ID")],
    own: Own = False,
    store: StoreUrl = None,
    json: Json = False,
) -> None:
    """Make a token worthless, at once and for ever."""
    gone = _accounts(store).revoke_own_token(id=id) if own else _accounts(store).revoke_token(id=id)
    return print_json(gone) if json else print_out(cell(f"token {gone.id} of {gone.person} is revoked"))


def _grant(name: Holder, role: RoleName, on: On = EVERYTHING, store: StoreUrl = None, json: Json = False) -> None:
    """Give a role. Each of viewer, contributor, approver, admin holds what the ones before it hold."""
    _print_grants(_accounts(store).grant(person=name, role=role, on=on), json)


def _grants(
    name: Annotated[str | None, typer.Argument(help="Only those of this person, service or group:NAME.", metavar="NAME")] = None,
    store: StoreUrl = None,
    json: Json = False,
) -> None:
    """List who holds what."""
    _print_grants(_accounts(store).grants(person=name), json)


def _remove(name: Holder, role: RoleName, on: On = EVERYTHING, store: StoreUrl = None, json: Json = False) -> None:
    """Take a role away, at once."""
    _print_grants(_accounts(store).remove_grant(person=name, role=role, on=on), json)


def _accounts(store: str | None) -> AccessStore:
    use(store)
    return AccessStore(current_store())


def _named(name: str | None) -> str:
    if name is None:
        raise Misuse("nobody is named", hint="stratal token create NAME; or --own, for yourself at a server")
    return name


def _say(person: Person, what: str, json: bool) -> None:
    if json:
        print_json(person)
    else:
        print_out(cell(f"{person.name} {what}"))


def _print_grants(found: list[GivenGrant], json: bool) -> None:
    if json:
        return print_json(found)
    if not found:
        return print_out("No role. stratal grant add NAME viewer gives one on everything.")
    shown = table("name", "role", "on", "by", "since (UTC)")
    for each in found:
        shown.add_row(cell(each.person, "bold"), cell(each.role), cell(each.on), cell(each.given_by), cell(moment(each.at_ns)))
    return print_out(shown)
