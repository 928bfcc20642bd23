"""What the store holds of webhooks: all SQL of the room.

The sequence of events is the outbox: an event stands in the transaction of its change. `fill` moves an endpoint's place in the sequence and
writes its deliveries in one transaction, so each event becomes one delivery, whatever dies. An attempt is counted before it is made.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, delete, exists, func, literal_column, select, update

from stratal.core.clock import SECOND_NS, to_utc
from stratal.core.errors import Conflict, Misuse, NotFound
from stratal.core.ids import new_id
from stratal.core.people import Role
from stratal.core.records import Record, from_json, to_json
from stratal.store.database import Row, Transaction, insert
from stratal.store.events import Told, events_since, latest_seq, oldest_seq, told
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.webhooks.endpoints import (
    ATTEMPT_S,
    AddedWebhook,
    Delivery,
    Webhook,
    check_events,
    check_name,
    check_on,
    check_url,
    next_due_ns,
    wants,
)
from stratal.webhooks.sending import Outcome
from stratal.webhooks.signing import new_secret
from stratal.webhooks.tables import delivery as d
from stratal.webhooks.tables import webhook as w

WAITING, DELIVERED, DEAD = "waiting", "delivered", "dead"
# How long the log is kept.
KEPT_DAYS = 30
_PAGE = 500
# Deliveries of one endpoint that are counted at most, of those that wait: enough to know that something is wrong.
MOST_COUNTED = 1000

_ADD = insert(w).on_conflict_do_nothing()
_HOOKS = select(w.c.name, w.c.url, w.c.events, w.c.belongs, w.c.author, w.c.at_ns, w.c.seq, w.c.paused_ns).order_by(w.c.name)
_COUNTS = select(d.c.webhook, d.c.state, func.count()).where(d.c.state != DELIVERED).group_by(d.c.webhook, d.c.state)
_REMOVE = delete(w).where(w.c.name == bindparam("named"))
_REMOVE_DELIVERIES = delete(d).where(d.c.webhook == bindparam("named"))
_PAUSED = select(w.c.paused_ns).where(w.c.name == bindparam("named"))
_PAUSE = update(w).where(w.c.name == bindparam("named")).values(paused_ns=bindparam("since"))
_MOVE = update(w).where(w.c.name == bindparam("named"), w.c.seq == bindparam("old")).values(seq=bindparam("new"))
_BEHIND = select(func.min(w.c.seq))
_ADD_DELIVERY = insert(d)
_LOG_COLUMNS = tuple(d.c[name] for name in Delivery.__struct_fields__)
_LOG = select(*_LOG_COLUMNS).order_by(d.c.id.desc()).limit(bindparam("most"))
_LOG_OF = _LOG.where(d.c.webhook == bindparam("named"))
_ONE = select(*_LOG_COLUMNS).where(d.c.id == bindparam("which"))
# What waits for one that is paused is passed over by these two, however much it is: hence the index, and the state as it stands in it.
_IS_WAITING = d.c.state == literal_column(f"'{WAITING}'")
_DUE = select(w.c.name).where(
    w.c.paused_ns.is_(None), exists().where(d.c.webhook == w.c.name, _IS_WAITING, d.c.due_ns <= bindparam("now"))
)  # fmt: skip
_COUNTED = (
    select(d.c.at_ns)
    .where(d.c.webhook == bindparam("named"), _IS_WAITING)
    .order_by(d.c.due_ns)  # by the index: without, PostgreSQL may look through the whole log
    .limit(literal_column(str(MOST_COUNTED)))
    .subquery()
)
_BACKLOG = select(func.count(), func.min(_COUNTED.c.at_ns)).select_from(_COUNTED)
_TO_TRY = (
    select(d.c.id, d.c.attempts, d.c.due_ns, d.c.body, w.c.url, w.c.secret)
    .join_from(d, w, w.c.name == d.c.webhook)
    .where(_IS_WAITING, d.c.due_ns <= bindparam("now"), w.c.paused_ns.is_(None))
    .order_by(d.c.due_ns, d.c.event, d.c.id)
    .limit(1)
)
_NEXT, _THIS = _TO_TRY.where(d.c.webhook == bindparam("named")), _TO_TRY.where(d.c.id == bindparam("which"))
_CLAIM = (
    update(d)
    .where(d.c.id == bindparam("which"), d.c.state == WAITING, d.c.due_ns == bindparam("old"))
    .values(attempts=d.c.attempts + 1, due_ns=bindparam("until"))
)
_GIVE_BACK = (
    update(d)
    .where(d.c.id == bindparam("which"), d.c.state == WAITING, d.c.due_ns == bindparam("until"))
    .values(attempts=d.c.attempts - 1, due_ns=bindparam("due"))
)
_FINISH = (
    update(d)
    .where(d.c.id == bindparam("which"), d.c.state == WAITING)
    .values(
        state=bindparam("now_is"),
        due_ns=bindparam("due"),
        status=bindparam("answered"),
        error=bindparam("because"),
        done_ns=bindparam("done"),
    )
)
# Those that were never tried are lines of the log: events that were dropped.
_RESEND = (
    update(d)
    .where(d.c.webhook == bindparam("named"), d.c.state == DEAD, d.c.attempts > 0)
    .values(state=WAITING, attempts=0, due_ns=bindparam("due"), done_ns=None)
)
_FORGET = delete(d).where(d.c.state != WAITING, d.c.at_ns < bindparam("before"))


class Attempt(Record, frozen=True, kw_only=True):
    """A delivery that this process may try now. due_ns: since when; until_ns: after which it is anybody's again."""

    id: str
    attempts: int
    due_ns: int
    until_ns: int
    url: str
    secret: str
    body: bytes


