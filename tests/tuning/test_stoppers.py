"""Median stopping beside a brute-force reading of its definition, and beside Optuna's pruner."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stratal.core.errors import Misuse
from stratal.tuning.stoppers.median import Median
from stratal.tuning.stoppers.port import Stopper

losses = some.one_of(some.floats(-5, 5), some.sampled_from([0.0, 1.0, float("nan"), float("inf")]))


def brute_force(plan, step, own, peers):
    peers = sorted(p for p in peers if p == p)
    if step < plan.warmup or len(peers) < plan.startup:
        return False
    half = len(peers) // 2
    middle = peers[half] if len(peers) % 2 else (peers[half - 1] + peers[half]) / 2
    better_or_equal = [o for o in own if o == o and o <= middle]
    return not better_or_equal


@given(
    some.integers(1, 4),
    some.integers(0, 4),
    some.integers(0, 6),
    some.lists(losses, min_size=1, max_size=6),
    some.lists(losses, max_size=9),
)
def test_it_stops_when_no_report_is_as_good_as_the_median(startup, warmup, step, own, peers):
    plan = Median(startup=startup, warmup=warmup)
    assert plan.should_stop(step, own, peers) == brute_force(plan, step, own, peers)


@settings(max_examples=60)
@given(
    some.lists(some.lists(some.floats(-5, 5), min_size=3, max_size=3), min_size=3, max_size=8),
    some.lists(some.floats(-5, 5), min_size=3, max_size=3),
)
def test_it_decides_as_optunas_median_pruner(curves, own):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1))
    for curve in curves:
        study.add_trial(optuna.trial.create_trial(value=curve[-1], intermediate_values=dict(enumerate(curve))))
    trial, plan = study.ask(), Median(startup=3, warmup=1)
    for step, loss in enumerate(own):
        trial.report(loss, step)
        assert plan.should_stop(step, own[: step + 1], [curve[step] for curve in curves]) == trial.should_prune()


def test_nobody_to_compare_with_means_go_on():
    assert not Median(startup=1).should_stop(0, [9.0], [])
    assert not Median(startup=1).should_stop(0, [9.0], [float("nan")])


def test_it_is_a_stopper_and_describes_itself():
    assert isinstance(Median(), Stopper)
    assert Median().describe() != Median(warmup=1).describe()
    with pytest.raises(Misuse):
        Median(startup=0)
