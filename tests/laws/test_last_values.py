"""Last values, in every way of finding them: as ticks bring them, made anew, and from a series. Excludes kills."""

import random

import numpy as np
import pytest

from stratal.core.ids import new_id, to_bytes
from stratal.store import leases
from stratal.store.journal import Writer
from stratal.store.series import Points, statistics
from stratal.store.store import Store
from stratal.tracking.reading import get_run

_T = 1_800_000_000_000_000_000


def _write(writer: Writer, id: str, name: str, points: list[tuple[int, int, float]]) -> None:
    """Log (step, time, value) with times of the test's choice, as clocks that go back and other machines do."""
    for step, at_ns, value in points:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("stratal.store.journal.time.time_ns", lambda at_ns=at_ns: _T + at_ns)
            writer.log(to_bytes(id), 1, {name: value}, step)


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("later_first", [False, True])
def test_of_equal_steps_the_later_time_is_last_however_it_is_found(store: Store, count: int, later_first: bool):
    id, early, late = new_id(), Writer(store.journals), Writer(store.journals)
    with store.command() as tx:
        leases.claim(tx, id, "one", ttl_s=-1)
    parts = [(early, [(5, 1, 1.0)] * count), (late, [(5, 2, 2.0)] * count)]
    for writer, points in reversed(parts) if later_first else parts:
        _write(writer, id, "m", points)
        store.settle()
    assert get_run(id, store=store).metrics == {"m": 2.0}
    with store.command() as tx:
        leases.claim(tx, id, "two", ttl_s=60, from_step=1000)
    read = get_run(id, store=store)
    assert read.metrics == {"m": 2.0}, "made anew by the takeover"
    assert read.series("m").values[-1] == 2.0
    assert read.envelope("m", 1).last.tolist() == [2.0]


def test_a_chunk_is_ascending_only_if_its_last_point_is_the_newest():
    steps, values = np.array([5, 5]), np.array([1.0, 2.0])
    assert statistics(Points(steps, np.array([1, 2]), values)).is_ascending == 1
    assert statistics(Points(steps, np.array([2, 1]), values)).is_ascending == 0


@pytest.mark.parametrize("seed", range(4))
def test_values_without_steps_of_several_writers_read_the_same_before_and_after_settling(store: Store, seed: int):
    dice, id = random.Random(seed), new_id()
    writers = [Writer(store.journals) for _ in range(3)]
    for number in range(60):
        row = {name: float(number) for name in dice.choice((("a",), ("a", "b"), ("b",)))}
        dice.choice(writers).log(to_bytes(id), 0, row, dice.choice((None, None, None, number % 7)))
    for _ in range(2):
        before = {name: _read(store, id, name) for name in "ab"}
        store.settle()
        assert {name: _read(store, id, name) for name in "ab"} == before
        for number in range(9):
            dice.choice(writers).log(to_bytes(id), 0, {"a": 100.0 + number})


def test_values_without_steps_of_a_wide_run_go_on_where_a_tick_left_them(store: Store):
    id, writer = new_id(), Writer(store.journals)
    row = {f"m{i}": 1.0 for i in range(600)}
    writer.log(to_bytes(id), 0, row)
    store.settler.tick()
    writer.log(to_bytes(id), 0, row)
    assert _read(store, id, "m7")[0] == [0, 1]
    store.settle()
    assert _read(store, id, "m7")[0] == [0, 1]


@pytest.mark.parametrize("settle_between", [False, True])
def test_a_value_without_a_step_after_negative_ones_takes_step_zero_whenever_it_settles(store: Store, settle_between: bool):
    id, writer = new_id(), Writer(store.journals)
    writer.log(to_bytes(id), 0, {"a": 1.0}, -9)
    if settle_between:
        store.settle()
    writer.log(to_bytes(id), 0, {"a": 2.0})
    for _ in range(2):
        assert _read(store, id, "a")[0] == [-9, 0]
        store.settle()


def _read(store: Store, id: str, name: str) -> tuple[list[int], list[float]]:
    with store.snapshot() as snapshot:
        points = snapshot.series(to_bytes(id), name)
    return points.steps.tolist(), points.values.tolist()


def test_the_sum_of_huge_values_warns_nobody():
    with np.errstate(all="raise"):
        assert statistics(Points(np.arange(2), np.arange(2), np.array([1e308, 1e308]))).total == float("inf")
