"""Authenticating: the guard of a server that asks everybody who they are, and lets them do what they were granted.

What a secret stands for is looked up in a thread, and remembered for a second; whether it still counts, and what its person holds, is
read again in the transaction of each request. So a revocation, a lock-out and a grant that was taken away count at once.
"""

import hashlib
import secrets
import shlex
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from stratal.core.clock import Clock, SystemClock
from stratal.core.errors import Forbidden, StoreDown
from stratal.core.people import EVERYTHING, Grant, Identity, Role, holds
from stratal.server.credentials import Said, read_credentials
from stratal.server.guards import TooManyTries, Unauthenticated, check_seen
from stratal.server.limiting import ADDRESS_FREE, ADDRESS_S, NAME_FREE, NAME_S, Tries
from stratal.server.notices import Notices
from stratal.server.peers import current_peer
from stratal.server.threads import Threads
from stratal.store.access import rows
from stratal.store.access.reach import experiments_of, has_others, standing
from stratal.store.access.records import Known
from stratal.store.access.rules import Scope, TokenState, folded, role_named
from stratal.store.access.secrets import digest, is_password
from stratal.store.access.sessions import find_session
from stratal.store.database import Transaction
from stratal.store.store import Store

T = TypeVar("T")

# Seconds for which a look-up is remembered, and a password that was right (it costs 30 ms to ask again); secrets that are remembered.
LOOK_UP_S, PASSWORD_S, MOST_KNOWN = 1.0, 60.0, 10_000
# Threads for look-ups, and for passwords, of which each takes 19 MiB; look-ups and passwords that may wait for one.
THREADS, PASSWORD_THREADS, MOST_LOOKING, MOST_WAITING = 4, 2, 1024, 32


class Admitted(Known, frozen=True, kw_only=True):
    """An identity that this server has checked, and how long that counts."""

    session_digest: bytes = b""
    valid_from_ns: int


