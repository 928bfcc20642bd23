"""Settling: strange steps and values, many metrics, many writers, damage. Excludes kills and takeovers."""

import multiprocessing
import os
import random
import signal
import sys
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stratal.core.errors import Misuse
from stratal.core.ids import new_id, to_bytes
from stratal.store import settling
from stratal.store.journal import Writer, living_writers, open_segments, segments, try_lock
from stratal.store.shipping import _alone
from stratal.store.store import Store
from stratal.testing.workloads import log_into_a_living_run
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


def series(store: Store, id: str, name: str) -> tuple[list[int], list[float]]:
    with store.snapshot() as snapshot:
        points = snapshot.series(to_bytes(id), name)
    return points.steps.tolist(), points.values.tolist()


def test_missing_negative_repeated_descending_and_huge_steps_and_odd_values(store: Store):
    """Against a dict: 6,000 calls, some tuples of names overlap, ticks fall anywhere."""
    dice, wanted, following = random.Random(3), {}, {}
    id = new_id()
    writer = Writer(store.journals)
    tuples = [("a",), ("a", "b"), ("b", "c"), ("c",)]
    for i in range(6000):
        step = dice.choice((None, None, dice.randrange(-50, 50), i, -(2**62)))
        if i == 5990:
            step = 2**62
        names = dice.choice(tuples)
        row = {name: dice.choice((1.0, float("nan"), float("inf"), -float("inf"), -0.0, i * 0.1)) for name in names}
        writer.log(to_bytes(id), 0, row, step)
        for name, value in row.items():
            at = following.get(name, 0) if step is None else step
            following[name] = max(following.get(name, 0), at + 1)
            wanted.setdefault(name, []).append((at, value))
        if dice.random() < 0.005:
            store.settler.tick()
    for moment in ("overlay", "settled"):
        for name, points in wanted.items():
            points.sort(key=lambda point: point[0])
            steps, values = series(store, id, name)
            assert steps == [step for step, _ in points], moment
            assert np.array_equal(values, [value for _, value in points], equal_nan=True), moment
        store.settle()
    read = get_run(id, store=store)
    for summary in read.summaries:
        points = wanted[summary.name]
        finite = [value for _, value in points if np.isfinite(value)]
        assert (summary.low, summary.high, summary.points) == (min(finite), max(finite), len(points))
        assert np.array_equal(summary.last, points[-1][1], equal_nan=True)
        assert np.array_equal(read.metrics[summary.name], summary.last, equal_nan=True)


def test_ten_thousand_metrics_in_one_run(store: Store):
    id, names = new_id(), [f"layer{i}/größe" for i in range(10_000)]
    writer = Writer(store.journals)
    for step in range(30):
        writer.log(to_bytes(id), 0, {name: float(step + i) for i, name in enumerate(names)}, step)
        if step == 10:
            store.settler.tick()
    store.settle()
    read = get_run(id, store=store)
    assert len(read.metrics) == 10_000
    assert read.metrics == {name: 29.0 + i for i, name in enumerate(names)}
    assert {summary.points for summary in read.summaries} == {30}
    assert series(store, id, "layer9999/größe") == (list(range(30)), [float(step + 9999) for step in range(30)])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_settled_equals_overlay_whatever_the_order_of_ticks(fresh_store_for_laws, data: st.DataObject):
    store = fresh_store_for_laws
    id = new_id()
    writers = [Writer(store.journals) for _ in range(2)]
    calls = data.draw(st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 5), st.sampled_from("ab"), st.booleans()), max_size=40))
    count = {"a": 0, "b": 0}
    for which, step, name, tick in calls:
        writers[which].log(to_bytes(id), 0, {name: float(count[name])}, step)
        count[name] += 1
        if tick:
            store.settler.tick()
    overlay = {name: series(store, id, name) for name in "ab"}
    store.settle()
    assert overlay == {name: series(store, id, name) for name in "ab"}
    assert {name: len(found[0]) for name, found in overlay.items()} == count


@pytest.fixture(scope="module")
def fresh_store_for_laws(tmp_path_factory: pytest.TempPathFactory):
    opened = open_store(tmp_path_factory.mktemp("laws") / "store")
    yield opened
    opened.close()


