"""A stage: one server for many tests, each of which says what is served. A server of its own takes a test 0.2 s to stop.

`behind_server` is how a room's suite runs over HTTP: the same tests, on a store that is called through a real server on loopback.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from stratal.core.settings import Settings
from stratal.server.app import Application
from stratal.server.asgi import App, Receive, Scope, Send, live
from stratal.store.store import Store
from stratal.tracking.opening import open_store


class Stage:
    """An ASGI app that passes requests on to `handler`."""

    handler: App

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (live(receive, send, lambda: None) if scope["type"] == "lifespan" else self.handler(scope, receive, send))


@contextlib.contextmanager
def behind_server(store: Store, stage: Stage, url: str, state_home: Path) -> Iterator[Store]:
    """Serve a store on a stage, and give it as another process of the same person has it. state_home: for its spool."""
    stage.handler = application = Application(store)
    settings = Settings(user=store.settings.user, capture=False, state_home=state_home)
    far = open_store(url, settings=settings, clock=store.clock)
    try:
        yield far
    finally:
        far.uploader.finish()
        far.close()
        application.close()
