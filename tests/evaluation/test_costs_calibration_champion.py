"""KPIs and thresholds, calibration, and the paired comparison with a champion."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score

from stratal.core.errors import Misuse
from stratal.evaluation.calibration import calibrate
from stratal.evaluation.champion import Pair, compare, compare_kpi, compare_metric, paired_delong_error
from stratal.evaluation.costs import best_threshold, curve, kpi, measure_kpi
from stratal.evaluation.estimates import Terms
from stratal.evaluation.metrics import METRICS, value
from stratal.evaluation.sample import sample

PROFIT = kpi("campaign profit", true_positive=110.0, false_positive=-15.0, unit="EUR")
ODD = kpi("odd", true_positive=3.0, false_positive=-2.0, false_negative=-5.0, true_negative=1.0)


def drawn(seed, n=400, noise=1.0):
    random = np.random.default_rng(seed)
    labels = random.random(n) < 0.3
    x = random.standard_normal(n) + labels
    other = x + noise * random.standard_normal(n)
    squash = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    return labels, squash(x - 1), squash(other - 1)


def brute_worth(of, labels, scores, threshold):
    called = scores >= threshold
    return (
        of.true_positive * (labels & called).sum()
        + of.false_positive * (~labels & called).sum()
        + of.false_negative * (labels & ~called).sum()
        + of.true_negative * (~labels & ~called).sum()
    )


# --- KPIs ---


@settings(max_examples=80)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40), st.sampled_from([PROFIT, ODD]))
def test_the_best_threshold_earns_what_no_other_beats(rows, of):
    labels, scores = np.array([r[0] for r in rows]), np.array([r[1] / 9 for r in rows])
    judged = sample(labels, scores)
    threshold = best_threshold(of, judged)
    every = [brute_worth(of, labels, scores, cut) for cut in [*scores, 2.0]]
    assert brute_worth(of, labels, scores, threshold) == pytest.approx(max(every))
    found = measure_kpi(of, judged, Terms(threshold=threshold), was_chosen=True)
    assert found.value == pytest.approx(max(every))
    assert found.low <= found.value <= found.high
    assert found.optimism >= 0
    assert max(curve(of, judged, points=5).values) == pytest.approx(max(every))


def test_a_kpi_at_a_given_threshold_equals_brute_force():
    labels, scores, _ = drawn(1)
    for threshold in (0.0, 0.2, float(scores[7]), 0.9, 2.0):
        found = measure_kpi(ODD, sample(labels, scores), Terms(threshold=threshold), was_chosen=False)
        assert found.value == pytest.approx(brute_worth(ODD, labels, scores, threshold))
        assert found.optimism is None
    assert found.everybody == pytest.approx(brute_worth(ODD, labels, scores, 0.0))
    assert found.nobody == pytest.approx(brute_worth(ODD, labels, scores, 2.0))


@pytest.mark.parametrize("low", [0.3, float(np.nextafter(0.3, 1.0)), 0.7, float(np.nextafter(0.7, 1.0))])
def test_a_threshold_between_neighbouring_floats_keeps_them_apart(low):
    """Both roundings of the midpoint occur: a float whose last bit is 0, and its neighbour."""
    high = np.nextafter(low, 1.0)
    judged = sample([1, 0, 0], [high, low, 0.1])
    threshold = best_threshold(kpi("k", true_positive=1, false_positive=-1), judged)
    assert low < threshold <= high


def test_when_acting_never_pays_nobody_is_called_positive():
    judged = sample([0, 0], [0.4, 0.9])
    threshold = best_threshold(PROFIT, judged)
    assert threshold > 0.9
    assert math.isfinite(threshold)
    assert measure_kpi(PROFIT, judged, Terms(threshold=threshold), was_chosen=True).value == 0


@pytest.mark.slow
def test_optimism_is_what_choosing_on_the_same_rows_flatters():
    """The chosen threshold's profit on its own rows, less its profit on fresh rows, averaged over 300 samples."""
    flattery, told = [], []
    fresh_labels, fresh_scores, _ = drawn(999_999, n=400_000)
    for seed in range(300):
        labels, scores, _ = drawn(seed, n=150)
        judged = sample(labels, scores)
        threshold = best_threshold(PROFIT, judged)
        found = measure_kpi(PROFIT, judged, Terms(threshold=threshold), was_chosen=True)
        flattery.append(found.value - brute_worth(PROFIT, fresh_labels, fresh_scores, threshold) * 150 / 400_000)
        told.append(found.optimism)
    error = np.std(flattery) / math.sqrt(len(flattery))
    assert np.mean(flattery) > 0
    assert abs(np.mean(told) - np.mean(flattery)) < 3 * error + 0.3 * np.mean(flattery)


