"""Webhooks: other programs are told of events, by signed requests.

May live here: endpoints and their filters, signatures, deliveries and their log, the guarded request, the loop that delivers.
May not: what an event means, and acting on one; whoever is told decides what to do.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratal.webhooks.calls import add_webhook, deliveries, pause_webhook, remove_webhook, resend, resume_webhook, try_webhook, webhooks
    from stratal.webhooks.delivering import Deliverer, delivering
    from stratal.webhooks.endpoints import AddedWebhook, Delivery, Webhook
    from stratal.webhooks.signing import verify
    from stratal.webhooks.store import WebhookStore

# Loaded at first use: some of these files need SQLAlchemy.
_HOMES = {
    "AddedWebhook": "endpoints",
    "Deliverer": "delivering",
    "Delivery": "endpoints",
    "Webhook": "endpoints",
    "WebhookStore": "store",
    "add_webhook": "calls",
    "deliveries": "calls",
    "delivering": "delivering",
    "pause_webhook": "calls",
    "remove_webhook": "calls",
    "resend": "calls",
    "resume_webhook": "calls",
    "try_webhook": "calls",
    "verify": "signing",
    "webhooks": "calls",
}

__all__ = [
    "AddedWebhook",
    "Deliverer",
    "Delivery",
    "Webhook",
    "WebhookStore",
    "add_webhook",
    "deliveries",
    "delivering",
    "pause_webhook",
    "remove_webhook",
    "resend",
    "resume_webhook",
    "try_webhook",
    "verify",
    "webhooks",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