class Backlog(Record, frozen=True, kw_only=True):
    """What endpoints have not been told yet. waiting: deliveries; since_ns: since when the oldest waits, of them or of events."""

    waiting: int
    since_ns: int | None


class WebhookStore:
    """Endpoints and their deliveries in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.ADMIN)
    def add(self, *, name: str, url: str, events: list[str], on: list[str]) -> AddedWebhook:
        """Add an endpoint; it is told of what happens from now on. Gives its secret, once. Raises Conflict if the name is taken."""
        check_name(name), check_url(url)
        secret, chosen, places = new_secret(), check_events(events), check_on(on)
        self._store.settle()  # what was logged before, by whichever process, is none of what happens from now on
        with self._store.command() as tx:
            tx.emit("webhook", f"webhook:{name}", to_json({"url": url, "is": "added"}))
            added = tx.run(
                _ADD, name=name, url=url, secret=secret, events=to_json(chosen), belongs=to_json(places), seq=latest_seq(tx),
                author=tx.actor.name, at_ns=tx.now_ns,
            )  # fmt: skip
            if not added:
                raise Conflict(f"there is a webhook {name} already", hint=f"choose another name, or: stratal webhook remove {name}")
            hook = Webhook(name=name, url=url, events=chosen, on=places, author=tx.actor.name, at_ns=tx.now_ns)
        return AddedWebhook(webhook=hook, secret=secret)

    @operation(needs=Role.ADMIN)
    def listed(self) -> list[Webhook]:
        """List endpoints by name, with how many deliveries wait and are dead. Without secrets."""
        with self._store.query() as tx:
            counts = {(name, state): count for name, state, count in tx.rows(_COUNTS)}
            return [
                Webhook(
                    name=name, url=url, events=from_json(events, tuple[str, ...]), on=from_json(on, tuple[str, ...]), author=author,
                    at_ns=at, waiting=counts.get((name, WAITING), 0), dead=counts.get((name, DEAD), 0), paused_ns=paused,
                )
                for name, url, events, on, author, at, _, paused in tx.rows(_HOOKS)
            ]  # fmt: skip

    @operation(needs=Role.ADMIN)
    def remove(self, *, name: str) -> None:
        """Forget an endpoint, what waits for it, and its log. Raises NotFound."""
        with self._store.command() as tx:
            tx.run(_REMOVE_DELIVERIES, named=name)
            if not tx.run(_REMOVE, named=name):
                raise _unknown(name)
            tx.emit("webhook", f"webhook:{name}", to_json({"is": "removed"}))

    @operation(needs=Role.ADMIN, is_repeatable=True)
    def pause(self, *, name: str) -> bool:
        """Send nothing to an endpoint from now on; what happens waits for it. False if it was paused before. Raises NotFound."""
        return self._set_paused(name, is_paused=True)

    @operation(needs=Role.ADMIN, is_repeatable=True)
    def resume(self, *, name: str) -> bool:
        """Send to an endpoint again, first what has waited. False if it was not paused. Raises NotFound."""
        return self._set_paused(name, is_paused=False)

    @operation(needs=Role.ADMIN)
    def deliveries(self, *, name: str | None, limit: int) -> list[Delivery]:
        """List deliveries, the newest first; of one endpoint, or of all."""
        if not 0 < limit <= 10_000:
            raise Misuse(f"{limit} deliveries cannot be listed", hint="ask for 1 to 10,000")
        with self._store.query() as tx:
            if name is None:
                return [_delivery(row) for row in tx.rows(_LOG, most=limit)]
            _check_known(tx, name)
            return [_delivery(row) for row in tx.rows(_LOG_OF, named=name, most=limit)]

    @operation(needs=Role.ADMIN)
    def ask_trial(self, *, name: str) -> Delivery:
        """Put a trial on its way, due now: an event of the kind `test`. Raises NotFound."""
        with self._store.command() as tx:
            _check_known(tx, name)
            if tx.value(_PAUSED, named=name) is not None:
                raise Conflict(f"the webhook {name} is paused: nothing is sent to it", hint=f"stratal webhook resume {name}")
            event = Told(seq=0, at_ns=tx.now_ns, kind="test", subject=f"webhook:{name}", actor=tx.actor.name, on="", body={"is": "a trial"})
            _put(tx, id := new_id(), name, event, tx.now_ns)
            return _delivery(tx.rows(_ONE, which=id)[0])

    @operation(needs=Role.ADMIN)
    def resend(self, *, name: str) -> int:
        """Put the dead deliveries of an endpoint on their way again, with their ids, and give how many. Raises NotFound."""
        with self._store.command() as tx:
            _check_known(tx, name)
            return tx.run(_RESEND, named=name, due=tx.now_ns)

    @operation(needs=Role.ADMIN)
    def one(self, *, name: str, id: str) -> Delivery:
        """Give one delivery of an endpoint. Raises NotFound."""
        with self._store.glance() as tx:
            if (row := tx.row(_ONE, which=id)) is None or (found := _delivery(row)).webhook != name:
                raise NotFound(f"there is no delivery {id[:40]} of {name[:100]}", hint="stratal webhook deliveries lists them")
            return found

    def _set_paused(self, name: str, *, is_paused: bool) -> bool:
        with self._store.command() as tx:
            _check_known(tx, name)
            if (tx.value(_PAUSED, named=name) is not None) == is_paused:
                return False
            tx.run(_PAUSE, named=name, since=tx.now_ns if is_paused else None)
            tx.emit("webhook", f"webhook:{name}", to_json({"is": "paused" if is_paused else "resumed"}))
            return True


def has_endpoints(tx: Transaction) -> bool:
    """Tell whether there is anybody to tell."""
    return tx.value(_BEHIND) is not None


def is_behind(tx: Transaction) -> bool:
    """Tell whether there are events that some endpoint has not been asked about."""
    slowest = tx.value(_BEHIND)
    return slowest is not None and slowest < latest_seq(tx)


def backlog(tx: Transaction) -> Backlog:
    """Count what waits for endpoints that are not paused, of each at most MOST_COUNTED deliveries, those that are due first.

    Cheap however much there is: what was delivered is not looked at, nor what waits for one that is paused."""
    hooks = list(tx.rows(_HOOKS))
    counted = [tx.rows(_BACKLOG, named=name)[0] for name, *_, paused_ns in hooks if paused_ns is None]
    unseen = events_since(tx, min(seq for *_, seq, _ in hooks), limit=1) if hooks else []
    since = [at_ns for _, at_ns in counted if at_ns is not None] + [event.at_ns for event in unseen]
    return Backlog(waiting=sum(count for count, _ in counted), since_ns=min(since, default=None))


def fill(tx: Transaction) -> int:
    """Write the deliveries of the next events of each endpoint, and move its place. Gives how many events were looked at."""
    seen, oldest = 0, oldest_seq(tx)
    for name, _, events, on, _, at_ns, seq, _ in tx.rows(_HOOKS):
        coming = told(tx, events_since(tx, seq, limit=_PAGE))
        if not coming:
            continue
        if tx.run(_MOVE, named=name, old=seq, new=coming[-1].seq) != 1:
            continue  # another server was faster
        seen += len(coming)
        kinds, places = from_json(events, tuple[str, ...]), from_json(on, tuple[str, ...])
        if seq and oldest > seq + 1:
            _say_missed(tx, name, seq + 1, oldest - 1, at_ns)
        wanted = [event for event in coming if wants(kinds, places, event)]
        ids = sorted(new_id() for _ in wanted)  # those of one millisecond, too: the log is sorted by them
        for id, event in zip(ids, wanted, strict=True):
            _put(tx, id, name, event, tx.now_ns)
    return seen


def due(tx: Transaction) -> list[str]:
    """List the endpoints for which something is due."""
    return [str(name) for (name,) in tx.rows(_DUE, now=tx.now_ns)]


def claim(tx: Transaction, name: str) -> Attempt | None:
    """Take the next due delivery of an endpoint for this process; whoever dies with it gives it back by time. None: there is none."""
    return _claim(tx, tx.row(_NEXT, now=tx.now_ns, named=name))


def claim_this(tx: Transaction, id: str) -> Attempt | None:
    """Take one delivery, if it is due and nobody has it."""
    return _claim(tx, tx.row(_THIS, now=tx.now_ns, which=id))


def _claim(tx: Transaction, found: Row | None) -> Attempt | None:
    if found is None:
        return None
    id, attempts, due_ns, body, url, secret = found
    until_ns = tx.now_ns + ATTEMPT_S * SECOND_NS
    if tx.run(_CLAIM, which=id, old=due_ns, until=until_ns) != 1:
        return None
    return Attempt(id=id, attempts=attempts + 1, due_ns=due_ns, until_ns=until_ns, url=url, secret=secret, body=body.encode())


def give_back(tx: Transaction, attempt: Attempt) -> None:
    """Let an attempt that was broken off count as not made, unless somebody else has taken it meanwhile."""
    tx.run(_GIVE_BACK, which=attempt.id, until=attempt.until_ns, due=attempt.due_ns)


def finish(tx: Transaction, attempt: Attempt, outcome: Outcome) -> str:
    """Write down what came of an attempt, and give the delivery's state."""
    due_ns = next_due_ns(tx.now_ns, attempt.attempts)
    state = DELIVERED if not outcome.error else WAITING if due_ns is not None else DEAD
    done = None if state == WAITING else tx.now_ns
    tx.run(_FINISH, which=attempt.id, now_is=state, due=due_ns or tx.now_ns, answered=outcome.status, because=outcome.error, done=done)
    return state