def test_points_merge_into_full_chunks_and_the_rest_into_blocks(store: Store):
    id = new_id()
    writer = Writer(store.journals)
    for step in range(10_000):
        writer.log(to_bytes(id), 0, {"m": float(step)}, step)
        if step % 300 == 0:
            store.settler.tick()
    store.settle()
    sizes = [n for (n,) in store.database.connect().execute("select n from chunk order by id")]
    assert len(sizes) <= 6, sizes
    assert sum(sizes) + sum(n for (n,) in store.database.connect().execute("select n from block")) == 10_000
    assert series(store, id, "m")[0] == list(range(10_000))


def test_a_lost_name_frame_costs_itself_only(store: Store):
    id = new_id()
    writer = Writer(store.journals)
    for step in range(3000):
        writer.log(to_bytes(id), 0, {"a": float(step)}, step)
    with open(store.journals / segments(store.journals)[0], "r+b") as file:
        file.seek(60)
        file.write(b"\0\0\0")  # inside the first frame, which carries the names
    store.settle()
    assert series(store, id, "a")[0] == list(range(1, 3000))
    assert store.database.connect().execute("select count(*) from damage").fetchone() == (1,)


def test_any_flipped_byte_of_a_journal_keeps_all_other_frames(store: Store):
    id = new_id()
    writer = Writer(store.journals)
    for step in range(8):
        writer.log(to_bytes(id), 0, {"a": float(step)}, step)
    writer.close()
    name = segments(store.journals)[0]
    whole = (store.journals / name).read_bytes()
    for place in range(0, len(whole), 3):
        broken = bytearray(whole)
        broken[place] ^= 0x10
        (store.journals / name).write_bytes(broken)
        steps, values = series(store, id, "a")
        assert len(set(steps)) == len(steps) >= 7, f"byte {place}"
        assert values == [float(step) for step in steps], "and no frame is read wrong"


def test_a_journal_cut_anywhere_reopens_as_a_prefix(store: Store):
    id = new_id()
    writer = Writer(store.journals)
    for step in range(6):
        writer.log(to_bytes(id), 0, {"a": float(step)}, step)
    writer.close()
    name = segments(store.journals)[0]
    whole = (store.journals / name).read_bytes()
    seen = []
    for cut in range(len(whole), -1, -1):
        os.truncate(store.journals / name, cut)
        steps, _ = series(store, id, "a")
        assert steps == list(range(len(steps)))
        seen.append(len(steps))
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == set(range(7))


def test_facts_of_unknown_kinds_and_unreadable_ones_are_kept_raw(store: Store):
    id = new_id()
    writer = Writer(store.journals)
    writer.fact(to_bytes(id), 0, "from-the-future", {"x": 1})
    writer.fact(to_bytes(id), 0, "start", {"no": "experiment"})
    writer.fact(to_bytes(id), 0, "start", {"experiment": "e"})
    assert get_run(id, store=store).experiment == "e"
    kept = store.database.connect().execute("select what, reason from kept_fact order by sequence").fetchall()
    assert kept == [("from-the-future", "unknown"), ("start", "unreadable")]


