"""Profiles and sketches: laws of merging, exactness and error. Excludes: drift."""

import math
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.core.errors import Damaged, Misuse
from stratal.data.profile import ColumnProfile, Profile, profile_batches, profile_frame
from stratal.data.sketch import MOST_VALUES, NumberSketch, ValueCounts, bucket_middles, count_buckets, sketch_numbers

anything = st.floats(width=64) | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan])
finite = st.floats(allow_nan=False, allow_infinity=False)


def array(values):
    return np.array(values, dtype=np.float64)


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 25))

    def column(values, dtype):
        return pl.Series(draw(st.lists(values | st.none(), min_size=rows, max_size=rows)), dtype=dtype)

    return pl.DataFrame(
        {
            "number": column(anything, pl.Float64),
            "integer": column(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), pl.Int64),
            "text": column(st.text(st.characters(codec="utf-8"), max_size=3) | st.just("x" * 500), pl.String),
            "flag": column(st.booleans(), pl.Boolean),
            "day": column(st.dates(), pl.Date),
            "time": column(st.datetimes(), pl.Datetime("us")),
        }
    )


@pytest.mark.slow
@given(tables(), st.integers(1, 30), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_a_profile_is_the_sum_of_the_profiles_of_its_parts_bit_for_bit_in_any_order(table, size, random):
    parts = [profile_frame(part) for part in table.iter_slices(size)]
    random.shuffle(parts)
    total = Profile()
    for part in parts:
        total = total + part
    whole = profile_frame(table)
    assert total.to_json() == (whole.to_json() if table.height else Profile().to_json())
    assert profile_frame(table, batch_rows=size).to_json() == whole.to_json()
    assert profile_frame(table.sample(fraction=1, shuffle=True, seed=1)).to_json() == whole.to_json()


@pytest.mark.slow
@given(tables(), tables(), tables())
@settings(max_examples=25)
def test_adding_profiles_is_associative_and_commutative_and_has_a_zero(a, b, c):
    p, q, r = profile_frame(a), profile_frame(b), profile_frame(c)
    assert (p + q).to_json() == (q + p).to_json()
    assert ((p + q) + r).to_json() == (p + (q + r)).to_json()
    assert (p + Profile()).to_json() == (Profile() + p).to_json() == p.to_json()


@given(tables())
@settings(max_examples=25)
def test_a_profile_reads_back_from_its_json(table):
    profile = profile_frame(table)
    assert Profile.from_json(profile.to_json()) == profile


def test_the_bound_on_distinct_values_does_not_depend_on_the_order_of_merges():
    values = np.arange(MOST_VALUES + 1, dtype=np.float64)
    parts = [sketch_numbers(values[i::7]) for i in range(7)]
    forward, backward = NumberSketch(), NumberSketch()
    for part in parts:
        forward = forward + part
    for part in reversed(parts):
        backward = part + backward
    assert forward == backward == sketch_numbers(values)
    assert forward.values is None
    assert sketch_numbers(values[:-1]).distinct == MOST_VALUES
    full = profile_batches([pl.DataFrame({"t": [f"{i}" for i in range(MOST_VALUES)]}), pl.DataFrame({"t": ["one more"]})])
    assert full["t"].values == ValueCounts(count=MOST_VALUES + 1, counts=None)


@given(st.lists(anything, max_size=80))
def test_counts_extremes_and_the_sum_are_exact(values):
    sketch = sketch_numbers(array(values))
    kept = [v for v in values if not math.isnan(v)]
    finite = [v for v in kept if math.isfinite(v)]
    assert (sketch.count, sketch.nan, sketch.infinite) == (len(kept), len(values) - len(kept), len(kept) - len(finite))
    assert Fraction(int(sketch.total, 16), 1 << 1074) == sum(map(Fraction, finite))
    assert sum(sketch.counts) == len(kept)
    if kept:
        points, _ = sketch.points()
        assert (points[0], points[-1]) == (min(kept), max(kept))
        assert sketch.distinct == len(set(kept))
    if finite:
        assert sketch.mean == float(sum(map(Fraction, finite)) / len(finite))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "cauchy", "lognormal", "tiny"]))
