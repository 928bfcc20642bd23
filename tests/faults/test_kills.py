"""kill -9 of real processes: writers, compactors, both. Excludes servers and rooms."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from stratal.core.ids import new_id, to_bytes
from stratal.store.store import Store
from stratal.testing.victims import Victims
from stratal.testing.workloads import acknowledged_steps
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run

ROUNDS = 100


def check_round(store: Store, run: str, acknowledged: int) -> None:
    """Every acknowledged point is there once; readers saw the same before and after settling; the database is whole."""
    with store.snapshot() as snapshot:
        before = snapshot.series(to_bytes(run), "m0")
    store.settle()
    with store.snapshot() as snapshot:
        after = snapshot.series(to_bytes(run), "m0")
    steps = after.steps.tolist()
    assert steps[:acknowledged] == list(range(acknowledged)), "an acknowledged point is missing, doubled or out of order"
    assert len(steps) - acknowledged in (0, 1), "only the call in flight may be there too"
    assert (after.values == after.steps).all()
    assert before.steps.tolist() == steps
    read = get_run(run, store=store)
    assert read.metrics["m0"] == after.values[-1]
    assert {summary.points for summary in read.summaries} == {len(steps)}
    assert store.database.connect().execute("pragma integrity_check").fetchone() == ("ok",)


def random_moment(dice: random.Random, told: Path, round_: int, most_s: float) -> None:
    """Sleep for a moment that a kill may come at: in even rounds from the start on, in odd ones from the first acknowledgement on."""
    ends_s = time.monotonic() + 60
    while round_ % 2 and not acknowledged_steps(told) and time.monotonic() < ends_s:
        time.sleep(0.001)
    time.sleep(dice.uniform(0.001, most_s))


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_that_it_acknowledged(victims: Victims, tmp_path: Path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice, total = random.Random(seed), 0
    store = open_store(tmp_path / "store")  # one store for all rounds: it must stand the remains of every crash before
    store.settle()
    for number in range(2 * ROUNDS):
        run, told = new_id(), tmp_path / f"told{number}"
        victim = victims.start("stratal.testing.workloads:log_until_killed", store.url, str(told), run, dice.choice((1, 3, 40)))
        random_moment(dice, told, number, 0.06)
        assert victim.kill() == -signal.SIGKILL
        acknowledged = acknowledged_steps(told)
        if acknowledged:
            check_round(store, run, acknowledged)
        total += acknowledged
    assert total > 1000, "the victims hardly came to log: the test proves nothing"
    assert store.settler.sweep(at_once=True) >= 0
    store.close()


@pytest.mark.slow
def test_media_that_were_acknowledged_survive_a_killed_writer(victims: Victims, tmp_path: Path):
    dice, rounds = random.Random(6), 0
    store = open_store(tmp_path / "store")
    for number in range(15):
        run, told = new_id(), tmp_path / f"told{number}"
        victim = victims.start("stratal.testing.workloads:log_media_until_killed", store.url, str(told), run)
        random_moment(dice, told, number, 0.1)
        victim.kill()
        acknowledged = acknowledged_steps(told)
        if not acknowledged:
            continue
        rounds += 1
        read = get_run(run, store=store)
        pixels = read.media("pixels")
        assert [item.step for item in pixels][:acknowledged] == list(range(acknowledged))
        assert len(pixels) - acknowledged in (0, 1), "only the call in flight may be there too"
        assert all(item.load()[0, 0].tolist() == [item.step % 256, item.step // 256 % 256, 0] for item in pixels), "blob first, then fact"
        assert [item.load() for item in read.media("text")][:acknowledged] == [str(step) for step in range(acknowledged)]
        assert read.series("number").steps.tolist()[:acknowledged] == list(range(acknowledged))
    assert rounds >= 7, "every second victim had something acknowledged"
    store.close()


@pytest.mark.slow
def test_facts_of_every_kind_survive_a_killed_writer(victims: Victims, tmp_path: Path):
    dice, rounds = random.Random(5), 0
    store = open_store(tmp_path / "store")
    for number in range(20):
        run, told = new_id(), tmp_path / f"told{number}"
        victim = victims.start("stratal.testing.workloads:say_until_killed", store.url, str(told), run)
        random_moment(dice, told, number, 0.08)
        victim.kill()
        acknowledged = acknowledged_steps(told)
        if not acknowledged:
            continue
        rounds += 1
        read = get_run(run, store=store)
        expected = [str(i) for i in range(acknowledged)]
        assert [read.params[f"p{i}"] for i in range(acknowledged)] == list(range(acknowledged))
        assert [read.tags[f"t{i}"] for i in range(acknowledged)] == expected
        assert [note.text for note in read.notes][:acknowledged] == expected
        assert all(read.read_artifact(f"a{i}") == str(i).encode() for i in range(acknowledged))
        assert {edge.target for edge in read.edges} >= {f"dataset:d@{i}" for i in range(acknowledged)}
        assert [s.body["number"] for s in read.statements("round")][:acknowledged] == list(range(acknowledged))
        assert read.status == "lost"
    assert rounds >= 10, "every second victim had something acknowledged"
    store.close()


@pytest.mark.slow
def test_a_compactor_killed_at_any_point_of_its_protocol_applies_each_fact_once(victims: Victims, tmp_path: Path, fresh_store):
    dice, total = random.Random(11), 0
    for points in range(1, ROUNDS // 2 + 1):
        store = fresh_store()
        run, told = new_id(), tmp_path / f"told{points}"
        writer = victims.start("stratal.testing.workloads:log_until_killed", store.url, str(told), run, 3)
        compactor = victims.start("stratal.testing.workloads:compact_until_killed", store.url, points)
        assert compactor.wait() == -signal.SIGKILL
        random_moment(dice, told, 1, 0.005)  # it may have died of the fact that comes before the first point
        writer.kill()
        acknowledged = acknowledged_steps(told)
        total += acknowledged
        check_round(store, run, acknowledged)
        store.close()
    assert total > 1000


@pytest.mark.slow
def test_deletion_of_segments_survives_a_lost_write_ahead_log(victims: Victims, tmp_path: Path):
    """The database file alone, as it stands at the first unlink, must hold all that the unlinked segments held."""
    store = open_store(tmp_path / "store")
    runs = []
    for number in range(12):
        run, told = new_id(), tmp_path / f"told{number}"
        victim = victims.start("stratal.testing.workloads:log_until_killed", store.url, str(told), run, 2, 500)
        assert victim.wait() == 0
        runs.append(run)
    copies: list[Path] = []

    def copy_database_without_log(point: str) -> None:
        if point == "after unlink" and len(copies) < 5:
            copies.append(tmp_path / f"copy{len(copies)}")
            (copies[-1] / "journal").mkdir(parents=True)
            (copies[-1] / "stratal.db").write_bytes((store.folder / "stratal.db").read_bytes())
            for name in os.listdir(store.journals):
                (copies[-1] / "journal" / name).write_bytes((store.journals / name).read_bytes())

    store.settler.settle()
    store.database.fault = copy_database_without_log
    assert store.settler.sweep(at_once=True) == 12
    assert len(copies) == 5
    for copy in copies:
        survivor = open_store(copy)
        for run in runs:
            assert get_run(run, store=survivor).series("m0").steps.tolist() == list(range(500))
        survivor.close()
    store.close()


@pytest.mark.slow
def test_eight_processes_and_two_racing_compactors_lose_and_double_nothing(victims: Victims, tmp_path: Path):
    store = open_store(tmp_path / "store")
    store.settle()
    runs = [new_id() for _ in range(8)]
    calls = 4000
    writers = [victims.start("stratal.testing.workloads:log_until_killed", store.url, str(tmp_path / run), run, 10, calls) for run in runs]
    racers = [victims.start("stratal.testing.workloads:compact_until_killed", store.url, 0) for seed in range(2)]
    assert [writer.wait() for writer in writers] == [0] * 8
    for racer in racers:
        assert racer.kill() == -signal.SIGKILL
    for run in runs:
        check_round(store, run, calls)
    total = sum(summary.points for run in runs for summary in get_run(run, store=store).summaries)
    assert total == 8 * calls * 10
    store.close()


def test_readers_beside_a_writer_and_compactors_never_see_less_than_before(victims: Victims, tmp_path: Path):
    store = open_store(tmp_path / "store")
    store.settle()
    run = new_id()
    writer = victims.start("stratal.testing.workloads:log_until_killed", store.url, str(tmp_path / "told"), run, 2)
    racers = [victims.start("stratal.testing.workloads:compact_until_killed", store.url, 0) for seed in range(2)]
    seen, looks = 0, 0
    ends_s = time.monotonic() + 120
    while looks < 30 and time.monotonic() < ends_s:
        acknowledged = acknowledged_steps(tmp_path / "told")
        with store.snapshot() as snapshot:
            points = snapshot.series(to_bytes(run), "m1")
        assert np.array_equal(points.steps, np.arange(points.n))
        assert points.n >= max(seen, acknowledged - 1)
        looks += points.n > seen  # only what has moved on tells anything
        seen = points.n
    for victim in (writer, *racers):
        victim.kill()
    assert looks == 30
    store.close()
