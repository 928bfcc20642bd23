"""Quotas as an admin sets them, and as everybody sees those of what they may view; each verb one transaction."""

from stratal.core.errors import Misuse, NotFound
from stratal.core.people import Role
from stratal.core.records import Record, to_json
from stratal.store.database import Transaction
from stratal.store.operations import operation
from stratal.store.quotas import rows
from stratal.store.quotas.counting import count_anew, counted, tell_nearly, write_counts, wrong_counts
from stratal.store.quotas.rules import BYTES, DEFAULT, RUNS, Quota, Usage, check_experiment, check_limit
from stratal.store.store import Store
from stratal.tracking.store.quotas import sizes_said


class Quotas(Record, frozen=True, kw_only=True):
    """default: of experiments that have none of their own, None if there is none. used: what experiments hold, and may hold."""

    default: Quota | None
    used: list[Usage]


class Recounted(Record, frozen=True, kw_only=True):
    """What a count found: experiments and files that there are, and experiments whose counters were wrong."""

    experiments: int
    files: int
    wrong: list[str]


class QuotaStore:
    """The quotas of one store. They are set by who is admin of everything: who makes an experiment becomes its admin, and would lift
    what holds them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.VIEWER, is_scoped=True)
    def quotas(self) -> Quotas:
        """List what experiments hold and may hold, by name: those that the reader may see."""
        with self._store.query() as tx:
            found = [each for each in rows.usages(tx) if tx.sees is None or each.experiment in tx.sees]
            return Quotas(default=rows.quotas_said(tx, DEFAULT).get(DEFAULT), used=found)

    @operation(needs=Role.ADMIN)
    def set_quota(self, *, experiment: str, most_bytes: int | None = None, most_runs: int | None = None) -> Quota:
        """Set how much an experiment may hold; '*': the default of all. What is None stays as it was said before; -1 is no limit.

        What is there stays, however much it is. Raises Misuse."""
        check_experiment(experiment)
        check_limit(BYTES, most_bytes)
        check_limit(RUNS, most_runs)
        if most_bytes is None and most_runs is None:
            raise Misuse("a quota limits bytes, or runs, or both", hint="stratal quota set experiment:churn --bytes 50GB --runs 10000")
        with self._store.command() as tx:
            before = rows.quotas_said(tx, experiment).get(experiment)
            rows.set_quota(
                tx,
                experiment,
                most_bytes if most_bytes is not None or before is None else before.most_bytes,
                most_runs if most_runs is not None or before is None else before.most_runs,
            )
            said = rows.quotas_said(tx, experiment)[experiment]
            _tell_set(tx, said)
            return said

    @operation(needs=Role.ADMIN)
    def remove_quota(self, *, experiment: str) -> None:
        """Take a quota away: the default counts, or, where it was the default, nothing. Raises NotFound."""
        with self._store.command() as tx:
            if not rows.drop_quota(tx, experiment):
                raise NotFound(f"{experiment[:100]} has no quota of its own", hint="stratal quota list shows what there is")
            _tell_set(tx, Quota(experiment=experiment, most_bytes=None, most_runs=None))

    @operation(needs=Role.ADMIN, takes_long=True)
    def recount(self) -> Recounted:
        """Count what experiments hold anew, and put it in place of the counters. O(runs + files)."""
        with self._store.command() as tx:
            before, now = counted(tx), count_anew(tx, sizes_said(tx))
            write_counts(tx, now)
            for name in now.used:
                tell_nearly(tx, name)
        return Recounted(experiments=len(now.used), files=len(now.files), wrong=wrong_counts(now, before))


def _tell_set(tx: Transaction, said: Quota) -> None:
    """Tell of a limit that was changed, and of experiments that are near theirs now."""
    subject = "quota" if said.experiment == DEFAULT else f"experiment:{said.experiment}"
    tx.emit("quota set", subject, to_json({BYTES: said.most_bytes, RUNS: said.most_runs}))
    for each in rows.usages(tx) if said.experiment == DEFAULT else [rows.usage(tx, said.experiment)]:
        tell_nearly(tx, each.experiment)