@pytest.mark.parametrize("name", ["", "\n", "x" * 501])
def test_a_kpi_needs_a_name_that_can_be_printed(name):
    with pytest.raises(Misuse, match="KPI"):
        kpi(name, true_positive=1, false_positive=0)


def test_a_kpi_that_is_not_finite_is_refused():
    with pytest.raises(Misuse, match="not finite"):
        kpi("k", true_positive=math.nan, false_positive=0)


def test_a_threshold_cannot_be_chosen_without_rows():
    with pytest.raises(Misuse, match="no rows"):
        best_threshold(PROFIT, sample([], []))


# --- calibration ---


def test_bins_equal_scikit_learn_quantile_bins():
    labels, scores, _ = drawn(3, n=1000)
    happened, said = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    found = calibrate(sample(labels, scores), confidence=0.95, seed=0)
    assert [bin.said for bin in found.bins] == pytest.approx(said.tolist(), abs=1e-12)
    assert [bin.happened for bin in found.bins] == pytest.approx(happened.tolist(), abs=1e-12)
    assert found.error.value == pytest.approx(np.mean(np.abs(happened - said)), abs=1e-12)
    assert found.error.reason


def test_a_calibrated_model_stays_below_chance_and_a_bold_one_does_not():
    random = np.random.default_rng(5)
    p = random.beta(2, 5, 4000)
    labels = random.random(4000) < p
    fair, bold = (calibrate(sample(labels, scores), confidence=0.95, seed=0) for scores in (p, p**2 / (p**2 + (1 - p) ** 2)))
    assert fair.error.value < fair.by_chance < bold.error.value
    assert fair.p > 0.01
    assert bold.p < 1e-6


@pytest.mark.slow
def test_chance_is_exceeded_by_one_in_twenty_calibrated_models():
    random = np.random.default_rng(6)
    exceeded = below = 0
    for _ in range(400):
        p = random.beta(2, 5, 400)
        found = calibrate(sample(random.random(400) < p, p), confidence=0.95, seed=0)
        exceeded += found.error.value > found.by_chance
        below += found.p < 0.05
    assert 6 <= exceeded <= 36
    assert 6 <= below <= 36


@pytest.mark.parametrize(("labels", "scores"), [([], []), ([1, 0], [3.0, -1.0])])
def test_what_is_no_probability_has_no_calibration(labels, scores):
    found = calibrate(sample(labels, scores), confidence=0.95, seed=0)
    assert found.bins == ()
    assert found.error.value is None
    assert found.error.reason


# --- the champion ---


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=2, max_size=40))
def test_a_model_against_itself_differs_by_nothing(rows):
    judged = sample([r[0] for r in rows], [r[1] / 9 for r in rows])
    found = compare(Pair(judged, judged, 0.5, 0.5), metrics=tuple(METRICS), kpis=[PROFIT], confidence=0.95, seed=0)
    assert len(found) == len(METRICS) + 1
    for name, entry in found.items():
        if entry.value is None or entry.p is None:
            assert entry.reason, name
            continue
        assert entry.value == entry.low == entry.high == 0, name
        assert entry.p >= 0.99, name


def test_differences_equal_scikit_learn_on_both_models():
    labels, ours, theirs = drawn(2)
    pair = Pair(sample(labels, ours), sample(labels, theirs), 0.4, 0.3)
    for name, function in (("auc", roc_auc_score), ("average_precision", average_precision_score)):
        found = compare_metric(METRICS[name], pair, confidence=0.95, seed=0)
        assert found.value == pytest.approx(function(labels, ours) - function(labels, theirs), abs=1e-12)
    worth = brute_worth(PROFIT, labels, ours, 0.4) - brute_worth(PROFIT, labels, theirs, 0.3)
    assert compare_kpi(PROFIT, pair, confidence=0.95).value == pytest.approx(worth)


