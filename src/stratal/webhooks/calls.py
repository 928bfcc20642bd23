"""Webhooks, as users ask for them."""

import time
from collections.abc import Sequence

from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.webhooks.delivering import Deliverer
from stratal.webhooks.endpoints import AddedWebhook, Delivery, Webhook
from stratal.webhooks.sending import LIMIT_S
from stratal.webhooks.store import WAITING, WebhookStore


def add_webhook(name: str, url: str, *, events: Sequence[str] = (), on: Sequence[str] = (), store: Store | None = None) -> AddedWebhook:
    """Add an endpoint that is told of events from now on, and give its secret, which is shown this once.

    events: kinds, or kind=word: "version=Production", "run ended=failed", "alert"; none: all. on: "experiment:churn", "model:churn".
    Raises Conflict if the name is taken.
    """
    return WebhookStore(store or current_store()).add(name=name, url=url, events=list(events), on=list(on))


def webhooks(*, store: Store | None = None) -> list[Webhook]:
    """List endpoints, with what waits for them and what never reached them."""
    return WebhookStore(store or current_store()).listed()


def remove_webhook(name: str, *, store: Store | None = None) -> None:
    """Forget an endpoint, with all that waits for it. Raises NotFound."""
    WebhookStore(store or current_store()).remove(name=name)


def pause_webhook(name: str, *, store: Store | None = None) -> bool:
    """Send nothing to an endpoint from now on; what happens waits for it. False if it was paused before. Raises NotFound."""
    return WebhookStore(store or current_store()).pause(name=name)


def resume_webhook(name: str, *, store: Store | None = None) -> bool:
    """Send to an endpoint again, first what has waited for it. False if it was not paused. Raises NotFound."""
    return WebhookStore(store or current_store()).resume(name=name)


def resend(name: str, *, store: Store | None = None) -> int:
    """Put the dead deliveries of an endpoint on their way again, with their ids and bytes, and give how many. Raises NotFound."""
    return WebhookStore(store or current_store()).resend(name=name)


def deliveries(name: str | None = None, *, limit: int = 50, store: Store | None = None) -> list[Delivery]:
    """List what was, or is to be, delivered, the newest first. Raises NotFound."""
    return WebhookStore(store or current_store()).deliveries(name=name, limit=limit)


def try_webhook(name: str, *, store: Store | None = None) -> Delivery:
    """Send an event of the kind `test` to an endpoint now, and give what came of it. Raises NotFound, or Conflict if it is paused."""
    opened = store or current_store()
    rows = WebhookStore(opened)
    asked = rows.ask_trial(name=name)
    if opened.remote is None:
        Deliverer(opened).try_this(asked.id)
    ends_s = opened.clock.monotonic_s() + LIMIT_S + 1
    while (found := rows.one(name=name, id=asked.id)).state == WAITING and not found.error and opened.clock.monotonic_s() < ends_s:
        time.sleep(0.05)  # a server was faster, and is at it; behind a URL only the server delivers
    return found
