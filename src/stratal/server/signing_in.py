"""Signing in by a browser: /auth/login, /auth/logout, /auth/me. A session is a row of the store, and a cookie that no script can read.

Changes need the header x-stratal-csrf beside the cookie, and a page of this server to come from; the guard sees to both.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from stratal.core.errors import Misuse, StratalError
from stratal.core.people import Grant, Identity
from stratal.core.records import Record
from stratal.server.asgi import Answer, Failed, Gone, Receive, Request, Scope, Send, json_answer, live, refusal, send_answer
from stratal.server.authenticating import AccessGuard, Admitted
from stratal.server.credentials import COOKIE, csrf_of, is_from_here, session_secret
from stratal.server.failures import in_http
from stratal.server.guards import Guard, OpenGuard, is_this_machine
from stratal.server.peers import current_peer
from stratal.store.access import rows, sessions
from stratal.store.access.secrets import digest
from stratal.store.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Answer]]

PREFIX = "/auth"
# What a body may hold, how long its pieces and all of it may take, threads for sessions. Guesses.
MOST_BYTES, PIECE_S, WHOLE_S, THREADS = 16 << 10, 5.0, 15.0, 2
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


class Auth:
    """The handler of /auth, over one store and the guard of its server."""

    # Method, path below the prefix, the name of what answers it.
    ROUTES = (("POST", "/login", "_login"), ("POST", "/logout", "_logout"), ("GET", "/me", "_me"))

    def __init__(self, store: Store, *, guard: Guard | None = None) -> None:
        self._store, self._guard = store, guard or OpenGuard()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="stratal-auth")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI 3 says."""
        if scope["type"] == "lifespan":
            return await live(receive, send, self.close)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except Gone:
            return None
        return await send_answer(msgspec.structs.replace(answer, headers=(*answer.headers, *_SAFE)), send, is_head=request.method == "HEAD")

    def close(self) -> None:
        """Take nothing more."""
        self._threads.shutdown(wait=True)

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._route(request)(request)
        except Failed as failed:
            return failed.answer
        except StratalError as error:
            return in_http(error).answer
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # its message might tell of a password
            return refusal(400, "body", f"the body of {request.path} cannot be read", "send the JSON that docs/securing.md shows").answer
        except Gone:
            raise
        except Exception:  # the edge of this handler
            log.exception("request failed path=%s", request.path)
            return refusal(500, "bug", "the server broke its own rule; its log says how", "please report it").answer

    def _route(self, request: Request) -> Handler:
        found = {method: name for method, path, name in self.ROUTES if request.path == PREFIX + path}
        if not found:
            raise refusal(404, "not-found", f"there is nothing at {request.path[:100]}")
        if request.method not in found:
            raise refusal(405, "method", f"{request.method} is not possible at {request.path[:100]}")
        handler: Handler = getattr(self, found[request.method])
        return handler

    async def _login(self, request: Request) -> Answer:
        guard = self._asking()
        if not is_from_here(request.headers):
            raise refusal(403, "origin", "one signs in on a page of this server only")
        said = await self._body(request, SignIn)
        admitted = await guard.sign_in(said.name, said.password)
        return await self._in_thread(lambda: self._signed_in(request, admitted))

    async def _logout(self, request: Request) -> Answer:
        guard = self._asking()
        admitted = await guard.identify(request.headers)
        said = await self._body(request, SignOut)
        if not admitted.session_digest:
            raise Misuse("there is no session to end: a token or password was sent", hint="stratal token revoke ID makes a token worthless")

        def end() -> None:
            with self._store.settler.transaction(admitted) as tx:
                sessions.end_session(tx, admitted.session_digest, everywhere=said.everywhere)

        await self._in_thread(end)
        guard.forget()
        return Answer(status=204, headers=(("set-cookie", _cookie(request, "", 0)),))

    async def _me(self, request: Request) -> Answer:
        sender = await self._guard.identify(request.headers)
        if not isinstance(sender, Admitted):
            return json_answer(200, Me(name=sender.name, is_authenticated=False, by="name"))
        return await self._in_thread(lambda: self._tell(request, sender))

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
                headers = (("set-cookie", _cookie(request, fresh, sessions.LIFE_S)),)
        me = Me(
            name=sender.name, is_authenticated=True, by=by, csrf=csrf_of(secret) if secret else "", grants=held,
            role=sender.scope.role.name.lower(), objects=sender.scope.objects,
        )  # fmt: skip
        return json_answer(200, me, headers=headers)

    def _signed_in(self, request: Request, admitted: Admitted) -> Answer:
        """Open a session under an id of its own, and end the one that the browser had."""
        before = session_secret(request.headers)
        with self._store.settler.transaction(Identity(name=admitted.name, is_authenticated=True)) as tx:
            if before:
                sessions.end_session(tx, digest(before))
            secret = sessions.open_session(tx, admitted.name)
            held = rows.grants_of(tx, admitted.name)
        me = Me(name=admitted.name, is_authenticated=True, by="session", csrf=csrf_of(secret), grants=held)
        return json_answer(200, me, headers=(("set-cookie", _cookie(request, secret, sessions.LIFE_S)),))

    def _asking(self) -> AccessGuard:
        if not isinstance(self._guard, AccessGuard):
            raise Misuse("this server asks nobody who they are", hint="it is one of this machine only; stratal server --auth asks")
        return self._guard

    async def _body(self, request: Request, type: type[T]) -> T:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise refusal(415, "content-type", "the body is JSON", "set content-type: application/json")
        return msgspec.json.decode(await request.body(MOST_BYTES, PIECE_S, WHOLE_S), type=type)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _cookie(request: Request, secret: str, age_s: int) -> str:
    """Give the cookie's header: no script reads it, other sites do not send it with changes, and off this machine it needs HTTPS."""
    is_local = is_this_machine(request.headers.get("host", "")) and not current_peer().is_encrypted
    return f"{COOKIE}={secret}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{'' if is_local else '; Secure'}"
