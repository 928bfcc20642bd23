"""Signing in by a browser: /auth/login, /auth/logout, /auth/me, and /auth/oidc for a provider of identities.

A session is a row of the store, and a cookie that no script can read.

Changes need the header x-stratal-csrf beside the cookie, and a page of this server to come from; the guard sees to both.
"""

import asyncio
import base64
import hmac
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from stratal.core.errors import Misuse
from stratal.core.people import Grant, Identity
from stratal.core.records import Record
from stratal.server.asgi import Answer, Failed, Request, Send, json_answer, refusal
from stratal.server.authenticating import AccessGuard, Admitted
from stratal.server.credentials import COOKIE, cookies, csrf_of, is_from_here, session_secret
from stratal.server.guards import Guard, TooManyTries, Unauthenticated, identified, is_this_machine
from stratal.server.limiting import ADDRESS_FREE, ADDRESS_S, Tries
from stratal.server.openid import Attempt, Claimed, Provider
from stratal.server.peers import current_peer
from stratal.server.surfaces import Places, Routes, Surface
from stratal.store.access import rows, sessions
from stratal.store.access.records import Person
from stratal.store.access.rules import check_person
from stratal.store.access.secrets import digest
from stratal.store.database import Transaction
from stratal.store.store import Store

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Answer]]

PREFIX, OIDC_PATH = "/auth", "/auth/oidc"
# Where a sign-in ends that says nowhere else: who one is.
ME_PATH = "/auth/me"
# The cookie of a sign-in through a provider that is under way, and for how many seconds it may be.
ATTEMPT, ATTEMPT_S = "stratal_oidc", 600
# Who adds people that a provider knows.
PROVIDER = Identity(name="stratal", is_authenticated=True)
# What a body may hold, how long its pieces and all of it may take, threads for sessions. Guesses.
MOST_BYTES, PIECE_S, WHOLE_S, THREADS = 16 << 10, 5.0, 15.0, 2
# Requests under way at once, each with a connection; half of them from one address: nobody knows yet who asks.
MOST_REQUESTS = 256
_SAFE = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))


