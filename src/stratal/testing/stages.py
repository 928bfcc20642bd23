"""A stage: one server for many tests, each of which says what is served. A server of its own takes a test 0.2 s to stop."""

from stratal.server.asgi import App, Receive, Scope, Send, live


class Stage:
    """An ASGI app that passes requests on to `handler`."""

    handler: App

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (live(receive, send, lambda: None) if scope["type"] == "lifespan" else self.handler(scope, receive, send))