class AccessGuard:
    """The guard over one store's people and grants."""

    def __init__(self, store: Store, *, clock: Clock | None = None) -> None:
        self._store, self._clock = store, clock or SystemClock()
        self.notices = Notices(store)
        self._salt = secrets.token_bytes(16)
        self._known: _Known[Admitted] = _Known(LOOK_UP_S)
        self._right: _Known[str] = _Known(PASSWORD_S)  # passwords, as they were kept when they were right
        self._by_name, self._by_address = Tries(NAME_FREE, NAME_S), Tries(ADDRESS_FREE, ADDRESS_S)
        self._threads, self._slow_threads = Threads(THREADS, "stratal-guard"), Threads(PASSWORD_THREADS, "stratal-passwords")
        self._looking = self._waiting = 0

    async def identify(self, headers: Mapping[str, str]) -> Admitted:
        """Say who sends a request, by its token, name and password, or session. Raises Unauthenticated."""
        peer = current_peer()
        try:
            said = read_credentials(headers, peer)
        except Unauthenticated:
            note = self.notices.kept_out if "authorization" in headers else self.notices.refused  # who shows nothing tried nothing
            note("", "not signed in", "")
            raise
        place = self._place(said)
        if (known := self._known.get(place, self._clock.monotonic_s())) is not None:
            return known
        if said.kind == "password":
            admitted = await self.sign_in(said.name, said.secret)
        else:
            look_up = self._by_token if said.kind == "token" else self._by_session
            admitted = await self._look_up(lambda: look_up(said))
        self._known.put(place, admitted, self._clock.monotonic_s())
        return admitted

    async def _look_up(self, look_up: Callable[[], Admitted]) -> Admitted:
        if self._looking >= MOST_LOOKING:
            raise StoreDown("as many are asked who they are as can be at a time", hint="come again in a moment")
        self._looking += 1
        try:
            return await self._threads.run(look_up)
        finally:
            self._looking -= 1

    async def sign_in(self, name: str, password: str) -> Admitted:
        """Say who has that name and password. Raises Unauthenticated, the same for whatever is wrong, and TooManyTries."""
        name = name[:200] if name.isprintable() else "?"  # nobody has a name that cannot be printed, and no table takes it
        tries = ((self._by_name, folded(name)), (self._by_address, current_peer().address))
        now_s = self._clock.monotonic_s()
        wait_s = max(counted.wait_s(key, now_s) for counted, key in tries)
        if wait_s > 0 or self._waiting >= MOST_WAITING:
            self.notices.kept_out(name, "too many tries")
            raise TooManyTries(wait_s or 1.0)
        for counted, key in tries:  # before it is known: many at a time are no way round
            counted.failed(key, now_s)
        self._waiting += 1
        try:
            found = await self._slow_threads.run(lambda: self._by_password(name, password))
        finally:
            self._waiting -= 1
        for counted, key in tries:
            counted.forgive(key)
        return found

    def check(self, tx: Transaction, sender: Identity, needs: Role, on: str) -> None:
        """Raise Forbidden unless the sender holds the role there, by grants and within the bounds of their token."""
        admitted, held = self._standing(tx, sender)
        if not admitted.scope.lets(needs, on):
            bounds = f"{admitted.scope.role.name.lower()} on {', '.join(admitted.scope.objects)}"
            asked = f"{needs.name.lower()} on {on}"
            raise self._refused(
                admitted, needs, on, f"this token of {admitted.name} is bounded to {bounds}; asked for: {asked}", "use another token"
            )
        if not holds(held, admitted.name, needs.name, on):
            raise self._refused(
                admitted, needs, on, f"{admitted.name} is not {needs.name.lower()} on {on}", _grant_hint(admitted, needs, on)
            )

    def may(self, tx: Transaction, sender: Identity, needs: Role, on: str) -> bool:
        """Tell whether `check` would let the sender."""
        admitted, held = self._standing(tx, sender)
        return admitted.scope.lets(needs, on) and holds(held, admitted.name, needs.name, on)

    def visible(self, tx: Transaction, sender: Identity, kind: str) -> frozenset[str] | None:
        """Give the names of the experiments or models that the sender may view; None: all."""
        admitted, held = self._standing(tx, sender)
        on = {grant.on for grant in held if role_named(grant.role) is not None}
        bounds = set(admitted.scope.objects)
        if EVERYTHING in on and EVERYTHING in bounds:
            return None
        within = bounds if EVERYTHING in on else on if EVERYTHING in bounds else on & bounds
        return frozenset(name for prefix, _, name in (each.partition(":") for each in within) if prefix == kind)

    def may_write(self, tx: Transaction, sender: Identity, runs: set[bytes]) -> None:
        """Raise Forbidden unless the sender may contribute to the experiments of these runs, as they are now.

        A run that nobody has started yet belongs to who writes it. Of no runs: unless the sender may contribute anywhere."""
        admitted, held = self._standing(tx, sender)
        self._check_contributes(admitted, held)
        found = experiments_of(tx, runs)
        for experiment in sorted(set(found.values()) - {""}):
            check_seen(self, tx, sender, Role.CONTRIBUTOR, f"experiment:{experiment}")  # the sender has named the run only
        for id, experiment in found.items():
            if not experiment and has_others(tx, id, admitted.name):
                raise self._refused(admitted, Role.CONTRIBUTOR, "", "somebody else writes to this run, and nobody has started it yet", "")

    def created(self, tx: Transaction, sender: Identity, on: str) -> None:
        """Let who made an experiment or a model be its admin, unless somebody has given out rights on it before it was there."""
        admitted, _ = self._standing(tx, sender)
        if not rows.is_granted(tx, on):
            rows.add_grant(tx, admitted.name, Role.ADMIN.name.lower(), on, given_by=admitted.name)

    def turned_away(self, why: str) -> None:
        """Note a refusal of nobody."""
        self.notices.refused("", why, "")

    def forget(self) -> None:
        """Look everybody up anew."""
        self._known.clear()

    def close(self) -> None:
        """End the threads, and write down what is not yet."""
        self._threads.close()
        self._slow_threads.close()
        self.notices.close()

    def _standing(self, tx: Transaction, sender: Identity) -> tuple[Admitted, tuple[Grant, ...]]:
        if not isinstance(sender, Admitted):
            raise Unauthenticated(f"{sender.name} is only asserted", hint="sign in")
        found = standing(
            tx, sender.name, valid_from_ns=sender.valid_from_ns, token_id=sender.token_id, session_digest=sender.session_digest
        )
        if not found.is_valid:
            self.forget()
            self.notices.kept_out(sender.name, "no longer valid")
            raise Unauthenticated(f"what {sender.name} signed in with is no longer valid", hint="sign in again, or ask an admin")
        return sender, found.grants

    def _check_contributes(self, admitted: Admitted, held: tuple[Grant, ...]) -> None:
        for grant in held:
            role = role_named(grant.role)
            within = EVERYTHING in (*admitted.scope.objects, grant.on) or grant.on in admitted.scope.objects
            if role is not None and role >= Role.CONTRIBUTOR <= admitted.scope.role and within:
                return
        where = "anywhere" if admitted.scope == Scope() else "within the bounds of this token"
        raise self._refused(
            admitted, Role.CONTRIBUTOR, "", f"{admitted.name} may contribute nothing {where}", _grant_hint(admitted, Role.CONTRIBUTOR, "")
        )

    def _refused(self, who: Admitted, needs: Role, on: str, message: str, hint: str) -> Forbidden:
        self.notices.refused(who.name, needs.name.lower(), on)
        return Forbidden(message, hint=hint)

    def _by_token(self, said: Said) -> Admitted:
        with self._store.database.read(self._store.actor()) as tx:
            token = rows.find_token(tx, digest(said.secret))
            person = rows.find_sign_in(tx, token.person) if token else None
        if token is None or person is None:
            self.notices.kept_out(said.name, "unknown token")
            raise Unauthenticated("this token is not known here", hint="stratal token list shows those that are; is it of another store?")
        if token.state is not TokenState.ACTIVE or person.is_disabled:
            self.notices.kept_out(person.name, f"{'locked out' if person.is_disabled else token.state}")
            why = f"{person.name} is locked out" if person.is_disabled else f"token {token.id} of {person.name} is {token.state}"
            raise Unauthenticated(why, hint="ask an admin")
        if said.name and folded(said.name) != folded(person.name):
            self.notices.kept_out(said.name, "token of somebody else", person.name)
            raise Unauthenticated(f"this token is not of {said.name!r}", hint="give the name that it was made for, or only the token")
        self.notices.used(token.id)
        return Admitted(name=person.name, scope=token.scope, token_id=token.id, valid_from_ns=person.valid_from_ns)

    def _by_session(self, said: Said) -> Admitted:
        with self._store.database.read(self._store.actor()) as tx:
            session = find_session(tx, digest(said.secret))
            person = rows.find_sign_in(tx, session.person) if session else None
        if session is None or person is None or person.is_disabled or session.signed_in_ns < person.valid_from_ns:
            raise Unauthenticated("this session has ended", hint="sign in again")
        return Admitted(name=person.name, session_digest=digest(said.secret), valid_from_ns=person.valid_from_ns)

    def _by_password(self, name: str, password: str) -> Admitted:
        with self._store.database.read(self._store.actor()) as tx:
            person = rows.find_sign_in(tx, name)
        place = self._place(Said(kind="password", name=name, secret=password))
        kept = person.password if person else None
        if kept is None or self._right.get(place, self._clock.monotonic_s()) != kept:
            if not is_password(kept, password) or kept is None:
                self.notices.kept_out(name, "wrong password")
                raise Unauthenticated("the name or the password is wrong", hint="after some tries one has to wait")
            self._right.put(place, kept, self._clock.monotonic_s())
        if person is None or person.is_disabled:
            self.notices.kept_out(name, "locked out")
            raise Unauthenticated("the name or the password is wrong", hint="after some tries one has to wait")
        return Admitted(name=person.name, valid_from_ns=person.valid_from_ns)

    def _place(self, said: Said) -> bytes:
        """Give what a secret is remembered by: nothing that would be worth anything to who reads this process's memory later."""
        text = f"{said.kind}\0{said.name}\0{said.secret}".encode()
        return hashlib.blake2b(text, key=self._salt, digest_size=16).digest()


class _Known(Generic[T]):
    """Values by key, each for so many seconds, and only so many. Safe for threads."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._held: OrderedDict[bytes, tuple[T, float]] = OrderedDict()
        self._change = threading.Lock()

    def get(self, key: bytes, now_s: float) -> T | None:
        with self._change:
            found = self._held.get(key)
        return found[0] if found is not None and now_s < found[1] else None

    def put(self, key: bytes, value: T, now_s: float) -> None:
        with self._change:
            self._held[key] = (value, now_s + self._keep_s)
            self._held.move_to_end(key)
            while len(self._held) > MOST_KNOWN:
                self._held.popitem(last=False)

    def clear(self) -> None:
        with self._change:
            self._held.clear()


def _grant_hint(who: Identity, needs: Role, on: str) -> str:
    command = ("stratal", "grant", "add", who.name, needs.name.lower(), on or "experiment:NAME")
    return f"an admin can give it: {shlex.join(command)}"  # a bare * would be the shell's