def test_threads_and_forked_children_each_write_once(store: Store):
    id = new_id()
    with run("e", store=store) as opened:
        id = opened.id

        def log_from_threads(base: int) -> None:
            def work(k: int) -> None:
                for i in range(300):
                    opened.log({"m": 1.0}, step=base + k * 300 + i)

            threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        busy = threading.Thread(target=log_from_threads, args=(0,))
        busy.start()
        children = []
        for child in range(4):  # forked while threads hold the writer's lock
            pid = os.fork()
            if pid == 0:
                try:
                    log_from_threads(100_000 * (child + 1))
                finally:
                    os._exit(0)
            children.append(pid)
        busy.join()
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    steps, _ = series(store, id, "m")
    assert len(steps) == len(set(steps)) == 5 * 1200
    assert len(segments(store.journals)) == 5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_spawned_processes_join_a_living_run_without_a_new_epoch(store: Store, method: str):
    with run("e", store=store) as opened:
        opened.log({"m": -1.0}, step=-1)
        processes = [
            multiprocessing.get_context(method).Process(target=log_into_a_living_run, args=(store.url, opened.id, 1000 * k))
            for k in range(2)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
    read = get_run(opened.id, store=store)
    assert read.record.epoch == 0
    assert read.series("m").steps.tolist() == [-1, *range(200), *range(1000, 1200)]
    assert read.status == "finished"


def test_a_child_that_forked_away_does_not_end_its_parents_run(store: Store):
    opened = run("e", store=store)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert opened.is_open
    opened.finish()
    assert get_run(opened.id, store=store).status == "finished"


@pytest.mark.parametrize("name", ["../x", "a\0b", "größe", "日本語 🌊", "x" * 500, "' or 1=1 --", '"; drop table run', "a/b/c", "%", "_"])
def test_unicode_and_hostile_names_of_metrics_are_data_or_refused(store: Store, name: str):
    with run("e'; drop table run --", store=store, params={"p": "'"}) as opened:
        if "\0" in name:
            with pytest.raises(Misuse, match="cannot be printed"):
                opened.log({name: 1.0})
            return
        opened.log({name: 1.0})
        opened.log_params({name: name})
        opened.set_tags({name: name})
    read = get_run(opened.id, store=store)
    assert read.metrics == {name: 1.0}
    assert (read.params[name], read.tags) == (name, {name: name})
    assert read.series(name).values.tolist() == [1.0]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "", "a//b", "a\\b", "a\nb", ".", "x" * 1001])
def test_artifact_paths_that_leave_their_run_are_refused(store: Store, name: str):
    with run("e", store=store) as opened:
        with pytest.raises(Misuse, match="not a path"):
            opened.save_bytes(name, b"x")


@pytest.mark.parametrize("bad", [{"a": b"text"}, {"a": None}, {"": 1.0}, {}, {1: 2.0}, {"a": [1, 2]}])
def test_what_is_no_metric_is_refused_and_the_next_call_works(store: Store, bad: dict):
    with run("e", store=store) as opened:
        with pytest.raises(Misuse):
            opened.log(bad)
        with pytest.raises(Misuse, match="step"):
            opened.log({"a": 1.0}, step=1.5)
        opened.log({"a": 1.0, "deep": {"b": 2, "c": {"d": 3}}})
    assert get_run(opened.id, store=store).metrics == {"a": 1.0, "deep/b": 2.0, "deep/c/d": 3.0}


def test_a_command_sees_what_this_process_and_the_runs_writers_have_logged(store: Store):
    with run("e", store=store) as opened:
        opened.log({"m": 1.0}, step=0)
        other = Writer(store.journals)
        other.log(to_bytes(opened.id), 0, {"m": 2.0}, 1)
        stranger = Writer(store.journals)
        stranger.log(to_bytes(new_id()), 0, {"m": 2.0}, 1)
        store.settle()
        opened.log({"m": 3.0}, step=2)
        other.log(to_bytes(opened.id), 0, {"m": 4.0}, 3)
        stranger.log(to_bytes(new_id()), 0, {"m": 2.0}, 1)
        with store.command(runs=[opened.id]) as tx:
            from stratal.tracking.store.runs import get_record

            assert get_record(tx, opened.id).metrics == {"m": 4.0}
        assert store.settle() == 1, "the stranger's frame was not the command's business"


def test_a_segment_fills_up_and_the_next_one_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch):
    from stratal.store import journal

    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(journal, "WINDOW_BYTES", 300)
    with run("e", store=store) as opened:
        for step in range(100):
            opened.log({"m": float(step)}, step=step)
    assert len(segments(store.journals)) >= 8
    assert series(store, opened.id, "m")[0] == list(range(100))
    store.settle()
    assert series(store, opened.id, "m")[0] == list(range(100))


def test_points_without_steps_are_numbered_in_order_over_segments(store: Store, monkeypatch: pytest.MonkeyPatch):
    from stratal.store import journal

    monkeypatch.setattr(journal, "SEGMENT_BYTES", 3000)
    monkeypatch.setattr(journal, "WINDOW_BYTES", 500)
    with run("e", store=store) as opened:
        for value in range(200):
            opened.log({"m": float(value)})
    assert len(segments(store.journals)) > 3
    assert store.settler.tick() > 0, "the first window of the first segment, and of no other"
    store.settle()
    assert series(store, opened.id, "m") == (list(range(200)), [float(value) for value in range(200)])


