"""Autolog of XGBoost: bare trainings, estimators, searches around them."""

import copy

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from stratal.store.store import Store
from stratal.tracking.autologging import callback
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

xgboost = pytest.importorskip("xgboost", reason="xgboost-cpu is not installed: it is in the extra `test`")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 3))
Y = (X[:, 0] > 0).astype(int)
PARAMS = {"objective": "binary:logistic", "eta": 0.3, "max_depth": 2, "eval_metric": ["auc", "logloss"], "nthread": 1}


def data(at: slice):
    return xgboost.DMatrix(X[at], Y[at], feature_names=["a", "b", "c"])


def test_a_training_leaves_params_curves_and_importances(store: Store):
    train, valid = data(slice(60)), data(slice(60, 80))
    with run("e", store=store) as training:
        booster = xgboost.train(
            PARAMS, train, 30, evals=[(train, "train"), (valid, "valid")], callbacks=[callback("xgboost")], verbose_eval=False,
            early_stopping_rounds=3,
        )  # fmt: skip
    read = get_run(training.id, store=store)
    assert (read.params["learning_rate"], read.params["max_depth"], read.params["objective"]) == (0.3, 2, "binary:logistic")
    assert read.metrics["best_iteration"] == booster.best_iteration and read.metrics["best_score"] == booster.best_score
    curve = read.series("valid/logloss")
    assert len(curve.values) == read.metrics["rounds"] < 30 and list(curve.steps) == list(range(len(curve.values)))
    assert read.read_artifact("feature_importance.csv").decode().split()[1].startswith("a,")


def test_cross_validation_leaves_means_and_deviations(store: Store):
    with run("e", store=store) as training:
        xgboost.cv(PARAMS, data(slice(80)), 3, nfold=3, callbacks=[callback("xgboost")])
    read = get_run(training.id, store=store)
    assert len(read.series("test/auc").values) == 3 and "test/auc_std" in read.metrics


def test_a_watched_estimator_leaves_its_params_its_curves_and_is_as_before(store: Store):
    estimator = xgboost.XGBClassifier(n_estimators=4, max_depth=2, n_jobs=1)
    with run("e", store=store) as training:
        training.watch(estimator).fit(X, Y, eval_set=[(X, Y)], verbose=False)
        estimator.fit(X, Y)
    read = get_run(training.id, store=store)
    assert (read.params["n_estimators"], read.params["estimator_class"]) == (4, "XGBClassifier")
    assert len(read.series("validation_0/logloss").values) == 4 and read.metrics["training_score"] > 0.9
    assert estimator.callbacks is None and "feature_importance.csv" in {artifact.path for artifact in read.artifacts}


def test_candidates_of_a_search_are_silent(store: Store):
    estimator = xgboost.XGBClassifier(n_estimators=2, n_jobs=1, callbacks=[callback("xgboost")])
    with run("e", store=store) as training:
        training.watch(GridSearchCV(estimator, {"max_depth": [1, 2]}, cv=2, refit=False)).fit(X, Y)
    read = get_run(training.id, store=store)
    assert "rounds" not in read.metrics and not any(name.startswith("fit-") for name in (*read.metrics, *read.params))
    assert len(read.series("cv/mean_test_score").values) == 2


def test_a_copy_is_silent_in_another_process_than_the_first_ones(store: Store):
    ours = callback("xgboost")
    make, (home,) = ours.__reduce__()
    with run("e", store=store) as training:
        for copied, fits in ((make(home), 1), (make(home + 1), 1), (copy.deepcopy(ours), 2)):
            xgboost.train(PARAMS, data(slice(80)), 1, callbacks=[copied])
            names = get_run(training.id, store=store).metrics
            assert ("fit-2/rounds" in names) == (fits == 2) and "fit-3/rounds" not in names


def test_outside_of_a_run_a_training_is_as_ever(store: Store):
    booster = xgboost.train(PARAMS, data(slice(80)), 2, callbacks=[callback("xgboost")])
    assert booster.num_boosted_rounds() == 2
