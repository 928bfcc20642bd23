"""TPE finds better params than random search does, on functions whose optimum is not in the middle. Fixed seeds, so no chance."""

import math
from statistics import median

import pytest

from stratal.tuning.samplers.port import Row
from stratal.tuning.samplers.random import Random
from stratal.tuning.samplers.tpe import TPE
from stratal.tuning.space import as_space, choice, integers, log_uniform, uniform


def sphere(p):
    return sum((p[f"x{i}"] - 1.7) ** 2 for i in range(5))


def rosenbrock(p):
    x = [p[f"x{i}"] for i in range(4)]
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(3))


def branin(p):
    x, y = p["x"], p["y"]
    return (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


def mixed(p):
    loss = (math.log10(p["rate"]) + 2.3) ** 2 + ((p["width"] - 70) / 40) ** 2 + {"a": 1.0, "b": 0.0, "c": 0.6}[p["kind"]]
    return loss + (0.0 if p["flag"] else 0.4)


FUNCTIONS = {
    "sphere": (sphere, {f"x{i}": uniform(-5, 5) for i in range(5)}),
    "rosenbrock": (rosenbrock, {f"x{i}": uniform(-3, 3) for i in range(4)}),
    "branin": (branin, {"x": uniform(-5, 10), "y": uniform(0, 15)}),
    "mixed": (mixed, {"rate": log_uniform(1e-5, 1), "width": integers(8, 256), "kind": choice("a", "b", "c"), "flag": choice(True, False)}),
}


def best(plan, function, space, seed, trials):
    sampler, lowest = plan.build(space, seed), math.inf
    for number in range(trials):
        params = sampler.ask(1, [])[0]
        loss = function(params)
        sampler.tell([Row(number=number, params=params, status="finished", loss=loss)])
        lowest = min(lowest, loss)
    return lowest


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_median_regret_of_tpe_is_at_most_half_of_random(name):
    function, dimensions = FUNCTIONS[name]
    space = as_space(dimensions)
    regrets = {type(plan).__name__: median(best(plan, function, space, seed, 80) for seed in range(11)) for plan in (TPE(), Random())}
    assert regrets["TPE"] < 0.5 * regrets["Random"], regrets
