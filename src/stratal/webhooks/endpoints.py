"""Endpoints: who is told of which events, as values. And deliveries, as their log shows them."""

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Misuse
from stratal.core.records import Record
from stratal.store.events import Told, checked_on

# The word of an event's body that a filter may ask for: `version=Production`, `alert=error`, `run ended=failed`.
DETAILS = {
    "version": "to",
    "run ended": "status",
    "alert": "level",
    "trial": "status",
    "dataset": "status",
    "approval asked": "target",
    "quota": "of",
}
# The words that are ever told, where a filter may ask for one.
_STAGES = ("Development", "Staging", "Production", "Archived")
WORDS = {
    "version": _STAGES,
    "run ended": ("finished", "failed", "stopped", "lost"),
    "alert": ("info", "warning", "error"),
    "trial": ("finished", "failed", "stopped"),
    "dataset": ("accepted", "refused"),
    "approval asked": _STAGES,
    "quota": ("bytes", "runs"),
}
# Kinds without such a word. More come; a filter that is like one of these, and is not it, is a slip.
OTHERS = (
    "approved", "checkpoint", "collected", "deleted", "experiment", "features materialised", "features registered", "model", "policy",
    "purged", "quota set", "restored", "run", "study", "view", "webhook",
)  # fmt: skip
# How long after an attempt the next one comes. Then the delivery is dead: a day of an endpoint that is away is survived.
RETRIES_S = (5, 30, 120, 600, 1800, 7200, 21600, 43200)
# How long one attempt may take before it counts as lost with its process.
ATTEMPT_S = 60

# How like a known kind another one may not be: more kinds come, and `verison` is none of them.
_LIKE = 0.85
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KIND = re.compile(r"[a-z][a-z ]{0,49}")


class Webhook(Record, frozen=True, kw_only=True):
    """An endpoint. events: kinds, or kind=word; on: experiments and models; each empty for all. Its secret is shown nowhere.

    paused_ns: since when nothing is sent to it, None while it is."""

    name: str
    url: str
    events: tuple[str, ...]
    on: tuple[str, ...]
    author: str
    at_ns: int
    waiting: int = 0
    dead: int = 0
    paused_ns: int | None = None


class AddedWebhook(Record, frozen=True, kw_only=True):
    """A new endpoint, and its secret, for this one time."""

    webhook: Webhook
    secret: str


class Delivery(Record, frozen=True, kw_only=True):
    """One event on its way to one endpoint. state: waiting, delivered or dead; status: of the last answer, None if there was none."""

    id: str
    webhook: str
    event: int
    kind: str
    subject: str
    state: str
    attempts: int
    due_ns: int
    status: int | None
    error: str
    at_ns: int
    done_ns: int | None


def check_name(name: str) -> str:
    """Give a name that can be one. Raises Misuse."""
    if not _NAME.fullmatch(name):
        raise Misuse(f"{name!r:.120} cannot name a webhook", hint="letters, digits, '.', '_' and '-', at most 100")
    return name


def check_url(url: str) -> str:
    """Give a URL that can be told. Raises Misuse. Where it leads is judged at each delivery."""
    try:
        parts = urlsplit(url)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_one = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_one or not url.isascii() or not url.isprintable():
        raise Misuse(f"{url!r:.200} is not the URL of an endpoint", hint="write https://HOST/PATH")
    if parts.username is not None or parts.fragment or " " in url or len(url) > 2000:
        raise Misuse(
            "the URL of an endpoint has no user, no fragment, no spaces and at most 2,000 characters",
            hint="requests are signed; no password is needed",
        )
    return url


def check_events(events: Sequence[str]) -> tuple[str, ...]:
    """Give filters that can match. Raises Misuse."""
    for said in events:
        kind, equals, word = said.partition("=")
        if not _KIND.fullmatch(kind) or (equals and (kind not in DETAILS or not word)):
            known = ", ".join(f"{kind!r}" for kind in DETAILS)
            raise Misuse(f"{said!r:.100} is no filter of events", hint=f"write a kind, or kind=word for one of {known}: version=Production")
        known_kinds = (*DETAILS, *OTHERS)
        if kind not in known_kinds and (meant := get_close_matches(kind, known_kinds, cutoff=_LIKE)):
            raise Misuse(f"{said!r:.100} would never be told of anything", hint=f"it is {meant[0]!r}")
        if equals and word not in WORDS[kind]:
            raise Misuse(f"{said!r:.100} would never be told of anything", hint=f"of {kind!r} there are: {', '.join(WORDS[kind])}")
    return tuple(dict.fromkeys(events))


def check_on(on: Sequence[str]) -> tuple[str, ...]:
    """Give experiments and models. Raises Misuse."""
    return tuple(dict.fromkeys(map(checked_on, on)))


def wants(events: Collection[str], on: Collection[str], event: Told) -> bool:
    """Tell whether an endpoint with these filters is told of an event."""
    if on and event.on not in on:
        return False
    word = event.body.get(DETAILS.get(event.kind, ""))
    return not events or event.kind in events or (isinstance(word, str) and f"{event.kind}={word}" in events)


def next_due_ns(now_ns: int, attempts: int) -> int | None:
    """Give when the next attempt comes after so many that failed, None if there is none."""
    return now_ns + RETRIES_S[attempts - 1] * SECOND_NS if attempts <= len(RETRIES_S) else None
