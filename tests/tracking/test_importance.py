"""Importance of params: what is true of the data comes out, what is not does not, and too little is refused."""

import math

import numpy as np
import pytest

from stratal.cli.app import main
from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.importance import MOST, _ranks, _Tree, importance_of
from stratal.tracking.opening import use_store
from stratal.tracking.runs import run
from stratal.tracking.weighing import importance


def made_up(count: int, seed: int = 0):
    dice = np.random.default_rng(seed)
    rate, noise = 10 ** dice.uniform(-5, -1, count), dice.normal(size=count)
    model = dice.choice(["a", "b", "c"], count)
    values = -((np.log10(rate) + 3) ** 2) + (model == "b") + 0.3 * dice.normal(size=count)
    return values.tolist(), {"rate": rate.tolist(), "model": model.tolist(), "noise": noise.tolist(), "same": [1] * count}


def test_what_matters_comes_first_and_noise_does_not_matter() -> None:
    values, params = made_up(120)

    found = importance_of("auc", values, params)

    by_name = {each.name: each for each in found.params}
    assert [each.name for each in found.params[:2]] == ["rate", "model"]
    assert by_name["rate"].low > 0.3
    assert by_name["noise"].low < 0 < by_name["noise"].high < 0.3
    assert "same" not in by_name
    assert by_name["model"].correlation is None
    assert found.is_meaningful
    assert found == importance_of("auc", values, params)


def test_pure_noise_is_not_explained() -> None:
    dice = np.random.default_rng(1)

    found = importance_of("auc", dice.normal(size=80).tolist(), {"a": dice.normal(size=80).tolist(), "b": dice.normal(size=80).tolist()})

    assert not found.is_meaningful
    assert all(each.low < 0 for each in found.params)


def test_a_run_that_diverged_and_missing_values_do_no_harm() -> None:
    values, params = made_up(100)
    values[0], values[1], values[2] = -math.inf, math.nan, None
    params["rate"][3] = math.nan
    params["model"][4] = None

    found = importance_of("auc", values, params)

    assert found.runs == 98
    assert found.params[0].name == "rate"
    assert all(math.isfinite(each.loss) and math.isfinite(each.high) for each in found.params)


@pytest.mark.parametrize(
    ("values", "params", "says"),
    [
        ([0.1] * 19, {"a": list(range(19))}, "19 runs with a number"),
        ([0.5] * 30, {"a": list(range(30))}, "is the same in all 30 runs"),
        (list(range(30)), {"a": [1] * 30}, "no param varies"),
        (list(range(30)), {"a": [math.nan] * 30}, "no param varies"),
    ],
)
def test_too_little_to_say_anything_is_refused(values, params, says: str) -> None:
    with pytest.raises(Misuse, match=says):
        importance_of("auc", values, params)


@pytest.mark.slow
def test_many_runs_are_sampled() -> None:
    values, params = made_up(MOST + 50)

    assert importance_of("auc", values, {"rate": params["rate"]}).sampled == MOST


def test_ranks_of_equal_values_are_shared_as_by_scipy() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    values = np.array([3.0, 1.0, 3.0, -math.inf, 2.0, 1.0])

    assert (_ranks(values) + 1).tolist() == scipy_stats.rankdata(values).tolist()


def test_a_tree_says_the_mean_of_the_leaf_that_a_row_falls_into() -> None:
    x = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]])
    tree = _Tree(x, np.array([1.0, 2.0, 3.0, 7.0, 8.0, 9.0]), np.random.default_rng(0))

    assert tree.predict(np.array([[0.0], [1.0]])).tolist() == [2.0, 8.0]


def test_runs_of_a_store_are_weighed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    values, params = made_up(40)
    for at, value in enumerate(values):
        with run("sweep", params={name: column[at] for name, column in params.items()}, store=store) as made:
            made.log({"auc": value})

    assert importance("metrics.auc", experiment="sweep", store=store).params[0].name == "rate"
    with pytest.raises(Misuse, match="not one metric"):
        importance("params.rate", store=store)
    use_store(store)
    with pytest.raises(SystemExit) as ended:
        main(["importance", "metrics.auc"])
    assert ended.value.code == 0
    assert "rate" in capsys.readouterr().out
