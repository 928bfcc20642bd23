"""Drift between profiles: measures against scipy and brute force, bounds, false alarms. Excludes: stores."""

import math

import numpy as np
import polars as pl
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.core.errors import Misuse
from stratal.data import DriftLimits, compare, profile_frame
from stratal.data.chance import chi_square_quantile, ks_bound, psi_bound
from stratal.data.drift import align, group, ks, psi
from stratal.data.findings import from_drift
from stratal.data.sketch import sketch_numbers

values = st.lists(st.floats(allow_nan=False) | st.integers(-3, 3).map(float), min_size=1, max_size=60)
counts = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=20)


def drift(before, now, **options):
    (found,) = compare(profile_frame(pl.DataFrame({"x": before})), profile_frame(pl.DataFrame({"x": now})), **options)
    return found


@given(values, values)
@settings(max_examples=60)
def test_ks_of_few_values_equals_scipy(a, b):
    assert drift(a, b).measure("ks").effect == pytest.approx(scipy.stats.ks_2samp(a, b, method="asymp").statistic, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0])
def test_ks_of_many_values_is_within_the_fullest_bucket_of_scipy(shift):
    random = np.random.default_rng(7)
    a, b = random.normal(5, 1, 20_000), random.normal(5 + shift, 1, 30_000)
    exact = scipy.stats.ks_2samp(a, b, method="asymp").statistic
    aligned = align(sketch_numbers(a), sketch_numbers(b))
    error = max(side.max() / side.sum() for side in aligned)
    found = ks(*aligned)
    assert exact - error <= found <= exact + 1e-12
    assert error < 0.05


@given(values, values)
@settings(max_examples=60)
def test_measures_are_symmetric_bounded_and_zero_on_the_same_profile(a, b):
    one, other = drift(a, b), drift(b, a)
    for name in ("ks", "psi", "nulls"):
        first, second = one.measure(name), other.measure(name)
        assert (first is None) == (second is None)
        if first and second:
            assert first.effect == pytest.approx(second.effect, abs=1e-9)
            assert first.effect >= 0
            assert name == "psi" or first.effect <= 1 + 1e-12
    assert {m.effect for m in drift(a, a).measures} == {0.0}


@given(counts.filter(lambda pairs: all(sum(side) for side in zip(*pairs, strict=True))))
def test_psi_equals_the_sum_over_bins(pairs):
    a, b = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    total = 0.0
    for x, y in zip(a, b, strict=True):
        p, q = max(x / a.sum(), 0.01), max(y / b.sum(), 0.01)
        total += (p - q) * math.log(p / q)
    assert psi(a, b) == pytest.approx(total, abs=1e-12)
    assert psi(a, b) >= 0


@given(values, values)
@settings(max_examples=60)
def test_bins_keep_every_value(a, b):
    before, now = group(*align(sketch_numbers(np.array(a)), sketch_numbers(np.array(b))))
    assert (before.sum(), now.sum()) == (len(a), len(b))
    assert (before + now > 0).all()
    assert len(before) <= 10


@given(st.floats(0.0001, 0.9999), st.integers(1, 60))
@settings(max_examples=60)
def test_the_chi_square_quantile_equals_scipy(q, degrees):
    assert chi_square_quantile(q, degrees) == pytest.approx(scipy.stats.chi2.ppf(q, degrees), rel=1e-8)


def test_the_ks_bound_is_the_asymptotic_quantile():
    n, m, alpha = 5000, 4000, 0.001
    quantile = scipy.stats.kstwobign.isf(alpha) * math.sqrt(1 / n + 1 / m)
    assert ks_bound(n, m, alpha) == pytest.approx(quantile, rel=1e-3)
    assert ks_bound(1, 1, alpha) == 1.0


def test_one_bin_cannot_move():
    assert psi_bound(10, 10, 1, 0.01) == 0.0


def test_a_move_needs_both_size_and_more_than_chance():
    random = np.random.default_rng(1)
    large = [random.normal(shift, 1, 200_000) for shift in (0, 0.02)]
    small = [random.normal(shift, 1, 12) for shift in (0, 0.3)]
    real = [random.normal(shift, 1, 2000) for shift in (0, 1)]
    assert drift(*large).measure("ks").effect > drift(*large).measure("ks").bound  # "significant", and of no matter
    assert not drift(*large).is_moved
    assert drift(*small).measure("ks").effect > 0.1  # of size, and nothing but noise
    assert not drift(*small).is_moved
    assert drift(*real).is_moved


