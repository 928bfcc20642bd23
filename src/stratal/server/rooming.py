"""Rooming: whether an experiment has room for a file that a sender is about to send, and what becomes of files that wait for it."""

from urllib.parse import unquote

from stratal.core.errors import Misuse
from stratal.core.ids import is_id
from stratal.core.people import Identity, Role
from stratal.server.asgi import Request
from stratal.server.guards import Guard
from stratal.store.access.reach import experiments_of
from stratal.store.database import Transaction
from stratal.store.quotas.counting import count_asked, find_file
from stratal.store.quotas.holding import check_file, holding_quotas
from stratal.store.quotas.rows import usage
from stratal.store.quotas.rules import OverQuota
from stratal.store.shipments import EXPERIMENT, RUN
from stratal.store.store import Store


class Rooming:
    """Asks for one store. A sender that does not say which run a file is of is not asked: what it sends counts when a run names it."""

    def __init__(self, store: Store, guard: Guard) -> None:
        self._store, self._guard = store, guard

    def check(self, request: Request, sender: Identity, digest: str, size: int) -> None:
        """Raise OverQuota if there is no room for a file; then it waits. Else room is kept for it, if there is a limit."""
        with self._store.database.read(sender) as tx:
            experiment = self._experiment(tx, request, sender)
            known = find_file(tx, experiment, digest) if experiment else None
            if known is None and (not experiment or usage(tx, experiment).most_bytes is None):
                return  # it counts when a run names it
            if known is not None and not known.is_waiting:
                return
        refused = None
        with self._store.settler.transaction(sender) as tx, holding_quotas():
            try:
                check_file(tx, experiment, digest, size)
            except OverQuota as error:
                refused = error
            count_asked(tx, experiment, digest, size, is_waiting=refused is not None)
        if refused is not None:
            raise refused

    def arrived(self, request: Request, sender: Identity, digest: str, size: int) -> None:
        """Count a file that waited, and whose bytes are here by another way."""
        with self._store.database.read(sender) as tx:
            experiment = self._experiment(tx, request, sender)
            known = find_file(tx, experiment, digest) if experiment else None
        if known is not None and known.is_waiting:
            with self._store.settler.transaction(sender) as tx:
                count_asked(tx, experiment, digest, size, is_waiting=False)

    def _experiment(self, tx: Transaction, request: Request, sender: Identity) -> str:
        """Give the experiment of the run that a file is of, '' if nobody says it. Raises Forbidden if the sender may not write there."""
        run = request.headers.get(RUN, "")
        if not run:
            return ""
        if not is_id(run):
            raise Misuse(f"the header {RUN} holds no id of a run", hint="32 hex digits")
        id = bytes.fromhex(run)
        self._guard.may_write(tx, sender, {id})
        if experiment := experiments_of(tx, {id}).get(id, ""):
            return experiment
        said = unquote(request.headers.get(EXPERIMENT, ""))[:500]
        if not said.isprintable():
            raise Misuse(f"the header {EXPERIMENT} holds no name of an experiment")
        if said:
            self._guard.check(tx, sender, Role.CONTRIBUTOR, f"experiment:{said}")
        return said