def test_a_process_that_only_logs_settles_what_it_filled(store: Store, monkeypatch: pytest.MonkeyPatch):
    from stratal.store import journal

    monkeypatch.setattr(journal, "SEGMENT_BYTES", 3000)
    with run("e", store=store) as opened:
        for step in range(60):
            opened.log({"m": float(step)}, step=step)
    assert len(segments(store.journals)) == 2
    assert store._aside is not None
    store._aside.join()
    settled = store.database.connect().execute("select sum(n) from block").fetchone()[0]
    assert settled >= 30, "the filled segment is in the database, and nobody has read"


def test_swept_segments_stay_away_and_living_ones_stay(store: Store):
    with run("e", store=store) as opened:
        opened.log({"m": 1.0})
        other = Writer(store.journals)
        other.log(to_bytes(opened.id), 0, {"m": 1.0})
        other.close()
        store.settler.settle()
        assert store.settler.sweep(at_once=True) == 1
        assert len(segments(store.journals)) == 1
        opened.log({"m": 2.0})
    assert get_run(opened.id, store=store).series("m").values.tolist() == [1.0, 1.0, 2.0]
    assert settling.MANY_DEAD > 1


@pytest.mark.parametrize("after", [(), range(40_000, 43_000), range(39_000, 41_000), range(100, 0, -1), (None, None)])
def test_the_envelope_from_marks_equals_the_one_from_points(store: Store, after: Sequence[int | None]):
    """after: steps of points that no tick has settled."""
    id, values = new_id(), np.random.default_rng(1).standard_normal(40_000)
    values[777] = np.nan
    writer = Writer(store.journals)
    for step, value in enumerate(values.tolist()):
        writer.log(to_bytes(id), 0, {"m": value}, step)
    store.settle()
    for step in after:
        writer.log(to_bytes(id), 0, {"other": 0.0, "m": 100.0 + (step or 0)}, step)
    with store.snapshot() as snapshot:
        assert snapshot.series(to_bytes(id), "m").n == len(values) + len(after)
        quick = snapshot.envelope(to_bytes(id), "m", 40)
        points = snapshot.series(to_bytes(id), "m")
    edges = [*np.searchsorted(points.steps, quick.steps).tolist(), points.n]
    for i, (start, stop) in enumerate(pairwise(edges)):
        assert quick.low[i] == np.nanmin(points.values[start:stop])
        assert quick.high[i] == np.nanmax(points.values[start:stop])
        assert quick.last[i] == points.values[stop - 1]
    assert len(quick.steps) == 40


def test_a_power_safe_store_keeps_the_same_laws(tmp_path: Path):
    from stratal.core.settings import Settings

    store = open_store(tmp_path / "power", settings=Settings(durability="power", user="t"))
    with run("e", store=store) as opened:
        for step in range(20):
            opened.log({"m": float(step)}, step=step)
    assert get_run(opened.id, store=store).series("m").steps.tolist() == list(range(20))
    assert store.database.connect().execute("pragma synchronous").fetchone() == (2,)
    store.close()


def test_a_child_forked_while_a_lock_was_held_keeps_none(store: Store):
    with run("e", store=store) as made:
        made.save_bytes("a", b"1")
    store.writer.close()
    name = segments(store.journals)[0]
    with store.blobs.alone(), _alone(store.folder) as first, open_segments(store.journals, [name]) as opened:
        assert first
        assert try_lock(opened[name])
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        with store.blobs.alone(), _alone(store.folder) as again:
            assert again
        assert living_writers(store.journals) == set()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_fact_that_is_nested_too_deeply_to_be_read_costs_itself_only(store: Store):
    deepest, deep = sys.getrecursionlimit() // 2, {}
    for _ in range(deepest):
        deep = {"": deep}
    with run("e", store=store) as made:
        made.state("k", deep)
        made.log({"a": 1.0}, step=1)

    def settle_below(frames: int) -> None:
        settle_below(frames - 1) if frames else store.settle()

    settle_below(deepest)
    assert series(store, made.id, "a") == ([1], [1.0])
    assert get_run(made.id, store=store).status == "finished"