def test_values_that_lie_wholly_elsewhere_are_disjoint_and_have_no_psi():
    found = drift(list(range(1, 7)) * 100, list(range(7, 13)) * 100)
    assert found.is_disjoint
    assert found.measure("psi") is None
    assert str(from_drift(found, "warn")) == "! x: shares no value with the reference, median 3 → 9"


def test_categories_that_share_nothing_are_disjoint():
    found = drift(["a", "b"] * 100, ["c", "d"] * 100)
    assert found.is_disjoint
    assert found.measures[-1].name == "nulls"


def test_a_moved_category_is_found_and_said():
    found = drift(["a"] * 500 + ["b"] * 500, ["a"] * 100 + ["b"] * 900)
    message = str(from_drift(found, "error"))
    assert message.startswith("✕ x: has moved: PSI 0.88 (")
    assert message.endswith('most often "a" → "b"')


def test_rare_values_do_not_hide_a_move_of_frequent_ones():
    rare = [f"rare{i}" for i in range(120)] * 2
    found = drift(["a"] * 600 + ["b"] * 360 + rare, ["a"] * 360 + ["b"] * 600 + rare)
    assert found.measure("psi").effect == pytest.approx(2 * 0.2 * math.log(5 / 3), abs=1e-12)
    assert found.is_moved


def test_a_constant_column_that_changes_is_found():
    assert drift([0.0] * 500, [0.0] * 250 + [1.0] * 250).is_moved
    assert drift([0.0] * 500, [1.0] * 500).is_disjoint
    assert not drift([0.0] * 500, [0.0] * 300).is_moved


def test_identifiers_are_not_compared():
    found = drift([f"C{i}" for i in range(1000)], [f"D{i}" for i in range(1000)])
    assert not found.is_moved
    assert "identifiers" in found.reason


def test_a_category_that_explodes_is_found():
    found = drift(["a", "b"] * 3000, [f"{i}" for i in range(6000)])
    assert found.is_moved
    assert "too many" in str(from_drift(found, "warn"))


def test_rising_nulls_are_found_and_said():
    found = drift([1.0, 2.0] * 500, [None] * 300 + [1.0, 2.0] * 350)
    assert str(from_drift(found, "warn")) == "! x: without a value in 0.0% → 30.0% of rows"


@pytest.mark.parametrize("now", [[], [None], [math.nan], ["a"]])
def test_what_cannot_be_compared_says_why(now):
    before = pl.Series([1.0, 2.0])
    found = drift(before, pl.Series(now, dtype=pl.String if now in ([], ["a"]) else pl.Float64))
    assert found.reason
    assert found.measure("psi") is None


def test_infinities_are_compared_like_other_values():
    found = drift([1.0] * 100 + [math.inf] * 100, [1.0] * 100 + [-math.inf] * 100)
    assert found.measure("ks").effect == pytest.approx(0.5)


def test_limits_out_of_range_are_refused():
    with pytest.raises(Misuse):
        DriftLimits(false_alarms=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "m", "shape"),
    [
        *((50, 50, shape) for shape in ("normal", "integer", "zeros", "category")),
        *((2000, 700, shape) for shape in ("normal", "category")),
        (400, 400, "integer"),
        (50, 5000, "zeros"),
    ],
)
def test_without_drift_false_alarms_stay_below_their_rate(n, m, shape):
    """At limits of 0, so that only the bounds of chance speak; 200 pairs at 5 %: 22 or more have p < 0.0006 if the rate holds."""
    random = np.random.default_rng(n + m)
    make = {
        "normal": lambda k: random.normal(size=k),
        "integer": lambda k: random.poisson(2, k),
        "zeros": lambda k: np.where(random.random(k) < 0.7, 0.0, random.exponential(size=k)),
        "category": lambda k: np.array([f"c{i}" for i in random.choice(9, k, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.02, 0.01, 0.01, 0.01])]),
    }[shape]
    limits = DriftLimits(psi=0, ks=0, nulls=0, false_alarms=0.05)
    alarms = sum(drift(make(n), make(m), limits=limits).is_moved for _ in range(200))
    assert alarms < 22
