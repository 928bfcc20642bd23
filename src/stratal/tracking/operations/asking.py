"""Asking: filters, orders and columns as users write them, read with what the store knows of its names."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from stratal.core.errors import Misuse
from stratal.store.database import Transaction
from stratal.tracking.search import Condition, OrderKey, parse_filter, parse_order
from stratal.tracking.search.grammar import Names
from stratal.tracking.selecting import names_in
from stratal.tracking.store.search import pick_runs

# Experiments that a question may name: each is a value of its statement, and databases have bounds.
MOST_EXPERIMENTS = 10_000


class Asked(NamedTuple):
    """What was asked, read: and how it is asked of the store."""

    condition: Condition
    order: Sequence[OrderKey]
    experiments: Collection[str] | None
    living: Collection[str]
    names: Names

    def numbers(self, tx: Transaction, limit: int | None, after: str | None = None) -> tuple[list[int], str | None]:
        """Give the numbers of the runs in order, and the token of what comes after them."""
        got = pick_runs(
            tx, self.condition, self.order, experiments=self.experiments, living=self.living, limit=limit, page=after
        )  # fmt: skip
        return list(got.numbers), got.next


def ask(
    tx: Transaction,
    where: str,
    *,
    experiments: Collection[str] | None = None,
    order_by: str | Sequence[str] = "",
    living: Collection[str] = (),
) -> Asked:
    """Read a filter and an order, told of the names and goals that the store has. Raises Misuse, with the place."""
    if experiments is not None and len(experiments) > MOST_EXPERIMENTS:
        raise Misuse(f"{len(experiments):,} experiments are too many at once", hint=f"name at most {MOST_EXPERIMENTS:,}, or none for all")
    names = names_in(tx, experiments)
    order = parse_order(order_by, names=names)
    return Asked(parse_filter(where, now_ns=tx.now_ns, names=names), order, experiments, living, names)