def test_the_paired_error_equals_delong_by_definition():
    labels, ours, theirs = drawn(2)
    placed = []
    for scores in (ours, theirs):
        x, y = scores[labels], scores[~labels]
        wins = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
        placed.append((wins.mean(1), wins.mean(0)))
    of_positives = np.cov(placed[0][0], placed[1][0])
    of_negatives = np.cov(placed[0][1], placed[1][1])
    side = np.array([1, -1])
    variance = side @ of_positives @ side / labels.sum() + side @ of_negatives @ side / (~labels).sum()
    assert paired_delong_error(Pair(sample(labels, ours), sample(labels, theirs), 0.5, 0.5)) == pytest.approx(
        math.sqrt(variance), rel=1e-10
    )


def test_weights_are_repeated_rows_in_the_comparison():
    labels, ours, theirs = drawn(2, n=60)
    times = np.random.default_rng(1).integers(1, 4, 60)
    weighted = Pair(sample(labels, ours, times), sample(labels, theirs, times), 0.5, 0.5)
    again = [np.repeat(column, times) for column in (labels, ours, theirs)]
    repeated = Pair(sample(again[0], again[1]), sample(again[0], again[2]), 0.5, 0.5)
    for name in METRICS:
        one, other = (compare_metric(METRICS[name], pair, confidence=0.95, seed=0) for pair in (weighted, repeated))
        assert one.value == pytest.approx(other.value, abs=1e-12), name
        assert one.low == pytest.approx(other.low, abs=1e-9), name


def test_the_worse_model_has_the_mirrored_difference():
    labels, ours, theirs = drawn(2)
    one, other = sample(labels, ours), sample(labels, theirs)
    forward = compare_metric(METRICS["auc"], Pair(one, other, 0.5, 0.5), confidence=0.95, seed=0)
    backward = compare_metric(METRICS["auc"], Pair(other, one, 0.5, 0.5), confidence=0.95, seed=0)
    assert (forward.value, forward.low, forward.p) == pytest.approx((-backward.value, -backward.high, backward.p))


def test_what_is_undefined_for_one_of_both_says_for_which():
    pair = Pair(sample([1, 0], [0.9, 0.1]), sample([1, 0], [0.2, 0.1]), 0.5, 0.5)
    found = compare_metric(METRICS["precision"], pair, confidence=0.95, seed=0)
    assert (found.value, found.ours, found.theirs) == (None, 1.0, None)
    assert found.reason.startswith("champion: every row is called negative")


@pytest.mark.slow
def test_equal_models_are_told_apart_in_one_of_twenty_samples_and_intervals_cover():
    """Two models of equal quality on the same rows, 300 samples: p below 0.05 in 5 % (3 standard errors: 1.2 to 8.8 %).

    Average precision is asked of every fifth: it costs as much as all others together."""
    random = np.random.default_rng(8)
    names = ("auc", "average_precision", "log_loss", "brier", "f1", "accuracy", "recall")
    others = tuple(name for name in names if name != "average_precision")
    below, asked = dict.fromkeys((*names, PROFIT.name), 0), dict.fromkeys((*names, PROFIT.name), 0)
    for turn in range(300):
        labels = random.random(400) < 0.3
        shared = random.standard_normal(400) + 1.2 * labels
        ours, theirs = (1 / (1 + np.exp(-(shared + 0.7 * random.standard_normal(400) - 1))) for _ in range(2))
        pair = Pair(sample(labels, ours), sample(labels, theirs), 0.4, 0.4)
        found = compare(pair, metrics=names if turn % 5 == 0 else others, kpis=[PROFIT], confidence=0.95, seed=0)
        for name, entry in found.items():
            asked[name] += 1
            below[name] += entry.p < 0.05
            assert (entry.p < 0.05) == (entry.low > 0 or entry.high < 0)
    assert all(0.01 <= below[name] / asked[name] <= 0.09 for name in asked if name != "average_precision"), below
    assert below["average_precision"] / asked["average_precision"] <= 0.15


def test_values_of_both_models_are_given():
    labels, ours, theirs = drawn(2)
    pair = Pair(sample(labels, ours), sample(labels, theirs), 0.4, 0.3)
    found = compare_metric(METRICS["f1"], pair, confidence=0.95, seed=0)
    assert found.ours == value("f1", pair.ours, threshold=0.4)
    assert found.theirs == value("f1", pair.theirs, threshold=0.3)