def forget_old(tx: Transaction) -> int:
    """Drop what the log need not show any more."""
    return tx.run(_FORGET, before=tx.now_ns - KEPT_DAYS * 86_400 * SECOND_NS)


def _put(tx: Transaction, id: str, name: str, event: Told, due_ns: int, *, error: str = "") -> None:
    body = msgspec.json.encode({"type": event.kind, "timestamp": to_utc(event.at_ns).isoformat(), "data": event}).decode()
    tx.run(
        _ADD_DELIVERY, id=id, webhook=name, event=event.seq, kind=event.kind, subject=event.subject, body=body,
        state=DEAD if error else WAITING, attempts=0, due_ns=due_ns, status=None, error=error, at_ns=tx.now_ns,
        done_ns=tx.now_ns if error else None,
    )  # fmt: skip


def _say_missed(tx: Transaction, name: str, first: int, last: int, at_ns: int) -> None:
    """Leave a line in the log where events were dropped before any server ran that could deliver them."""
    event = Told(
        seq=first, at_ns=at_ns, kind="missed", subject=f"webhook:{name}", actor="stratal", on="", body={"first": first, "last": last}
    )
    _put(tx, new_id(), name, event, tx.now_ns, error=f"events {first} to {last} were dropped before a server ran to deliver them")


def _delivery(row: Sequence[object]) -> Delivery:
    return Delivery(**dict(zip(Delivery.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]  # columns by their names


def _check_known(tx: Transaction, name: str) -> None:
    """Raise NotFound for the name of no endpoint."""
    if name not in {row[0] for row in tx.rows(_HOOKS)}:
        raise _unknown(name)


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no webhook {name[:100]!r}", hint="see: stratal webhook list")
