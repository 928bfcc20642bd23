"""Zombies, takeovers and epochs: what an old holder still writes changes nothing, and nothing is dropped."""

import random
import shutil
from itertools import permutations
from pathlib import Path

import pytest

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Conflict, StaleLease
from stratal.core.ids import new_id, to_bytes
from stratal.store import leases
from stratal.store.journal import Writer
from stratal.store.store import Store
from stratal.tracking.facts import END, PARAMS, START, End, Start
from stratal.tracking.leased import claim_leased, start_leased
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.store import runs as rows


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000 * SECOND_NS

    def now_ns(self) -> int:
        return self.now

    def monotonic_s(self) -> float:
        return self.now / SECOND_NS


def last(store: Store, id: str, name: str = "m") -> float:
    return get_run(id, store=store).metrics[name]


def values(store: Store, id: str, *, superseded: bool = False) -> list[float]:
    with store.snapshot() as snapshot:
        return snapshot.series(to_bytes(id), "m", superseded=superseded).values.tolist()


@pytest.mark.parametrize("settle_between", [False, True])
def test_a_zombie_changes_neither_series_nor_last_values(store: Store, settle_between: bool):
    id = new_id()
    old, new = Writer(store.journals), Writer(store.journals)
    with store.command() as tx:
        first = leases.claim(tx, id, "old", ttl_s=-1)
        leases.join(tx, id, old.id)
    for step in range(100):
        old.log(to_bytes(id), first, {"m": float(step)}, step)
    if settle_between:
        store.settle()
    with store.command(runs=[id]) as tx:
        second = leases.claim(tx, id, "new", ttl_s=60, from_step=80)
    assert last(store, id) == 79.0, "values of the rewound steps must not stand as the last ones"
    for step in range(80, 120):
        new.log(to_bytes(id), second, {"m": -float(step)}, step)
        old.log(to_bytes(id), first, {"m": 7e7}, step + 1000)
        old.log(to_bytes(id), first, {"m": 7e7})
    wanted = [*map(float, range(80)), *(-float(step) for step in range(80, 120))]
    assert values(store, id) == wanted, "overlay"
    store.settle()
    assert values(store, id) == wanted, "settled"
    assert last(store, id) == -119.0
    assert len(values(store, id, superseded=True)) == 20 + 80, "hidden points stay readable"
    with pytest.raises(StaleLease), store.command(runs=[id]) as tx:
        leases.guard(tx, id, first)


def test_points_of_an_older_epoch_before_the_checkpoint_count_whenever_they_arrive(store: Store):
    id = new_id()
    late, new = Writer(store.journals), Writer(store.journals)
    with store.command() as tx:
        first = leases.claim(tx, id, "old", ttl_s=-1)
        second = leases.claim(tx, id, "new", ttl_s=60, from_step=10)
    for step in range(10, 20):
        new.log(to_bytes(id), second, {"m": float(step)}, step)
    store.settle()
    for step in range(15):
        late.log(to_bytes(id), first, {"m": float(step)}, step)
    store.settle()
    assert values(store, id) == [float(step) for step in range(20)]
    assert last(store, id) == 19.0
    assert get_run(id, store=store).summaries[0].points == 20


def test_facts_of_three_epochs_in_any_order_of_arrival_give_the_same_run(store: Store, tmp_path: Path):
    """Each writer's journal arrives whole, in each possible order."""
    id, outside = new_id(), tmp_path / "outside"
    outside.mkdir()
    with store.command() as tx:
        for epoch, from_step in ((1, None), (2, 50), (3, 30)):
            assert leases.claim(tx, id, f"holder{epoch}", ttl_s=-1, from_step=from_step) == epoch
    writers = {epoch: Writer(outside) for epoch in (1, 2, 3)}
    dice = random.Random(3)
    for epoch, start, stop in ((1, 0, 70), (2, 50, 65), (3, 30, 40)):
        for step in range(start, stop):
            writers[epoch].log(to_bytes(id), epoch, {"m": epoch * 1000.0 + step, "n": dice.random()}, step)
    writers[1].fact(to_bytes(id), 1, PARAMS, {"from": 1})
    writers[3].fact(to_bytes(id), 3, PARAMS, {"from": 3})
    writers[1].fact(to_bytes(id), 1, END, End(status="failed"))
    for writer in writers.values():
        writer.close()
    seen = []
    for number, order in enumerate(permutations((1, 2, 3))):
        store.database.checkpoint()
        shutil.copytree(store.folder, tmp_path / f"copy{number}")
        copy = open_store(tmp_path / f"copy{number}")
        for epoch in order:
            name = f"{writers[epoch].id}-000000.log"
            shutil.copy(outside / name, copy.journals / name)
            copy.settle()
        read = get_run(id, store=copy)
        seen.append((values(copy, id), read.metrics, read.params, read.status, [s.points for s in read.summaries]))
        copy.close()
    assert all(one == seen[0] for one in seen)
    assert seen[0][0] == [*(1000.0 + step for step in range(30)), *(3000.0 + step for step in range(30, 40))]
    assert seen[0][3] == "lost", "how epoch 1 ended says nothing about epoch 3, whose writer is gone"


