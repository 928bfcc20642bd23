"""Notices: what the guard has to write down, refusals and uses of tokens, gathered and written by the second, aside of requests."""

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from stratal.core.cores import elsewhere
from stratal.core.errors import StratalError
from stratal.server.logs import as_line
from stratal.server.peers import current_peer
from stratal.store.access.noticing import Refused, note_refusals, note_uses
from stratal.store.access.secrets import without_secrets
from stratal.store.store import Store

log = logging.getLogger(__name__)
sign_ins = logging.getLogger("stratal.server.sign_ins")

# Seconds between two writes; different refusals that are held between them, above which they are counted without names. Guesses.
EACH_S, MOST_HELD = 1.0, 1000
_OTHERS: Refused = ("", "others", "")


class Notices:
    """Writes into one store. Safe for threads; what is held when the process is killed is lost."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._change, self._turn = threading.Lock(), threading.Lock()
        self._refused: Counter[Refused] = Counter()
        self._used: set[str] = set()
        self._is_waiting = False
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stratal-notices", initializer=elsewhere)

    def refused(self, person: str, action: str, on: str) -> None:
        """Note a refusal."""
        place: Refused = (person[:200] if person.isprintable() else "?", action, on[:500] if on.isprintable() else "?")
        with self._change:
            self._refused[place if place in self._refused or len(self._refused) < MOST_HELD else _OTHERS] += 1
            self._wait()

    def kept_out(self, name: str, why: str, on: str = "") -> None:
        """Note that somebody was not let in by what they showed, and log from where they came, for who bans addresses.

        In the task of their request, or a thread of it. name: as they say it."""
        self.refused(name, why, on)
        # What they chose comes last: a pattern that reads the line from its beginning takes nothing of it for an address.
        said = {"refused": why, "address": current_peer().address, "name": without_secrets(name[:200])}
        if sign_ins.isEnabledFor(logging.INFO):
            sign_ins.info(as_line(said))

    def used(self, token_id: str) -> None:
        """Note that a token was used."""
        with self._change:
            self._used.add(token_id)
            self._wait()

    def flush(self) -> None:
        """Write all that is held now, and wait for what is being written."""
        with self._turn:
            with self._change:
                refused, used = self._refused, self._used
                self._refused, self._used, self._is_waiting = Counter(), set(), False
            if refused or used:
                self._write(refused, used)

    def close(self) -> None:
        """Write what is held, and take nothing more."""
        self._closing.set()
        self._thread.shutdown(wait=True)
        self.flush()

    def _write(self, refused: "Counter[Refused]", used: set[str]) -> None:
        try:
            with self._store.settler.transaction() as tx:
                note_refusals(tx, refused)
                note_uses(tx, sorted(used))
        except StratalError as error:  # requests do not fail because their refusal cannot be written down
            log.warning("not noted refusals=%d error=%s", refused.total(), error.message)

    def _wait(self) -> None:
        if not self._is_waiting and not self._closing.is_set():
            self._is_waiting = True
            self._thread.submit(self._write_later)

    def _write_later(self) -> None:
        self._closing.wait(EACH_S)
        self.flush()
