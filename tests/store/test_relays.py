"""Points that clients repeat through another process: each is there once, settled or not. Excludes MLflow's wire."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.core.ids import new_id, to_bytes
from stratal.store.journal import Writer
from stratal.store.names import join_runs
from stratal.store.relays import SILENT_NS, hear
from stratal.tracking.facts import START, Start
from stratal.tracking.reading import get_run

MS = 1_000_000


def _writers(store, run: bytes, count: int, *, relays: int) -> list[Writer]:
    """Make writers of a run, the first of them relays."""
    writers = [Writer(store.journals) for _ in range(count)]
    writers[0].fact(run, 0, START, Start(experiment="e"))
    with store.command() as tx:
        for number, writer in enumerate(writers):
            if number < relays:
                hear(tx, run, writer.id)
            else:
                join_runs(tx, [(run, writer.id)])
    return writers


def _rows(steps, names=("m",)):
    return [(dict.fromkeys(names, math.nan if step % 5 == 3 else step / 2), step, 1_700_000_000_000 * MS + step * MS) for step in steps]


def _points(store, run: str, name: str = "m") -> list[tuple]:
    series = get_run(run, store=store).series(name)
    return list(zip(series.steps.tolist(), map(repr, series.values.tolist()), strict=True))


def _wanted(steps) -> list[tuple]:
    return [(step, repr(math.nan if step % 5 == 3 else step / 2)) for step in steps]


def test_what_two_relays_wrote_is_there_once_settled_or_not(fresh_store):
    for settles in (False, True):
        store, id = fresh_store(), new_id()
        first, second = _writers(store, to_bytes(id), 2, relays=2)
        first.log_many(to_bytes(id), 0, _rows(range(40), ("m", "n")))
        if settles:
            store.settle()
        second.log_many(to_bytes(id), 0, _rows(range(20, 60), ("m",)))
        second.log_many(to_bytes(id), 0, _rows(range(20, 60), ("n",)))
        first.log_many(to_bytes(id), 0, _rows(range(50, 70), ("n", "m")))
        with store.snapshot() as snapshot:
            assert snapshot.series(to_bytes(id), "m").steps.tolist() == list(range(70)), "as it lies in the journals"
        store.settle()
        for name in ("m", "n"):
            assert _points(store, id, name) == _wanted(range(70))
        assert [summary.points for summary in get_run(id, store=store).summaries] == [70, 70]
        for writer in (first, second):
            writer.close()


def test_repeats_are_found_in_chunks_and_another_value_is_no_repeat(store):
    id = new_id()
    first, second = _writers(store, to_bytes(id), 2, relays=2)
    first.log_many(to_bytes(id), 0, _rows(range(1000)))
    store.settle()
    second.log_many(to_bytes(id), 0, [*_rows([3, 500, 999]), ({"m": -1.0}, 500, 1_700_000_000_000 * MS + 500 * MS), *_rows([1000])])
    store.settle()
    assert _points(store, id) == sorted([*_wanted(range(1001)), (500, "-1.0")], key=lambda point: point[0])
    for writer in (first, second):
        writer.close()


def test_equal_points_of_processes_that_log_for_themselves_all_count(store):
    id = new_id()
    writers = _writers(store, to_bytes(id), 3, relays=1)
    for writer in writers:
        writer.log_many(to_bytes(id), 0, _rows([7]))
        store.settle()
    assert _points(store, id) == _wanted([7, 7, 7])
    for writer in writers:
        writer.close()


CALLS = st.lists(st.tuples(st.integers(0, 2), st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), min_size=1), st.booleans()))


@settings(max_examples=30)
@given(CALLS)
def test_any_calls_through_any_relays_in_any_order_give_a_set(migrated, tmp_path_factory, calls):
    import shutil

    from stratal.tracking.opening import open_store

    store, id = open_store(shutil.copytree(migrated, tmp_path_factory.mktemp("relays") / "store")), new_id()
    writers = _writers(store, to_bytes(id), 3, relays=3)
    written = {number: set() for number in range(3)}
    for number, points, settles in calls:
        fresh = [point for point in dict.fromkeys(points) if point not in written[number]]  # a relay repeats nothing itself
        written[number] |= set(fresh)
        if fresh:
            writers[number].log_many(to_bytes(id), 0, [({name: float(step)}, step, step * MS) for name, step in fresh])
        if settles:
            store.settle()
    store.settle()
    for name in "ab":
        wanted = sorted({step for points in written.values() for key, step in points if key == name})
        with store.snapshot() as snapshot:
            assert snapshot.series(to_bytes(id), name).steps.tolist() == wanted
    for writer in writers:
        writer.close()
    store.close()


def test_a_run_of_a_relay_lives_as_long_as_its_clients_are_heard(store):
    id = new_id()
    [relay] = _writers(store, to_bytes(id), 1, relays=1)
    relay.close()
    store.settle()
    assert get_run(id, store=store).status == "running"
    with store.command() as tx:
        tx.now_ns -= SILENT_NS + 1
        hear(tx, to_bytes(id), relay.id)
    assert get_run(id, store=store).status == "lost"
