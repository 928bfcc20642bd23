"""Metric kernels against scikit-learn, within 1e-12. Not here: intervals, groups, the report."""

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.core.errors import Misuse
from stratal.evaluation.metrics import METRICS, compute, confusion, metric_named, undefined_because, value
from stratal.evaluation.sample import Cells, Sample, sample

TIGHT = {"rel": 1e-12, "abs": 1e-12}


def rows(seed: int, n: int, *, levels: int | None = None, weighted: bool = False) -> Sample:
    random = np.random.default_rng(seed)
    labels = random.random(n) < 0.3
    scores = 1 / (1 + np.exp(-(random.standard_normal(n) + labels - 1)))
    if levels:
        scores = np.round(scores * levels) / levels
    return sample(labels, scores, random.integers(0, 4, n).astype(float) if weighted else None)


def sklearn_values(r: Sample, threshold: float) -> dict[str, float]:
    y, s, w = r.labels, r.scores, r.weights
    called = s >= threshold
    table = oracle.confusion_matrix(y, called, sample_weight=w)
    return {
        "auc": oracle.roc_auc_score(y, s, sample_weight=w),
        "average_precision": oracle.average_precision_score(y, s, sample_weight=w),
        "log_loss": oracle.log_loss(y, s, sample_weight=w),
        "brier": oracle.brier_score_loss(y, s, sample_weight=w),
        "accuracy": oracle.accuracy_score(y, called, sample_weight=w),
        "balanced_accuracy": oracle.balanced_accuracy_score(y, called, sample_weight=w),
        "precision": oracle.precision_score(y, called, sample_weight=w),
        "recall": oracle.recall_score(y, called, sample_weight=w),
        "specificity": oracle.recall_score(~y, ~called, sample_weight=w),
        "false_positive_rate": table[0, 1] / table[0].sum(),
        "false_negative_rate": table[1, 0] / table[1].sum(),
        "f1": oracle.f1_score(y, called, sample_weight=w),
        "mcc": oracle.matthews_corrcoef(y, called, sample_weight=w),
        "selection_rate": np.average(called, weights=w),
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("levels", [None, 1, 7])
@pytest.mark.parametrize("n", [40, 500, 5000])
def test_every_metric_equals_scikit_learn(n, levels, weighted):
    judged = rows(n, n, levels=levels, weighted=weighted)
    expected = sklearn_values(judged, 0.4)
    assert set(expected) == set(METRICS)
    for name, wanted in expected.items():
        assert value(name, judged, threshold=0.4) == pytest.approx(wanted, **TIGHT), name


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_certain_and_wrong_costs_what_scikit_learn_says(score):
    judged = sample([True, False, True], [score, score, 0.5])
    assert value("log_loss", judged) == pytest.approx(oracle.log_loss(judged.labels, judged.scores), rel=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_weights_are_repeated_rows_and_order_does_not_matter(drawn, shuffler):
    repeated = [(label, level) for label, level, times in drawn for _ in range(times)]
    shuffler.shuffle(repeated)
    weighted = sample([d[0] for d in drawn], [d[1] / 8 for d in drawn], [float(d[2]) for d in drawn])
    plain = sample([d[0] for d in repeated], [d[1] / 8 for d in repeated])
    for name in METRICS:
        left, right = value(name, weighted, threshold=0.5), value(name, plain, threshold=0.5)
        assert (left is None) == (right is None)
        if left is not None:
            assert left == pytest.approx(right, **TIGHT), name


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=12), st.floats(0, 1))
def test_a_metric_has_a_finite_value_or_a_reason(drawn, threshold):
    judged = sample([d[0] for d in drawn], [d[1] for d in drawn])
    for name, metric in METRICS.items():
        found = value(name, judged, threshold=threshold)
        reason = undefined_because(metric, judged.cells, threshold)
        assert (found is None) == (reason is not None)
        assert found is None or np.isfinite(found)
        assert reason is None or len(reason) > 8


@pytest.mark.parametrize(
    ("labels", "scores", "name", "words"),
    [
        ([], [], "accuracy", "no rows"),
        ([0, 0], [0.1, 0.9], "auc", "no positive rows"),
        ([1, 1], [0.1, 0.9], "auc", "no negative rows"),
        ([0, 0], [0.1, 0.9], "recall", "no positive rows"),
        ([1, 0], [0.1, 0.2], "precision", "every row is called negative"),
        ([1, 0], [0.7, 0.8], "mcc", "every row is called positive"),
        ([1, 0], [1.7, 0.8], "brier", "outside [0, 1]"),
        ([1, 0], [1.7, 0.8], "log_loss", "outside [0, 1]"),
    ],
)
def test_undefined_is_null_and_says_why(labels, scores, name, words):
    judged = sample(labels, scores)
    assert value(name, judged) is None
    assert words in (undefined_because(METRICS[name], judged.cells, 0.5) or "")


def test_a_row_at_the_threshold_is_called_positive():
    counts = confusion(sample([1, 0, 1, 0], [0.5, 0.5, 0.4, 0.4]).cells, 0.5)
    assert (float(counts.tp), float(counts.fp), float(counts.fn), float(counts.tn)) == (1, 1, 1, 1)


def test_negative_zero_and_zero_are_one_score():
    assert len(sample([1, 0], [0.0, -0.0]).cells.scores) == 1


def test_kernels_keep_leading_axes():
    judged = rows(3, 200, levels=9)
    doubled = Cells(
        judged.cells.scores, np.stack([judged.cells.positives, judged.cells.positives * 2]), np.stack([judged.cells.negatives] * 2)
    )
    for name, metric in METRICS.items():
        both = compute(metric, doubled, 0.5)
        assert both.shape == (2,)
        assert both[0] == pytest.approx(value(name, judged), **TIGHT)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_merged_cells_keep_all_weight_and_the_mean_score(seed, at_most):
    cells = rows(seed, 100).cells
    merged = cells.merged(at_most)
    assert len(merged.scores) <= max(at_most, 1)
    assert merged.total == pytest.approx(cells.total, **TIGHT)
    assert (np.diff(merged.scores) > 0).all()
    both = merged.positives + merged.negatives
    assert (both * merged.scores).sum() == pytest.approx(((cells.positives + cells.negatives) * cells.scores).sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "words"),
    [
        ([1, 0], [0.1], None, "do not belong together"),
        ([1, 0], [0.1, float("nan")], None, "NaN or infinite"),
        ([1, 0], [0.1, float("inf")], None, "NaN or infinite"),
        ([1, 0], [0.1, 0.2], [1.0, -1.0], "not negative"),
        ([1, 2], [0.1, 0.2], None, "0/1"),
        (["Yes", "No"], [0.1, 0.2], None, "0/1"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(labels, scores, weights, words):
    with pytest.raises(Misuse, match=words):
        sample(labels, scores, weights)


def test_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(Misuse, match="average_precision"):
        metric_named("aux")
