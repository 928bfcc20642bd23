"""Slices partition the rows; fairness equals Fairlearn, and covers what it says."""

import math
import warnings

import fairlearn.metrics as oracle
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.core.errors import Misuse, NotFound
from stratal.evaluation.estimates import Terms, estimate
from stratal.evaluation.fairness import GAPS, measure_fairness
from stratal.evaluation.metrics import METRICS
from stratal.evaluation.sample import sample
from stratal.evaluation.slices import SLICE_METRICS, Partition, measure_slices, partition

TERMS = Terms(threshold=0.5)
TEXTS = st.one_of(st.none(), st.sampled_from(["a", "b", "B", "", " ", "=", "null", "is null", "é", "\u202e"]))


def groups(codes, names="abcdefghij"):
    return Partition(("group",), tuple(f"group={name}" for name in names[: int(max(codes)) + 1]), np.asarray(codes, dtype=np.int64))


# --- slices ---


@settings(max_examples=60)
@given(st.lists(st.tuples(TEXTS, st.one_of(st.none(), st.integers(-3, 30)), st.booleans(), st.floats(0, 1)), min_size=1, max_size=60))
def test_slices_partition_the_rows(rows):
    frame = pl.DataFrame({"text": [r[0] for r in rows], "number": [r[1] for r in rows]}, schema={"text": pl.String, "number": pl.Int64})
    judged = sample([r[2] for r in rows], [r[3] for r in rows])
    for by in ("text", "number", ["text", "number"]):
        parts = partition(frame, by)
        assert len(set(parts.names)) == len(parts.names)
        assert set(parts.codes.tolist()) == set(range(len(parts.names)))
        found = measure_slices(judged, parts, metrics=("accuracy", "recall"), terms=TERMS)
        assert sum(part.n for part in found) == len(rows)
        assert sum(part.positives for part in found) == sum(r[2] for r in rows)
        right = sum(part.metrics["accuracy"].value * part.n for part in found)
        assert right == pytest.approx(estimate(METRICS["accuracy"], judged, TERMS).value * len(rows))


def test_each_row_is_in_the_slice_of_its_values():
    frame = pl.DataFrame({"contract": ["One year", None, "Two year", "One year"], "senior": [True, False, None, True]})
    parts = partition(frame, ["contract", "senior"])
    assert [parts.names[code] for code in parts.codes] == [
        "contract=One year & senior=true",
        "contract is null & senior=false",
        "contract=Two year & senior is null",
        "contract=One year & senior=true",
    ]


def test_the_slice_of_all_rows_equals_the_whole():
    random = np.random.default_rng(1)
    judged = sample(random.random(200) < 0.4, random.random(200))
    (one,) = measure_slices(judged, partition(pl.DataFrame({"c": ["x"] * 200}), "c"), metrics=SLICE_METRICS, terms=TERMS)
    for name in SLICE_METRICS:
        assert one.metrics[name].value == estimate(METRICS[name], judged, TERMS).value


def test_many_numbers_are_cut_at_their_quartiles_and_few_are_not():
    many = partition(pl.DataFrame({"x": list(range(100))}), "x")
    assert many.names == ("x=0 to <24.75", "x=24.75 to <49.5", "x=49.5 to <74.25", "x=74.25 to 99")
    assert np.bincount(many.codes).tolist() == [25, 25, 25, 25]
    few = partition(pl.DataFrame({"x": [10, 2, 2, 10, 1]}), "x")
    assert few.names == ("x=1", "x=2", "x=10")
    skewed = partition(pl.DataFrame({"x": [0.0] * 90 + [float(i) for i in range(1, 20)] + [math.nan]}), "x")
    assert skewed.names[-1] == "x is null"
    assert np.bincount(skewed.codes).sum() == 110


