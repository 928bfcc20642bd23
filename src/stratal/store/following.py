"""Following: the events of a store one after the other, as they come; of a folder, or of a server."""

import time
from collections.abc import Collection, Iterator
from urllib.parse import quote, urlencode

import msgspec

from stratal.core.errors import Forbidden, Misuse, NotFound, StoreDown
from stratal.store.between import strange
from stratal.store.events import Told, checked_on, checked_subject, events_since, latest_seq, oldest_seq, told, wait
from stratal.store.hypertext import httpx
from stratal.store.shipments import USER, Complaint
from stratal.store.store import Store
from stratal.store.trusting import advice, authorities, is_distrusted

# Seconds between two looks at a folder, and until a server that is away is asked again. The server says that it lives every 15 s.
LOOK_S, AGAIN_S, SILENT_S = 0.2, 1.0, 45.0
_PAGE = 500


def follow(
    store: Store, *, since: int | None = None, kinds: Collection[str] = (), subjects: Collection[str] = (), on: Collection[str] = ()
) -> Iterator[Told]:
    """Give events as they come, without end; over a server, across cuts and restarts, each once.

    since: the number of the last event that is known; 0 gives all that is kept, None what comes from now on. on: experiment:NAME or
    model:NAME. Raises NotFound if events after `since` are not kept any more, or none has that number yet; Misuse for what no event can
    be about.
    """
    if since is not None and since < 0:
        raise Misuse(f"{since} is no number of an event", hint="since=0 gives all that is kept")
    wanted = (
        [("kind", kind) for kind in kinds]
        + [("subject", checked_subject(ref)) for ref in subjects]
        + [("on", checked_on(name)) for name in on]
    )
    if store.remote:
        headers = {USER: quote(store.settings.user)}
        if store.settings.token:
            headers["authorization"] = f"Bearer {store.settings.token}"
        return _of_server(store.remote, headers, since, wanted)
    return _of_folder(store, since, wanted)


def _of_folder(store: Store, since: int | None, wanted: list[tuple[str, str]]) -> Iterator[Told]:
    with store.query() as tx:
        newest = latest_seq(tx)
        at = newest if since is None else since
        if at > newest:
            raise _gone(f"this store has no event {at}; its newest is {newest}: it is another store, or was restored from a backup")
        if since and oldest_seq(tx) > since + 1:
            raise _gone(f"the events after {since} are not kept any more; the oldest is {oldest_seq(tx)}")
    while True:
        store.settler.settle()
        with store.database.read(store.actor()) as tx:
            events = told(tx, events_since(tx, at, limit=_PAGE))
        for event in events:
            at = event.seq
            if _is_wanted(event, wanted):
                yield event
        if not events:
            wait(store.database, at, timeout_s=LOOK_S)


def _of_server(url: str, headers: dict[str, str], since: int | None, wanted: list[tuple[str, str]]) -> Iterator[Told]:
    at = since
    trust = authorities() if url.startswith("https:") else False
    with httpx.Client(headers=headers, timeout=httpx.Timeout(SILENT_S, connect=5.0), trust_env=False, verify=trust) as http:
        while True:
            query = urlencode([*wanted, ("since", str(at))] if at is not None else wanted)
            try:
                with http.stream("GET", f"{url}/api/v1/events?{query}") as answer:
                    if answer.status_code != 200:
                        _refuse(url, answer)
                    for id, data in _blocks(answer):
                        if data:
                            yield msgspec.json.decode(data, type=Told)
                        at = id
            except (httpx.TransportError, StoreDown) as error:
                if is_distrusted(error):  # no waiting mends that
                    raise StoreDown(f"{url} is not reached: {error}", hint=advice(error, "")) from error
                time.sleep(AGAIN_S)


def _blocks(answer: httpx.Response) -> Iterator[tuple[int, bytes]]:
    """Give (id, data) of each whole block; what a cut leaves of one is nothing."""
    rest = b""
    for piece in answer.iter_bytes():
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
            if fields.get(b"id", b"").isdigit():
                yield int(fields[b"id"]), fields.get(b"data", b"")


def _refuse(url: str, answer: httpx.Response) -> None:
    """Raise what a server says. StoreDown: it may say otherwise in a moment."""
    try:
        said = msgspec.json.decode(answer.read(), type=Complaint)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        message, hint = strange(url, answer)
        said = Complaint(error="", message=message, hint=hint)
    match answer.status_code:
        case 410:
            raise _gone(said.message)
        case 401 | 403:
            raise Forbidden(said.message, hint=said.hint)
        case status if status in (400, 404, 405, 422) or answer.has_redirect_location:
            raise Misuse(said.message, hint=said.hint)
        case _:
            raise StoreDown(said.message, hint=said.hint)


def _gone(message: str) -> NotFound:
    return NotFound(message, hint="read the present state and follow from now on, or with since=0 all that is kept")


def _is_wanted(event: Told, wanted: list[tuple[str, str]]) -> bool:
    said = {"kind": event.kind, "subject": event.subject, "on": event.on}
    asked = {name for name, _ in wanted}
    return all((name, said[name]) in wanted for name in asked)
