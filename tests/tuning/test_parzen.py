"""The Parzen estimator beside Optuna 5's own: same data, same points, log densities equal up to the constant of the scale."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_weights
from scipy.stats import norm, truncnorm

from stratal.tuning.samplers.parzen import Parzen, _log_mass, _phi
from stratal.tuning.samplers.random import draw
from stratal.tuning.space import as_space, choice, integers, log_integers, log_uniform, uniform

OURS = {"a": uniform(-5, 5), "b": log_uniform(1e-5, 1), "c": integers(1, 100_000), "d": log_integers(2, 4096), "e": choice("x", "y", "z")}
THEIRS = {
    "a": FloatDistribution(-5, 5),
    "b": FloatDistribution(1e-5, 1, log=True),
    "c": IntDistribution(1, 100_000),
    "d": IntDistribution(2, 4096, log=True),
    "e": CategoricalDistribution(["x", "y", "z"]),
}


def theirs(names, rows):
    columns = {name: np.array([THEIRS[name].to_internal_repr(row[name]) for row in rows]) for name in names}
    return columns, _ParzenEstimatorParameters(1.0, True, False, default_weights, True)


def distinct_rows(space, n, seed):
    """Rows without ties in any number: where numbers tie, Optuna's unstable sort decides who gets which bandwidth."""
    random = np.random.default_rng(seed)
    rows, seen = [], {name: set() for name, _ in space.ranges}
    while len(rows) < n:
        row = draw(space, random)
        if all(row[name] not in seen[name] for name in seen):
            rows.append(row)
            for name, values in seen.items():
                values.add(row[name])
    return rows


@pytest.mark.parametrize("names", [["a"], ["b"], ["c"], ["d"], ["e"], ["a", "b", "c", "d", "e"]], ids="".join)
@pytest.mark.parametrize("n", [1, 2, 3, 24, 25, 26, 150])
def test_log_densities_equal_optunas_to_1e_9(names, n):
    space = as_space({name: OURS[name] for name in names})
    rows = distinct_rows(space, n, seed=n)
    points = [draw(space, np.random.default_rng([7, i])) for i in range(60)]
    columns, parameters = theirs(names, rows)
    reference = _ParzenEstimator(columns, {name: THEIRS[name] for name in names}, parameters)
    expected = reference.log_pdf(theirs(names, points)[0])
    ours = Parzen(space, *space.encode(rows)).log_density(*space.encode(points))
    shift = ours - expected  # ours is on the unit cube: a constant per continuous dimension, none for whole numbers and choices
    assert np.abs(shift - shift.mean()).max() < 1e-9
    if not {"a", "b"} & set(names):
        assert abs(shift.mean()) < 1e-9


def test_without_rows_only_the_prior_remains():
    space = as_space(OURS)
    empty = Parzen(space, *space.encode([]))
    points, codes = empty.sample(np.random.default_rng(0), 500)
    assert np.isfinite(empty.log_density(points, codes)).all()
    only_choice = as_space({"e": OURS["e"]})
    assert np.allclose(Parzen(only_choice, *only_choice.encode([])).log_density(*only_choice.encode([{"e": "x"}])), np.log(1 / 3))


@pytest.mark.parametrize("dimension", [integers(1, 12), log_integers(1, 40), choice("x", "y", "z")])
def test_probabilities_of_whole_numbers_and_choices_sum_to_one(dimension):
    space = as_space({"x": dimension})
    rows = [draw(space, np.random.default_rng(i)) for i in range(30)]
    values = dimension.options if hasattr(dimension, "options") else range(int(dimension.low), int(dimension.high) + 1)
    total = np.exp(Parzen(space, *space.encode(rows)).log_density(*space.encode([{"x": v} for v in values]))).sum()
    assert total == pytest.approx(1.0, abs=1e-10)


def test_the_density_integrates_to_one():
    space = as_space({"x": uniform(0, 1)})
    estimator = Parzen(space, np.array([[0.2], [0.21], [0.9]]), np.empty((3, 0), dtype=np.int64))
    grid = (np.arange(20_000) + 0.5) / 20_000
    assert np.exp(estimator.log_density(grid[:, None], np.empty((20_000, 0), dtype=np.int64))).mean() == pytest.approx(1.0, abs=1e-6)


def test_samples_follow_the_density():
    space = as_space({"x": uniform(0, 1), "k": integers(1, 5), "e": choice("p", "q")})
    rows = [{"x": 0.1, "k": 2, "e": "p"}, {"x": 0.15, "k": 2, "e": "p"}, {"x": 0.8, "k": 5, "e": "q"}]
    estimator = Parzen(space, *space.encode(rows))
    points, codes = estimator.sample(np.random.default_rng(0), 40_000)
    own = as_space({"k": integers(1, 5)})
    alone = Parzen(own, *own.encode([{"k": row["k"]} for row in rows]))
    expected = np.exp(alone.log_density(*own.encode([{"k": k} for k in range(1, 6)])))
    numbers = [space.decode(p, c)["k"] for p, c in zip(points, codes, strict=True)]
    seen = np.array([numbers.count(k) / len(numbers) for k in range(1, 6)])
    assert np.abs(seen - expected).max() < 0.01  # three standard errors of 40,000 draws
    assert abs((codes[:, 0] == 0).mean() - np.exp(_choice_density())) < 0.01


def _choice_density():
    only = as_space({"e": choice("p", "q")})
    return Parzen(only, *only.encode([{"e": "p"}, {"e": "p"}, {"e": "q"}])).log_density(*only.encode([{"e": "p"}]))[0]


def test_the_normal_distribution_is_that_of_scipy():
    z = np.linspace(-8.9, 8.9, 10_001)
    assert np.abs(_phi(z) - norm.cdf(z)).max() < 1e-12
    low = np.linspace(-6, 5, 500)
    expected = norm.logcdf(low + 1) + np.log1p(-np.exp(norm.logcdf(low) - norm.logcdf(low + 1)))
    expected = np.where(low > 0, np.log(norm.sf(low) - norm.sf(low + 1)), expected)
    assert np.abs(_log_mass(low, low + 1) - expected).max() < 1e-6


def test_one_kernel_is_a_cut_normal():
    space = as_space({"x": uniform(0, 1)})
    estimator = Parzen(space, np.array([[0.3]]), np.empty((1, 0), dtype=np.int64))
    x = np.linspace(0.01, 0.99, 50)
    kernel, prior = truncnorm(-0.3 / 0.7, 0.7 / 0.7, 0.3, 0.7), truncnorm(-0.5, 0.5, 0.5, 1.0)
    expected = np.log(0.5 * kernel.pdf(x) + 0.5 * prior.pdf(x))
    assert np.allclose(estimator.log_density(x[:, None], np.empty((50, 0), dtype=np.int64)), expected, atol=1e-12)
