"""Spaces: what is refused, and that columns and values are two sides of one thing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stratal.core.errors import Misuse
from stratal.tuning.space import as_space, choice, contains, integers, log_integers, log_uniform, uniform


@some.composite
def dimensions(draw):
    kind = draw(some.sampled_from(["uniform", "log_uniform", "integers", "log_integers", "choice"]))
    if kind == "choice":
        scalars = some.one_of(some.text(max_size=3), some.integers(-5, 5), some.booleans(), some.none(), some.floats(-1, 1))
        return choice(*draw(some.lists(scalars, min_size=2, max_size=5, unique_by=lambda v: (type(v), v))))
    if kind in ("integers", "log_integers"):
        low = draw(some.integers(1 if kind == "log_integers" else -1000, 1000))
        high = low + draw(some.integers(1, 5000))
        return integers(low, high) if kind == "integers" else log_integers(low, high)
    low = draw(some.floats(1e-6, 1.0) if kind == "log_uniform" else some.floats(-1e6, 1e6))
    high = low + draw(some.floats(1e-3, 1e6))
    return log_uniform(low, high) if kind == "log_uniform" else uniform(low, high)


spaces = some.dictionaries(some.text(min_size=1, max_size=4), dimensions(), min_size=1, max_size=5).map(as_space)


@settings(max_examples=50)
@given(spaces, some.integers(0, 2**32))
def test_any_point_of_the_cube_becomes_values_of_the_space_and_back(space, seed):
    random = np.random.default_rng(seed)
    codes = np.array([random.integers(len(d.options)) for _, d in space.choices], dtype=np.int64)
    params = space.decode(random.random(len(space.ranges)), codes)
    space.check(params)
    columns, again = space.encode([params])
    assert np.array_equal(again[0], codes)
    back = space.decode(columns[0], again[0])
    for name, dimension in space.dimensions:
        assert contains(dimension, back[name])
        if isinstance(params[name], float):
            assert back[name] == pytest.approx(
                params[name], rel=1e-9, abs=1e-9 * (dimension.high - dimension.low) if name in dict(space.ranges) else 0
            )
        else:
            assert back[name] == params[name]
            assert type(back[name]) is type(params[name])


@settings(max_examples=50)
@given(spaces)
def test_the_corners_of_the_cube_are_the_bounds(space):
    codes = np.zeros(len(space.choices), dtype=np.int64)
    low, high = (space.decode(np.full(len(space.ranges), u), codes) for u in (0.0, 1.0))
    for name, dimension in space.ranges:
        assert low[name] == pytest.approx(dimension.low)
        assert high[name] == pytest.approx(dimension.high)


def test_the_order_of_a_dict_does_not_matter_and_its_content_does():
    one = as_space({"a": uniform(0, 1), "b": integers(1, 3)})
    other = as_space({"b": integers(1, 3), "a": uniform(0, 1)})
    assert one.digest == other.digest
    assert one.digest != as_space({"a": uniform(0, 1), "b": integers(1, 4)}).digest
    assert one.digest != as_space({"a": uniform(0, 1), "b": uniform(1, 3)}).digest


def test_true_one_and_one_point_zero_are_three_options():
    space = as_space({"x": choice(True, 1, 1.0)})
    _, codes = space.encode([{"x": True}, {"x": 1}, {"x": 1.0}])
    assert codes[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: uniform(1, 1), "low must be less than high"),
        (lambda: uniform(2, 1), "low must be less than high"),
        (lambda: uniform(0, math.inf), "not a finite number"),
        (lambda: uniform(math.nan, 1), "not a finite number"),
        (lambda: uniform("0", 1), "not a finite number"),
        (lambda: uniform(False, 1), "not a finite number"),
        (lambda: uniform(-1e308, 1e308), "wider than a number can say"),
        (lambda: log_uniform(0, 1), "begins above 0"),
        (lambda: log_integers(0, 9), "begins above 0"),
        (lambda: integers(1, 2.5), "not a whole number"),
        (lambda: integers(0, 2**60), "not a whole number"),
        (lambda: choice("a"), "two or more"),
        (lambda: choice("a", "a"), "same option twice"),
        (lambda: choice(["a", "b"]), "one by one"),
        (lambda: choice(1.0, math.nan), "name it as text"),
        (lambda: as_space({}), "empty"),
        (lambda: as_space({"x": (0, 1)}), "x is a tuple"),
        (lambda: as_space({"": uniform(0, 1)}), "is named"),
        (lambda: as_space([uniform(0, 1)]), "not a dict"),
        (lambda: as_space({"x": uniform(0, 1)}).check({"y": 1.0}), "the space names"),
        (lambda: as_space({"x": integers(0, 1)}).check({"x": 1.0}), "lies outside"),
        (lambda: as_space({"x": uniform(0, 1)}).check({"x": True}), "lies outside"),
    ],
)
def test_what_is_wrong_is_said(make, says):
    with pytest.raises(Misuse, match=says):
        make()