def test_a_lease_is_held_by_one_and_taken_over_when_it_ran_out(tmp_path: Path, migrated: Path):
    shutil.copytree(migrated, tmp_path / "clocked")
    clock = Clock()
    store = open_store(tmp_path / "clocked", clock=clock)
    id = new_id()
    with store.command() as tx:
        first = leases.claim(tx, id, "one", ttl_s=30)
    with pytest.raises(Conflict, match="is held by one"), store.command() as tx:
        leases.claim(tx, id, "two", ttl_s=30)
    clock.now += 29 * SECOND_NS
    with store.command() as tx:
        leases.renew(tx, id, first, 30)
    clock.now += 29 * SECOND_NS
    with pytest.raises(Conflict), store.command() as tx:
        leases.claim(tx, id, "two", ttl_s=30)
    clock.now += 2 * SECOND_NS
    with store.command() as tx:
        second = leases.claim(tx, id, "two", ttl_s=30)
    assert second == first + 1
    for guarded in (leases.guard, leases.release):
        with pytest.raises(StaleLease), store.command() as tx:
            guarded(tx, id, first)
    with pytest.raises(StaleLease), store.command() as tx:
        leases.renew(tx, id, first, 30)
    store.close()


def test_a_refused_command_leaves_nothing_behind(store: Store):
    leased = start_leased("e", store=store, kind="trial")
    with store.command() as tx:
        leases.take_over(tx, leased.id, "thief", from_step=0)
    leased.log({"m": 1.0}, step=0)
    with pytest.raises(StaleLease):
        leased.finish()
    assert get_run(leased.id, store=store).status != "finished"
    assert values(store, leased.id) == []


def test_a_takeover_of_a_run_that_started_again_hides_all_of_it(store: Store):
    leased = start_leased("e", store=store, kind="trial", params={"x": 1})
    for _ in range(5):
        leased.log({"m": 1.0})
    leased.let_go()
    with store.command(runs=[leased.id]) as tx:
        leases.release(tx, leased.id, leased.token)
    again = claim_leased(leased.id, store=store, from_step=0)
    assert get_run(leased.id, store=store).metrics == {}
    for i in range(3):
        again.log({"m": float(i)})
    again.finish()
    read = get_run(leased.id, store=store)
    assert read.series("m").steps.tolist() == [0, 1, 2]
    assert read.series("m").values.tolist() == [0.0, 1.0, 2.0]
    assert read.params == {"x": 1}
    assert (read.status, read.record.epoch) == ("finished", 2)


def test_a_wide_run_takes_back_values_from_chunks_and_blocks(store: Store):
    id, wide = new_id(), 700
    writer = Writer(store.journals)
    with store.command() as tx:
        token = leases.claim(tx, id, "one", ttl_s=-1)
    for step in range(400):
        writer.log(to_bytes(id), token, {f"m{i}": float(step + i) for i in range(wide)}, step)
    writer.log(to_bytes(id), token, {"m": 1.0}, 0)
    store.settle()
    with store.command() as tx:
        leases.claim(tx, id, "two", ttl_s=60, from_step=123)
    read = get_run(id, store=store)
    assert read.metrics == {**{f"m{i}": 122.0 + i for i in range(wide)}, "m": 1.0}
    assert {s.points for s in read.summaries if s.name != "m"} == {123}


def test_facts_after_a_takeover_do_not_count_and_are_kept(store: Store):
    id = new_id()
    old = Writer(store.journals)
    with store.command() as tx:
        token = leases.claim(tx, id, "one", ttl_s=-1)
    old.fact(to_bytes(id), token, START, Start(experiment="e", params={"x": 1}))
    old.fact(to_bytes(id), token, PARAMS, {"y": 1})
    with store.command() as tx:
        leases.claim(tx, id, "two", ttl_s=60, from_step=0)
    old.fact(to_bytes(id), token, PARAMS, {"x": 2})
    old.fact(to_bytes(id), token, END, End(status="finished"))
    read = get_run(id, store=store)
    assert read.params == {"x": 1, "y": 1}
    assert read.status == "running"
    kept = store.database.connect().execute("select what, reason from kept_fact order by sequence").fetchall()
    assert kept == [("params", "superseded"), ("end", "superseded")]


def test_end_of_a_leased_run_is_refused_to_the_old_token(store: Store):
    leased = start_leased("e", store=store, kind="job")
    with store.command() as tx:
        token = leases.take_over(tx, leased.id, "two", from_step=None)
    with pytest.raises(StaleLease), store.command() as tx:
        rows.end_leased(tx, leased.id, leased.token, "finished")
    with store.command() as tx:
        rows.end_leased(tx, leased.id, token, "finished")
    assert get_run(leased.id, store=store).status == "finished"


def test_a_leased_run_that_failed_says_of_what(store: Store):
    with pytest.raises(ValueError), start_leased("e", store=store, kind="job") as leased:
        raise ValueError("no data")
    read = get_run(leased.id, store=store)
    assert (read.status, read.error) == ("failed", "ValueError: no data")
