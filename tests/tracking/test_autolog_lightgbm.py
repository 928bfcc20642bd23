"""Autolog of LightGBM: bare trainings, early stops, estimators."""

import numpy as np
import pytest

from stratal.store.store import Store
from stratal.tracking.autologging import callback
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is not installed: it is in the extra `test`")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
Y = (X[:, 0] > 0).astype(int)
PARAMS = {"objective": "binary", "metric": ["auc", "binary_logloss"], "verbose": -1, "min_data_in_leaf": 5, "num_threads": 1}


def data(at: slice):
    return lightgbm.Dataset(X[at], Y[at], feature_name=["a", "b", "c"], params={"verbose": -1})


def test_a_training_leaves_params_curves_and_importances(store: Store):
    with run("e", store=store) as training:
        lightgbm.train(
            PARAMS, data(slice(90)), 4, valid_sets=[data(slice(90, 120))], valid_names=["valid"], callbacks=[callback("lightgbm")]
        )
    read = get_run(training.id, store=store)
    assert read.params["objective"] == "binary" and read.params["num_iterations"] == 4
    assert list(read.series("valid/auc").steps) == [0, 1, 2, 3] and read.metrics["rounds"] == 4
    assert read.read_artifact("feature_importance.csv").decode().split()[1].startswith("a,")


def test_an_early_stop_is_logged_when_the_run_ends_or_the_next_training_begins(store: Store):
    ours = callback("lightgbm")
    stop = lightgbm.early_stopping(2, verbose=False)
    with run("e", store=store) as training:
        boosters = [
            lightgbm.train(PARAMS, data(slice(90)), 200, valid_sets=[data(slice(90, 120))], callbacks=[ours, stop]) for _ in range(2)
        ]
    read = get_run(training.id, store=store)
    assert [read.metrics[f"{fit}best_iteration"] for fit in ("", "fit-2/")] == [booster.best_iteration for booster in boosters]
    assert read.metrics["best_iteration"] < 200


def test_cross_validation_leaves_means_and_deviations(store: Store):
    with run("e", store=store) as training:
        lightgbm.cv(PARAMS, data(slice(120)), 3, nfold=2, callbacks=[callback("lightgbm")])
    read = get_run(training.id, store=store)
    assert len(read.series("valid/auc").values) == 3 and "valid/auc_std" in read.metrics


def test_a_watched_estimator_leaves_its_params_its_curves_and_its_best_round(store: Store):
    estimator = lightgbm.LGBMClassifier(n_estimators=50, verbose=-1, min_child_samples=5, n_jobs=1)
    stop = lightgbm.early_stopping(2, verbose=False)
    with run("e", store=store) as unstopped:
        unstopped.watch(lightgbm.LGBMClassifier(n_estimators=2, verbose=-1)).fit(X, Y)
    assert "best_iteration" not in get_run(unstopped.id, store=store).metrics
    with run("e", store=store) as training:
        training.watch(estimator).fit(X[:90], Y[:90], eval_set=[(X[90:], Y[90:])], callbacks=[stop])
    read = get_run(training.id, store=store)
    assert (read.params["n_estimators"], read.params["estimator_class"]) == (50, "LGBMClassifier")
    assert read.metrics["best_iteration"] == estimator.best_iteration_
    assert len(read.series("valid_0/binary_logloss").values) >= estimator.best_iteration_
    assert not any(name.startswith("fit-") for name in read.metrics)
