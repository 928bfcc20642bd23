"""Which runs an export is about, and what is read of them: page by page, in one transaction of a store here, or from a server."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import IO, Protocol

import msgspec

from stratal.interop.exporting.operations import MOST_RUNS, ExportStore, PointPage, Said, point_pages, said_of
from stratal.store.database import Transaction
from stratal.store.store import Store
from stratal.tracking.operations.reading import Found, found_of
from stratal.tracking.operations.searching import RunSearch
from stratal.tracking.reading import ReadRun
from stratal.tracking.search import parse_filter, parse_order
from stratal.tracking.selecting import names_in
from stratal.tracking.store.search import count_runs, search_runs

PAGE = 500  # runs that are in memory at once; a run's row is some kilobytes
PAGE_THERE = 100  # rows of one answer of a server


class Chosen(Protocol):
    """Runs that a filter lets pass. Laws: 1 `pages` gives `count` runs, the oldest first, and the same each time.
    2 memory is bounded, however many there are, and however many points they have."""

    store: Store
    count: int

    def pages(self, size: int = PAGE) -> Iterator[list[ReadRun]]:
        """Give all of them, at most `size` at a time."""

    def said(self, runs: Sequence[ReadRun]) -> list[Said]:
        """Give what was said of some of them."""

    def points(self, run: ReadRun) -> Iterator[PointPage]:
        """Give all points of one of them."""


def choosing(store: Store, where: str, experiments: Sequence[str] | None) -> AbstractContextManager[Chosen]:
    """Open what a filter lets pass. Raises Misuse, with the place, for a filter that cannot be read."""
    return _there(store, where, experiments) if store.remote else _here(store, where, experiments)


@contextmanager
def _here(store: Store, where: str, experiments: Sequence[str] | None) -> Iterator[Chosen]:
    with store.query() as tx:
        yield ChosenHere(store, tx, where, experiments)


@contextmanager
def _there(store: Store, where: str, experiments: Sequence[str] | None) -> Iterator[Chosen]:
    with tempfile.TemporaryFile() as rows:
        yield ChosenThere(store, rows, where, experiments)


class ChosenHere:
    """Runs of a store that lies here: all of it is of one moment."""

    def __init__(self, store: Store, tx: Transaction, where: str, experiments: Sequence[str] | None) -> None:
        self.store, self._tx = store, tx
        self._condition = parse_filter(where, now_ns=tx.now_ns, names=names_in(tx, experiments))
        self._experiments = experiments
        self._living = store.living()
        self.count = count_runs(tx, self._condition, experiments=experiments, living=self._living)

    def pages(self, size: int = PAGE) -> Iterator[list[ReadRun]]:
        order, page = parse_order("started"), None
        while True:
            found = search_runs(self._tx, self._condition, order, experiments=self._experiments, living=self._living, limit=size, page=page)
            yield [_read(self.store, each) for each in found_of(self.store, self._tx, found.runs)]
            page = found.next
            if page is None:
                return

    def said(self, runs: Sequence[ReadRun]) -> list[Said]:
        return [said_of(self._tx, run.record) for run in runs]

    def points(self, run: ReadRun) -> Iterator[PointPage]:
        return point_pages(self._tx, run.record, run.record.epoch)


class ChosenThere:
    """Runs of a server's store that its reader may view. Their rows are read once, into a file, so that they stay what they are; what was
    said of them, and points, are as they are when they are asked for, but for takeovers, of which a row knows."""

    def __init__(self, store: Store, rows: IO[bytes], where: str, experiments: Sequence[str] | None) -> None:
        self.store, self._rows = store, rows
        self._reads = ExportStore(store)
        self.count = 0
        for found in _pages_there(store, where, experiments):
            rows.write(msgspec.json.Encoder().encode_lines(found))
            self.count += len(found)

    def pages(self, size: int = PAGE) -> Iterator[list[ReadRun]]:
        self._rows.seek(0)
        decoder = msgspec.json.Decoder(Found)
        while page := [_read(self.store, decoder.decode(line)) for line in islice(self._rows, size)]:
            yield page

    def said(self, runs: Sequence[ReadRun]) -> list[Said]:
        found: list[Said] = []
        while len(found) < len(runs):
            found += self._reads.said(runs=[run.id for run in runs[len(found) : len(found) + MOST_RUNS]])
        return found

    def points(self, run: ReadRun) -> Iterator[PointPage]:
        after = None
        while True:
            page = self._reads.points(run=run.id, epoch=run.record.epoch, after=after)
            yield page
            after = page.next
            if after is None:
                return


def _pages_there(store: Store, where: str, experiments: Sequence[str] | None) -> Iterator[list[Found]]:
    search, after = RunSearch(store), None
    asked = None if experiments is None else list(experiments)
    while True:
        page = search.page(where=where, experiments=asked, order_by="started", limit=PAGE_THERE, after=after)
        yield page.runs
        after = page.next
        if after is None:
            return


def _read(store: Store, found: Found) -> ReadRun:
    return ReadRun(store, found.record, is_lost=found.is_lost)