def test_too_many_slices_are_joined_and_still_partition():
    random = np.random.default_rng(1)
    parts = partition(pl.DataFrame({"id": [f"C{i}" for i in random.integers(0, 10_000, 30_000)]}), "id", at_most=40)
    assert len(parts.names) == 40
    assert parts.names[-1].startswith("id: all others")
    assert np.bincount(parts.codes).sum() == 30_000


@pytest.mark.parametrize(("column", "words"), [("missing", "no column 'missing'"), ("nested", "cannot be grouped"), ([], "needs a column")])
def test_what_cannot_be_sliced_is_refused(column, words):
    with pytest.raises((Misuse, NotFound), match=words):
        partition(pl.DataFrame({"nested": [[1], [2]]}), column)


def test_a_slice_without_one_class_says_so():
    parts = partition(pl.DataFrame({"c": ["x", "x"]}), "c")
    (one,) = measure_slices(sample([0, 0], [0.1, 0.9]), parts, metrics=("auc", "recall"), terms=TERMS)
    assert one.metrics["auc"].value is None
    assert "no positive rows" in one.metrics["recall"].reason


# --- fairness against Fairlearn ---


FAIRLEARN = {
    "demographic_parity_difference": oracle.demographic_parity_difference,
    "demographic_parity_ratio": oracle.demographic_parity_ratio,
    "equalized_odds_difference": oracle.equalized_odds_difference,
    "equalized_odds_ratio": oracle.equalized_odds_ratio,
    "equal_opportunity_difference": oracle.equal_opportunity_difference,
    "equal_opportunity_ratio": oracle.equal_opportunity_ratio,
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_gaps_equal_fairlearn(seed, count, weighted):
    random = np.random.default_rng(seed)
    n = 800
    codes, labels, scores = random.integers(0, count, n), random.random(n) < 0.4, random.random(n)
    weights = random.integers(1, 4, n).astype(float) if weighted else None
    found = measure_fairness(sample(labels, scores, weights), groups(codes), TERMS)
    for name, function in FAIRLEARN.items():
        expected = function(labels, scores >= 0.5, sensitive_features=codes, sample_weight=weights)
        assert found.gaps[name].value == pytest.approx(expected, rel=1e-12, abs=1e-12), name
    rates = {
        "selection_rate": oracle.selection_rate,
        "recall": oracle.true_positive_rate,
        "false_positive_rate": oracle.false_positive_rate,
    }
    frame = oracle.MetricFrame(
        metrics=rates,
        y_true=labels,
        y_pred=scores >= 0.5,
        sensitive_features=codes,
        sample_params=None if weights is None else {name: {"sample_weight": weights} for name in rates},
    )
    for index, group in enumerate(found.groups):
        for rate in rates:
            assert group.rates[rate].value == pytest.approx(frame.by_group[rate][index], rel=1e-12)


def test_where_fairlearn_puts_zero_we_say_undefined():
    codes, labels, scores = [0, 0, 0, 1, 1], [1, 0, 1, 0, 0], [0.9, 0.1, 0.8, 0.7, 0.2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert oracle.equal_opportunity_difference(labels, np.array(scores) >= 0.5, sensitive_features=codes) == 1.0
    found = measure_fairness(sample(labels, scores), groups(codes), TERMS)
    assert found.gaps["equal_opportunity_difference"].value is None
    assert "group=b" in found.gaps["equal_opportunity_difference"].reason
    assert "no positive rows" in found.gaps["equalized_odds_difference"].reason
    assert found.gaps["demographic_parity_difference"].value == pytest.approx(2 / 3 - 1 / 2)
    assert found.groups[1].rates["recall"].reason == "no positive rows"


def test_one_group_has_nothing_to_compare():
    found = measure_fairness(sample([1, 0], [0.9, 0.1]), groups([0, 0]), TERMS)
    assert all(gap.value is None and "nothing to compare" in gap.reason for gap in found.gaps.values())


def test_nobody_called_positive_has_no_ratio():
    found = measure_fairness(sample([1, 0, 1, 0], [0.1] * 4), groups([0, 0, 1, 1]), TERMS)
    assert found.gaps["demographic_parity_difference"].value == 0
    assert found.gaps["demographic_parity_ratio"].value is None
    assert "no ratio" in found.gaps["demographic_parity_ratio"].reason


def test_tiny_groups_are_marked_and_left_out_only_when_asked():
    random = np.random.default_rng(1)
    codes = [0] * 300 + [1] * 300 + [2] * 3
    judged = sample(random.random(603) < 0.5, np.r_[random.random(600), [0.9, 0.9, 0.9]])
    found = measure_fairness(judged, groups(codes), TERMS)
    assert [group.is_tiny for group in found.groups] == [False, False, True]
    assert found.left_out == ()
    asked = measure_fairness(judged, groups(codes), TERMS, smallest_group=30)
    assert asked.left_out == ("group=c",)
    assert asked.left_out_count == 1
    assert [group.name for group in asked.groups] == ["group=a", "group=b", "group=c"]
    assert asked.gaps["demographic_parity_difference"].value < found.gaps["demographic_parity_difference"].value


@pytest.mark.slow
def test_ten_thousand_groups_are_compared_and_a_hundred_listed():
    random = np.random.default_rng(1)
    codes = random.integers(0, 10_000, 60_000)
    parts = Partition(("zip",), tuple(f"zip={code}" for code in range(10_000)), codes)
    found = measure_fairness(sample(random.random(60_000) < 0.5, random.random(60_000)), parts, TERMS)
    assert len(found.groups) == 100
    assert found.group_count == len(np.unique(codes))
    assert found.gaps["demographic_parity_difference"].value == 1.0


def test_gaps_do_not_depend_on_the_order_of_rows_or_on_what_else_is_asked():
    random = np.random.default_rng(1)
    codes, labels, scores = random.integers(0, 3, 500), random.random(500) < 0.4, random.random(500)
    order = random.permutation(500)
    first = measure_fairness(sample(labels, scores), groups(codes), TERMS)
    assert measure_fairness(sample(labels[order], scores[order]), groups(codes[order]), TERMS) == first


def test_a_group_that_was_never_wrong_has_no_interval_of_width_zero():
    found = measure_fairness(sample([1] * 8 + [0] * 8, [0.9] * 8 + [0.1] * 8), groups([0, 1] * 8), TERMS)
    gap = found.gaps["equal_opportunity_difference"]
    assert gap.value == 0
    assert gap.high > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recall", "alarms", "n"),
    [((0.7, 0.7), (0.2, 0.2), 1500), ((0.75, 0.6), (0.2, 0.2), 1500), ((0.8, 0.5), (0.3, 0.15), 300), ((0.7,) * 5, (0.2,) * 5, 2000)],
)
def test_gaps_cover_what_they_say(recall, alarms, n):
    """200 samples: the standard error of a coverage of 95 % is 1.5 %, so that 90.5 % and more are within three of them."""
    random = np.random.default_rng(7)
    truth = {
        "equal_opportunity_difference": max(recall) - min(recall),
        "equalized_odds_difference": max(max(recall) - min(recall), max(alarms) - min(alarms)),
        "false_positive_rate_difference": max(alarms) - min(alarms),
    }
    covered = dict.fromkeys(truth, 0)
    for _ in range(200):
        codes, labels = random.integers(0, len(recall), n), random.random(n) < 0.3
        chance = np.where(labels, np.array(recall)[codes], np.array(alarms)[codes])
        found = measure_fairness(sample(labels, (random.random(n) < chance).astype(float)), groups(codes), TERMS)
        for name, wanted in truth.items():
            covered[name] += found.gaps[name].low <= wanted <= found.gaps[name].high
    assert all(0.905 <= count / 200 <= 0.995 for count in covered.values()), covered


def test_gaps_have_names_and_meanings():
    assert set(FAIRLEARN) <= set(GAPS)
    assert all(gap.title and gap.meaning for gap in GAPS.values())