class SignIn(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a sign-in."""

    name: str
    password: str


class SignOut(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a sign-out. everywhere: end this person's other sessions, too."""

    everywhere: bool = False


class Me(Record, frozen=True, kw_only=True):
    """Who asks, and what they may do. csrf: what pages send back with changes, '' for who has no session."""

    name: str
    is_authenticated: bool
    by: str
    csrf: str = ""
    grants: tuple[Grant, ...] = ()
    role: str = "admin"
    objects: tuple[str, ...] = ("*",)


class Auth(Surface):
    """The handler of /auth, over one store and the guard of its server."""

    def __init__(self, store: Store, *, guard: Guard | None = None, provider: Provider | None = None) -> None:
        super().__init__(store, guard, name="auth", threads=THREADS)
        self._provider = provider
        self._places = Places(MOST_REQUESTS, self.busy)
        self._comings = Tries(ADDRESS_FREE, ADDRESS_S)  # whoever comes back with a code makes the provider work
        self._far_threads = self.pool("oidc", THREADS)  # a slow provider holds up nobody else
        self.routes = Routes[Handler](
            PREFIX,
            ("POST", "/login", self._login),
            ("POST", "/logout", self._logout),
            ("GET", "/me", self._me),
            ("GET", "/oidc/login", self._oidc_login),
            ("GET", "/oidc/callback", self._oidc_callback),
        )

    async def handle(self, request: Request, _send: Send) -> Answer:
        """Give the answer."""
        handler, _ = self.routes.find(request)
        with self._places.take(current_peer().address):
            return await handler(request)

    async def answer(self, request: Request, send: Send) -> Answer | None:
        """Handle a request; nobody keeps the answer."""
        answer = await super().answer(request, send)
        return answer and msgspec.structs.replace(answer, headers=(*answer.headers, *_SAFE))

    def unreadable(self, request: Request, _error: Exception) -> Failed:
        """Say that a body was no record; what it says of the error might tell of a password."""
        return refusal(400, "body", f"the body of {request.path} cannot be read", "send the JSON that docs/securing.md shows")

    async def _login(self, request: Request) -> Answer:
        guard = self._asking()
        if not is_from_here(request.headers):
            raise refusal(403, "origin", "one signs in on a page of this server only")
        said = await self._body(request, SignIn)
        admitted = await guard.sign_in(said.name, said.password)
        request.note_sender(admitted.name)
        return await self.in_thread(lambda: self._signed_in(request, admitted))

    async def _logout(self, request: Request) -> Answer:
        guard = self._asking()
        admitted = await guard.identify(request.headers)
        request.note_sender(admitted.name)
        is_empty = request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
        said = SignOut() if is_empty else await self._body(request, SignOut)
        if not admitted.session_digest:
            raise Misuse("there is no session to end: a token or password was sent", hint="stratal token revoke ID makes a token worthless")

        def end() -> None:
            with self._store.settler.transaction(admitted) as tx:
                sessions.end_session(tx, admitted.session_digest, everywhere=said.everywhere)

        await self.in_thread(end)
        guard.forget()
        return Answer(status=204, headers=(("set-cookie", _cookie(request, COOKIE, "", 0)),))

    async def _me(self, request: Request) -> Answer:
        sender = await identified(self._guard, request)
        if not isinstance(sender, Admitted):
            return json_answer(200, Me(name=sender.name, is_authenticated=False, by="name"))
        return await self.in_thread(lambda: self._tell(request, sender))

    async def _oidc_login(self, request: Request) -> Answer:
        provider = self._provided()
        goes_to = _own_path(dict(parse_qsl(request.query)).get("next", ""))
        url, attempt = await self._far(lambda: provider.begin(_callback_uri(request), goes_to))
        kept = base64.urlsafe_b64encode(msgspec.json.encode(attempt)).decode()
        return Answer(status=303, headers=(("location", url), ("set-cookie", _cookie(request, ATTEMPT, kept, ATTEMPT_S, OIDC_PATH))))

    async def _oidc_callback(self, request: Request) -> Answer:
        provider, said = self._provided(), dict(parse_qsl(request.query))
        attempt = _attempt(request)
        if attempt is None or not hmac.compare_digest(said.get("state", "").encode(), attempt.state.encode()):
            raise refusal(400, "state", "this sign-in was not begun in this browser, or too long ago", f"begin again at {OIDC_PATH}/login")
        if not (code := said.get("code", "")):
            why = said.get("error", "no code")
            raise refusal(403, "refused", f"the identity provider refused: {why[:100]!r}", f"begin again at {OIDC_PATH}/login")
        name = ""
        try:
            claimed = await self._coming(lambda: provider.finish(code, attempt, _callback_uri(request)))
            name = claimed.name
            return await self.in_thread(lambda: self._come_back(request, claimed, _own_path(attempt.goes_to)))
        except Unauthenticated as refused:
            why = "too many tries" if isinstance(refused, TooManyTries) else "through the identity provider"
            self._asking().notices.kept_out(name, why)
            raise

    async def _coming(self, finish: Callable[[], T]) -> T:
        """Ask the provider who came back. Raises TooManyTries for an address from which it was asked in vain too often."""
        address, now_s = current_peer().address, asyncio.get_running_loop().time()
        if (wait_s := self._comings.wait_s(address, now_s)) > 0:
            raise TooManyTries(wait_s)
        self._comings.failed(address, now_s)
        found = await self._far(finish)
        self._comings.forgive(address)
        return found

    def _come_back(self, request: Request, claimed: Claimed, goes_to: str) -> Answer:
        """Sign in who the provider knows; somebody new is added, and may do what their groups may."""
        before = session_secret(request.headers)
        with self._store.settler.transaction(PROVIDER) as tx:
            person = rows.person_of_subject(tx, claimed.subject)
            if person is None:
                person = _add(tx, claimed)
            if person.is_disabled:
                raise Unauthenticated(f"{person.name} is locked out", hint="ask an admin")
            rows.join_groups(tx, person.name, claimed.groups)
            if before:
                sessions.end_session(tx, digest(before))
            secret = sessions.open_session(tx, person.name)
        own, gone = _cookie(request, COOKIE, secret, sessions.LIFE_S), _cookie(request, ATTEMPT, "", 0, OIDC_PATH)
        return Answer(status=303, headers=(("location", goes_to), ("set-cookie", own), ("set-cookie", gone)))

    def _provided(self) -> Provider:
        self._asking()
        if self._provider is None:
            raise Misuse(
                "this server knows no identity provider",
                hint="set STRATAL_OIDC_ISSUER and STRATAL_OIDC_CLIENT_ID, or [oidc] in stratal.toml",
            )
        return self._provider

    def _tell(self, request: Request, sender: Admitted) -> Answer:
        by = "session" if sender.session_digest else "token" if sender.token_id else "password"
        with self._store.database.read(sender) as tx:
            self._guard.visible(tx, sender, "experiment")  # raises for who is no longer let in
            held = rows.grants_of(tx, sender.name)
            is_due = bool(sender.session_digest) and sessions.is_due(tx, sender.session_digest)
        secret = session_secret(request.headers) if sender.session_digest else ""
        headers: tuple[tuple[str, str], ...] = ()
        if is_due:
            with self._store.settler.transaction(sender) as tx:
                fresh = sessions.rotate(tx, sender.session_digest)
            if fresh is not None:
                secret = fresh
                headers = (("set-cookie", _cookie(request, COOKIE, fresh, sessions.LIFE_S)),)
        me = Me(
            name=sender.name, is_authenticated=True, by=by, csrf=csrf_of(secret) if secret else "", grants=held,
            role=sender.scope.role.name.lower(), objects=sender.scope.objects,
        )  # fmt: skip
        return json_answer(200, me, headers=headers)

    def _signed_in(self, request: Request, admitted: Admitted) -> Answer:
        """Open a session under an id of its own, and end the one that the browser had."""
        before = session_secret(request.headers)
        with self._store.settler.transaction(Identity(name=admitted.name, is_authenticated=True)) as tx:
            self._guard.visible(tx, admitted, "experiment")  # raises where the password was changed while this one was compared
            if before:
                sessions.end_session(tx, digest(before))
            secret = sessions.open_session(tx, admitted.name)
            held = rows.grants_of(tx, admitted.name)
        me = Me(name=admitted.name, is_authenticated=True, by="session", csrf=csrf_of(secret), grants=held)
        return json_answer(200, me, headers=(("set-cookie", _cookie(request, COOKIE, secret, sessions.LIFE_S)),))

    def _asking(self) -> AccessGuard:
        if not isinstance(self._guard, AccessGuard):
            raise Misuse("this server asks nobody who they are", hint="it is one of this machine only; stratal server --auth asks")
        return self._guard

    async def _body(self, request: Request, type: type[T]) -> T:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise refusal(415, "content-type", "the body is JSON", "set content-type: application/json")
        return msgspec.json.decode(await request.body(MOST_BYTES, PIECE_S, WHOLE_S), type=type)

    async def _far(self, call: Callable[[], T]) -> T:
        return await self.in_thread(call, self._far_threads)


def _cookie(request: Request, name: str, value: str, age_s: int, path: str = "/") -> str:
    """Give a cookie's header: no script reads it, other sites do not send it with changes, and off this machine it needs HTTPS."""
    is_local = is_this_machine(request.headers.get("host", "")) and not current_peer().is_encrypted
    return f"{name}={value}; Path={path}; Max-Age={age_s}; HttpOnly; SameSite=Lax{'' if is_local else '; Secure'}"


def _add(tx: Transaction, claimed: Claimed) -> Person:
    """Add who comes for the first time. A name that is taken is not given away, whatever a provider says: an admin binds it."""
    if (taken := rows.find_person(tx, claimed.name)) is not None:
        raise Unauthenticated(
            f"there is {taken.name} already, who signs in otherwise",
            hint=f"an admin can bind them: stratal user bind {taken.name} {claimed.subject!r}",
        )
    return rows.add_person(tx, check_person(claimed.name), kind="person", display=claimed.display, subject=claimed.subject)


def _callback_uri(request: Request) -> str:
    """Give where the provider sends the browser back: it must know this address, so no header makes it another one. Off this machine
    it is HTTPS, whatever a proxy says: a browser keeps our cookies nowhere else."""
    host = request.headers.get("host", "")
    scheme = "http" if is_this_machine(host) and not current_peer().is_encrypted else "https"
    return f"{scheme}://{host}{OIDC_PATH}/callback"


def _own_path(said: str) -> str:
    """Give a path of this server; what says none, and anything that could lead elsewhere, is where one reads who one is."""
    is_own = re.fullmatch(r"/(?![/\\])[\x21-\x7e]{0,500}", said) is not None and "\\" not in said
    return said if is_own else ME_PATH


def _attempt(request: Request) -> Attempt | None:
    try:
        return next((msgspec.json.decode(base64.urlsafe_b64decode(kept), type=Attempt) for kept in cookies(request.headers, ATTEMPT)), None)
    except ValueError:  # of base64 and msgspec alike
        return None
