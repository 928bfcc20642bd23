"""Laws of every sampler, and what TPE makes of rows. Densities: see test_parzen. Quality: see test_quality."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stratal.core.errors import Misuse
from stratal.tuning.samplers.known import plan_of
from stratal.tuning.samplers.port import Row, SamplerPlan
from stratal.tuning.samplers.random import Random
from stratal.tuning.samplers.tpe import TPE, split
from stratal.tuning.space import as_space, choice, integers, log_integers, log_uniform, uniform

SPACE = as_space(
    {
        "a": uniform(-5, 5),
        "b": log_uniform(1e-5, 1),
        "c": integers(1, 30),
        "d": log_integers(2, 512),
        "e": choice("x", "y", "z"),
        "f": choice(True, 1),
    }
)
PLANS = [Random(), TPE(startup=4), TPE(startup=1, candidates=1)]
plans = pytest.mark.parametrize("plan", PLANS, ids=["random", "tpe", "tpe of one candidate"])


@some.composite
def histories(draw, max_size=40):
    """Rows with numbers 0..n-1, some still running, with params as a random sampler drew them."""
    n = draw(some.integers(0, max_size))
    params = Random().build(SPACE, draw(some.integers(0, 1000))).ask(n, [])
    losses = some.one_of(some.floats(-10, 10), some.sampled_from([0.0, math.inf, -math.inf]))
    rows = []
    for number in range(n):
        status = draw(some.sampled_from(["finished", "finished", "finished", "stopped", "failed", "running"]))
        loss = draw(losses) if status in ("finished", "stopped") else None
        rows.append(Row(number=number, params=params[number], status=status, loss=loss, step=3 if status == "stopped" else None))
    return [row for row in rows if row.status != "running"], [row for row in rows if row.status == "running"]


@plans
@settings(max_examples=25)
@given(histories(), some.integers(0, 2**40), some.integers(1, 4))
def test_proposals_lie_in_the_space_with_its_types(plan, history, seed, k):
    told, pending = history
    sampler = plan.build(SPACE, seed)
    sampler.tell(told)
    proposals = sampler.ask(k, pending)
    assert len(proposals) == k
    for params in proposals:
        SPACE.check(params)
        assert list(params) == [name for name, _ in SPACE.dimensions]


@plans
@settings(max_examples=25)
@given(histories(), some.randoms(use_true_random=False))
def test_the_order_and_the_portions_of_telling_do_not_matter(plan, history, random):
    told, pending = history
    whole = plan.build(SPACE, 7)
    whole.tell(told)
    shuffled, other = random.sample(told, len(told)), plan.build(SPACE, 7)
    cut = random.randint(0, len(told))
    other.tell(shuffled[:cut])
    other.tell(shuffled[cut:])
    assert whole.ask(2, pending) == other.ask(2, random.sample(pending, len(pending)))


@plans
def test_asking_again_says_the_same_and_the_seed_decides(plan):
    rows = finished(20)
    one, same, other = (plan.build(SPACE, seed) for seed in (1, 1, 2))
    for sampler in (one, same, other):
        sampler.tell(rows)
    assert one.ask(1, []) == one.ask(1, []) == same.ask(1, [])
    assert one.ask(1, []) != other.ask(1, [])


@plans
def test_a_batch_equals_its_proposals_taken_one_by_one(plan):
    sampler = plan.build(SPACE, 3)
    sampler.tell(finished(15))
    pending = []
    for number in range(15, 18):
        pending.append(Row(number=number, params=sampler.ask(1, pending)[0], status="running"))
    assert sampler.ask(3, []) == [row.params for row in pending]


@plans
def test_a_plan_describes_itself_and_differs_from_others(plan):
    assert isinstance(plan, SamplerPlan)
    assert plan.describe() not in [p.describe() for p in PLANS if p is not plan]


def finished(n):
    params = Random().build(SPACE, 0).ask(n, [])
    return [Row(number=i, params=p, status="finished", loss=abs(p["a"]) + p["c"]) for i, p in enumerate(params)]


def test_tpe_is_random_until_enough_has_ended_and_failures_do_not_count():
    tpe, random = TPE(startup=5).build(SPACE, 0), Random().build(SPACE, 0)
    rows = finished(5)
    failed = [Row(number=4, params=rows[4].params, status="failed")]
    for sampler in (tpe, random):
        sampler.tell(rows[:4] + failed)
    assert tpe.ask(1, []) == random.ask(1, [])
    other = TPE(startup=5).build(SPACE, 0)
    other.tell(rows)
    assert other.ask(1, []) != random.ask(1, [])


def test_what_is_being_tried_pushes_proposals_away():
    space = as_space({"x": uniform(0, 1)})
    rows = [Row(number=i, params={"x": i / 39}, status="finished", loss=abs(i / 39 - 0.5)) for i in range(40)]

    def nearest(pending):
        found = []
        for seed in range(30):
            sampler = TPE().build(space, seed)
            sampler.tell(rows)
            found.append(abs(sampler.ask(1, pending)[0]["x"] - 0.5))
        return sum(found)

    crowd = [Row(number=40 + i, params={"x": 0.5 + (i - 5) / 500}, status="running") for i in range(10)]
    assert nearest(crowd) > nearest([])


def test_the_best_tenth_is_finished_before_stopped_and_the_furthest_stopped_first():
    def row(number, status, loss=None, step=None):
        return Row(number=number, params={}, status=status, loss=loss, step=step)

    rows = [row(i, "finished", loss=float(i)) for i in range(2)] + [
        row(9, "stopped", 0.0, 1),
        row(10, "stopped", 5.0, 8),
        row(11, "stopped"),
    ]
    rows += [row(20 + i, "stopped", 9.0, 0) for i in range(26)] + [row(99, "running")]
    assert [rows[i].number for i in range(len(rows)) if split(rows)[i]] == [0, 1, 9, 10]  # a tenth of 31, rounded up
    many = [row(i, "finished", loss=-float(i)) for i in range(1000)]
    assert split(many).sum() == 25
    assert split(many)[-25:].all()
    assert not split([]).any()


def test_a_plan_of_nothing_is_misuse():
    with pytest.raises(Misuse, match="1 or more"):
        TPE(startup=0)


def test_a_plan_is_made_again_from_its_description_and_a_foreign_one_is_named():
    for plan in PLANS:
        assert plan_of(plan.describe()) == plan
    foreign = plan_of("my own")
    assert foreign.describe() == "my own"
    with pytest.raises(Misuse, match="my own"):
        foreign.build(SPACE, 0)
