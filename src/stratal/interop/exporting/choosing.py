"""Which runs an export is about, read page by page inside one read transaction: all of it is of one moment."""

from collections.abc import Iterator, Sequence

from stratal.store.database import Transaction
from stratal.store.store import Store
from stratal.tracking.operations.reading import found_of
from stratal.tracking.reading import ReadRun
from stratal.tracking.search import parse_filter, parse_order
from stratal.tracking.selecting import names_in
from stratal.tracking.store.search import count_runs, search_runs

PAGE = 500  # runs that are in memory at once; a run's row is some kilobytes


class Chosen:
    """Runs that a filter lets pass, oldest first."""

    def __init__(self, store: Store, tx: Transaction, where: str, experiments: Sequence[str] | None) -> None:
        """Raises Misuse, with the place, for a filter that cannot be read."""
        self.store, self.tx = store, tx
        self._condition = parse_filter(where, now_ns=tx.now_ns, names=names_in(tx, experiments))
        self._experiments = experiments
        self._living = store.living()
        self.count = count_runs(tx, self._condition, experiments=experiments, living=self._living)

    def pages(self, size: int = PAGE) -> Iterator[list[ReadRun]]:
        """Give all of them, at most `size` at a time."""
        order, page = parse_order("started"), None
        while True:
            found = search_runs(self.tx, self._condition, order, experiments=self._experiments, living=self._living, limit=size, page=page)
            yield [ReadRun(self.store, each.record, is_lost=each.is_lost) for each in found_of(self.store, self.tx, found.runs)]
            page = found.next
            if page is None:
                return
