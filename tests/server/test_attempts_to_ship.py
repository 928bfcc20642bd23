"""Attempts to ship one writer, broken off anywhere and in any order, by two shippers. Excludes what is refused."""

import contextlib
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from rows_of_a_writer import log_rows, steps

from stratal.core.errors import StoreDown
from stratal.core.ids import new_id
from stratal.store.arriving import Arrivals, everybody
from stratal.store.calling import Server
from stratal.store.journal import Writer, segments
from stratal.store.shipments import Accepted, SegmentParts
from stratal.store.shipping import Shipper
from stratal.store.store import Store


class Attempts(RuleBasedStateMachine):
    """One writer, two shippers that are broken off anywhere, a server that is set back: the rows are those that were shipped."""

    made: Store
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.store = Attempts.fresh()
        self.spool = self.store.folder.with_name(self.store.folder.name + "-spool")
        (self.spool / "journal").mkdir(parents=True)
        self.direct = Direct(self.store)
        self.shippers = [Shipper(self.spool, self.direct, keeps=False) for _ in range(2)]
        self.id, self.writer, self.logged = new_id(), Writer(self.spool / "journal"), 0

    @rule(rows=st.integers(1, 5))
    def log(self, rows: int) -> None:
        log_rows(self.writer, self.id, range(self.logged, self.logged + rows))
        self.logged += rows

    @rule()
    def die(self) -> None:
        self.writer.close()

    @rule(which=st.integers(0, 1), calls=st.integers(0, 4))
    def ship(self, which: int, calls: int) -> None:
        self.direct.calls = calls
        with contextlib.suppress(StoreDown):
            self.shippers[which].ship()
        assert self.shippers[which].done.refused == []

    @rule(which=st.integers(0, 1))
    def start_again(self, which: int) -> None:
        self.shippers[which] = Shipper(self.spool, self.direct, keeps=False)

    @invariant()
    def rows_are_a_prefix(self) -> None:
        found = steps(self.store, self.id)
        assert found == list(range(len(found)))

    def teardown(self) -> None:
        self.writer.close()
        self.direct.calls = 1000
        for shipper in self.shippers:
            assert shipper.ship()
        assert steps(self.store, self.id) == list(range(self.logged))
        assert segments(self.spool / "journal") == []
        self.store.close()


class Direct(Server):
    """The protocol without a network, that breaks off after `calls` calls: half of them before they are done, half after."""

    def __init__(self, store: Store) -> None:
        self.arrivals, self.store, self.calls = Arrivals(store.settler, everybody), store, 0

    def _call(self, act):
        self.calls -= 1
        if self.calls == -1:
            raise StoreDown("cut before")
        answer = act()
        if self.calls == 0:
            raise StoreDown("cut after")
        return answer

    def parts(self, name: str, since: int) -> SegmentParts:
        def ask() -> SegmentParts:
            with self.store.database.read(self.store.actor()) as tx:
                return self.arrivals.parts(tx, name, since, self.store.actor())

        return self._call(ask)

    def ship(self, name, offset, data, damage) -> int:
        return self._call(lambda: self.arrivals.accept(name, offset, data, damage, self.store.actor()))

    def seal(self, name, seal) -> int:
        return self._call(lambda: Accepted(offset=self.arrivals.seal(name, seal, self.store.actor())).offset)


def test_any_interleaving_of_attempts_ends_with_the_rows_that_were_logged(fresh_store):
    Attempts.fresh = staticmethod(fresh_store)
    run_state_machine_as_test(
        Attempts,
        settings=settings(max_examples=25, stateful_step_count=15, suppress_health_check=[HealthCheck.function_scoped_fixture]),
    )