@settings(max_examples=30)
def test_quantiles_are_within_two_to_the_minus_six_of_the_exact_ones(seed, shape):
    random = np.random.default_rng(seed)
    values = {
        "normal": lambda: random.normal(100, 30, 6000),
        "cauchy": lambda: random.standard_cauchy(6000),
        "lognormal": lambda: random.lognormal(0, 20, 6000),
        "tiny": lambda: random.normal(0, 1e-300, 6000),
    }[shape]()
    sketch = sketch_numbers(values)
    assert sketch.values is None
    for q in (0.0, 0.001, 0.25, 0.5, 0.9, 0.999, 1.0):
        exact = np.quantile(values, q, method="inverted_cdf")
        assert abs(sketch.quantile(q) - exact) <= 2**-6 * abs(exact)


@given(st.lists(finite | st.just(math.inf), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_of_few_values_are_exact(values, q):
    assert sketch_numbers(array(values)).quantile(q) == np.sort(array(values))[max(math.ceil(q * len(values) - 1e-9) - 1, 0)]


@given(st.lists(finite, min_size=2, max_size=50, unique=True))
def test_buckets_ascend_as_values_do(values):
    ordered = np.sort(array(values) + 0.0)
    buckets = np.array([count_buckets(ordered[i : i + 1])[0][0] for i in range(len(ordered))])
    assert (np.diff(buckets) >= 0).all()
    middles = bucket_middles(buckets)
    assert np.isfinite(middles).all()
    normal = np.abs(ordered) >= 2.0**-1000
    assert (np.abs(middles - ordered)[normal] <= 2**-7 * np.abs(ordered)[normal]).all()


def test_whole_numbers_beyond_2_to_53_keep_their_extremes_and_no_merged_values():
    profile = profile_frame(pl.DataFrame({"id": [2**60 + 1, 2**60 + 2, 2**60 + 3]}), batch_rows=1)
    assert (profile["id"].numbers.low, profile["id"].numbers.high) == (2**60 + 1, 2**60 + 3)
    assert profile["id"].distinct is None


@pytest.mark.parametrize(
    ("series", "kind", "nulls"),
    [
        (pl.Series("x", [], dtype=pl.Float64), "null", 0),
        (pl.Series("x", [None, None], dtype=pl.Float64), "null", 2),
        (pl.Series("x", [None, None], dtype=pl.Null), "null", 2),
        (pl.Series("x", [math.nan, math.nan]), "number", 0),
        (pl.Series("x", [math.inf, -math.inf, None]), "number", 1),
        (pl.Series("x", [3.0] * 4), "number", 0),
        (pl.Series("x", [b"1"]), "other", 0),
    ],
)
def test_empty_null_odd_and_constant_columns_have_profiles(series, kind, nulls):
    profile = profile_frame(series.to_frame())
    assert (profile["x"].kind, profile["x"].nulls, profile["x"].rows) == (kind, nulls, len(series))
    assert Profile.from_json(profile.to_json()) == profile


def test_a_column_without_values_merges_with_any_kind_and_other_kinds_do_not_mix():
    empty = profile_frame(pl.DataFrame({"x": pl.Series([None], dtype=pl.String)}))
    numbers = profile_frame(pl.DataFrame({"x": [1.5]}))
    texts = profile_frame(pl.DataFrame({"x": ["a"]}))
    assert (empty + numbers)["x"].kind == "number"
    assert (profile_frame(pl.DataFrame({"x": [1]})) + numbers)["x"].kind == "number"
    with pytest.raises(Misuse, match="'x': number and string"):
        numbers + texts
    with pytest.raises(Misuse, match="'y'"):
        numbers + profile_frame(pl.DataFrame({"x": [1.0], "y": [1.0]}))


def test_long_texts_are_told_apart_but_not_kept_whole():
    frame = pl.DataFrame({"essay": ["x" * 50_000, "x" * 49_999 + "y", "x" * 50_000]})
    profile = profile_frame(frame)
    assert sorted(profile["essay"].values.counts.values()) == [1, 2]
    assert len(profile.to_json()) < 2000
    assert profile_frame(frame, batch_rows=1) == profile


def test_text_that_is_no_profile_is_damaged():
    with pytest.raises(Damaged):
        Profile.from_json("{}")


def test_distinct_of_a_column_without_values_is_zero():
    assert ColumnProfile(rows=3, nulls=3).distinct == 0
