"""The doorway: what stands before everything of a server that asks who comes. It notes from where, and lets no secret in by a URL."""

from stratal.server.asgi import App, Message, Receive, Scope, Send, refusal, send_answer
from stratal.server.authenticating import AccessGuard
from stratal.server.peers import note_peer
from stratal.store.access.secrets import holds_secret


class Doorway:
    """Passes requests on to `inner`."""

    def __init__(self, inner: App, guard: AccessGuard) -> None:
        self._inner, self._guard = inner, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI 3 says."""
        if scope["type"] != "http":
            return await self._inner(scope, receive, send)
        note_peer(scope)
        path = str(scope["path"])
        if holds_secret(f"{path}?{bytes(scope.get('query_string') or b'').decode('latin-1')}"):  # type: ignore[call-overload]  # ASGI says bytes
            self._guard.notices.refused("", "token in a URL", "")
            refused = refusal(
                400, "secret-in-url", "this address holds a token, and addresses are kept in logs and histories: it is no secret any more",
                "revoke it (stratal token revoke ID), make another one, and send that in the header authorization",
            )  # fmt: skip
            return await send_answer(refused.answer, send)
        return await self._inner(scope, receive, _with_challenge(send))


def _with_challenge(send: Send) -> Send:
    """Say with each 401 how one signs in. No browser asks for a password because of it."""

    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 401:
            held: list[tuple[bytes, bytes]] = list(message.get("headers") or ())  # type: ignore[call-overload]  # ASGI says pairs of bytes
            message = {**message, "headers": [*held, (b"www-authenticate", b'Bearer realm="stratal"')]}
        await send(message)

    return send_on
