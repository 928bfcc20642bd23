"""Autolog of scikit-learn: callbacks and wrapped instances. Excludes what other libraries' estimators add."""

import copy
import logging
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.autolog import fits
from stratal.tracking.autologging import autolog, callback
from stratal.tracking.finding import runs
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.runs import run

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] + 0.1 * RNG.normal(size=60) > 0).astype(int)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fits, "_complained", set())
    yield
    fits.start_runs_with(None)
    fits._exclusive.clear()


def watched(store: Store, estimator, x=X, y=Y, **options) -> ReadRun:
    with run("e", store=store) as watching:
        watching.watch(estimator, **options).fit(x, y)
    return get_run(watching.id, store=store)


def paths(read: ReadRun) -> set[str]:
    return {artifact.path for artifact in read.artifacts}


def test_a_plain_estimator_leaves_params_numbers_coefficients_and_its_score(store: Store):
    estimator = LinearRegression(positive=True)
    read = watched(store, estimator)
    assert read.params["positive"] is True and read.params["estimator_class"] == "LinearRegression"
    assert read.metrics["training_score"] == pytest.approx(estimator.score(X, Y))
    assert read.metrics["n_features_in"] == 3 and read.metrics["fit_seconds"] > 0
    rows = read.read_artifact("feature_importance.csv").decode().split()
    assert rows[0] == "feature,coefficient" and rows[1].startswith("0,")


def test_a_watched_estimator_is_as_before_after_its_next_fit(store: Store):
    plain, calling = LinearRegression(), LogisticRegression()
    with run("e", store=store) as watching:
        for estimator in (plain, calling):
            watching.watch(estimator).fit(X, Y)
            estimator.fit(X, Y)
            assert "fit" not in vars(estimator) and "_skl_callbacks" not in vars(estimator)
    read = get_run(watching.id, store=store)
    assert read.params["estimator_class"] == "LinearRegression"
    assert read.params["fit-2/estimator_class"] == "LogisticRegression"
    assert not any(name.startswith("fit-3/") for name in read.params)


def test_curves_become_series(store: Store):
    read = watched(store, MLPClassifier(hidden_layer_sizes=(2,), max_iter=3, random_state=0))
    assert len(read.series("loss_curve").values) == 3 and read.metrics["n_iter"] == 3
    boosted = watched(store, HistGradientBoostingClassifier(max_iter=3, early_stopping=True), training_score=False)
    assert len(boosted.series("validation_score").values) >= 2 and "training_score" not in boosted.metrics


def test_a_search_leaves_its_table_its_candidates_and_the_best_params(store: Store):
    read = watched(store, GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0, 10.0]}, cv=3))
    assert read.params["best/C"] in (0.01, 1.0, 10.0) and read.params["estimator"] == "LogisticRegression"
    assert len(read.series("cv/mean_test_score").values) == 3
    assert read.metrics["best_score"] == max(read.series("cv/mean_test_score").values)
    assert read.read_artifact("cv_results.csv").decode().splitlines()[0].startswith("mean_fit_time,")
    assert any(name.startswith("tasks/") for name in read.metrics)
    assert "feature_importance.csv" in paths(read)
    assert not any(name.startswith("fit-") for name in (*read.params, *read.metrics))  # candidates are no fits of their own


@pytest.mark.slow
def test_tasks_in_worker_processes_reach_the_run(store: Store):
    search = GridSearchCV(LogisticRegression(max_iter=50), {"C": [0.1, 1.0]}, cv=3, n_jobs=2, refit=False)
    alone = watched(store, clone(search).set_params(n_jobs=1))
    spread = watched(store, search)

    def tasks(read: ReadRun) -> dict[str, int]:
        return {name: len(read.series(name).values) for name in read.metrics if name.startswith("tasks/")}

    assert tasks(spread) == tasks(alone) and tasks(alone)


def test_a_pipeline_says_its_steps_params(store: Store):
    read = watched(store, make_pipeline(StandardScaler(), LogisticRegression(C=0.5)))
    assert read.params["logisticregression__C"] == 0.5 and read.params["standardscaler"] == "StandardScaler"
    assert "steps" not in read.params and read.metrics["training_score"] > 0.5


def test_a_fit_that_fails_raises_as_ever_and_the_next_one_is_logged(store: Store):
    with run("e", store=store) as watching:
        for estimator in (LinearRegression(), LogisticRegression()):
            with pytest.raises(ValueError, match="inconsistent numbers of samples"):
                watching.watch(estimator).fit(X, Y[:5])
            assert "fit" not in vars(estimator)
        watching.watch(LinearRegression()).fit(X, Y)
    read = get_run(watching.id, store=store)
    assert "fit-3/training_score" in read.metrics and "training_score" not in read.metrics


class Odd(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.coef_ = "no numbers"
        return self

    def score(self, X, y):
        raise NotFittedError("never")


def test_what_cannot_be_logged_is_said_once_and_raises_nothing(store: Store, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        read = watched(store, Odd())
        watched(store, Odd())
    assert read.params["estimator_class"] == "Odd"
    assert len([record for record in caplog.records if "autolog of sklearn" in record.message]) == 1


def test_a_copy_or_pickle_of_a_watched_estimator_is_plain(store: Store):
    with run("e", store=store) as watching:
        estimator = watching.watch(LinearRegression())
        for other in (copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator)), clone(estimator)):
            assert other.fit(X, Y).predict(X).shape == (60,)
        calling = LogisticRegression().set_callbacks(callback("sklearn"))
        assert pickle.loads(pickle.dumps(calling)).fit(X, Y).predict(X).shape == (60,)
    read = get_run(watching.id, store=store)
    assert read.params["estimator_class"] == "LogisticRegression"  # a callback is the user's, and is copied with it


def test_a_callback_of_the_user_logs_every_fit_and_is_silent_outside_of_runs(store: Store):
    estimator = LogisticRegression().set_callbacks(callback("sklearn"))
    estimator.fit(X, Y)
    with run("e", store=store) as first:
        estimator.fit(X, Y)
        estimator.set_params(C=3.0).fit(X, Y)
    read = get_run(first.id, store=store)
    assert (read.params["C"], read.params["fit-2/C"]) == (1.0, 3.0)


def test_outside_of_runs_a_fit_gets_a_run_of_its_own_where_that_was_asked_for(store: Store, monkeypatch: pytest.MonkeyPatch):
    from stratal.tracking.opening import use_store

    use_store(store)
    autolog("sklearn", start_runs="alone")
    autolog("sklearn")  # it is still so
    LogisticRegression().set_callbacks(callback("sklearn")).fit(X, Y)
    with pytest.raises(ValueError, match="inconsistent"):
        make_pipeline(StandardScaler(), LogisticRegression()).set_callbacks(callback("sklearn")).fit(X, Y[:5])
    assert sorted(read.status for read in runs("experiment = 'alone'", store=store)) == ["failed", "finished"]


def test_the_fitted_model_is_saved_on_request(store: Store):
    read = watched(store, LogisticRegression(), model="model")
    assert any(path.startswith("model/") for path in paths(read))
    search = GridSearchCV(LinearRegression(), {"positive": [True, False]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an estimator without callbacks inside is nothing to warn of
        assert any(path.startswith("model/") for path in paths(watched(store, search, model="model")))  # of the best estimator


def test_what_cannot_be_watched_is_refused_with_a_way_out(store: Store):
    with run("e", store=store) as watching:
        with pytest.raises(Misuse, match="a dict cannot be watched") as refused:
            watching.watch({})
        assert "sklearn" in refused.value.hint
        with pytest.raises(Misuse, match="takes no every"):
            watching.watch(LinearRegression(), every=3)
    with pytest.raises(Misuse, match="has ended"):
        watching.watch(LinearRegression())


def test_the_report_says_what_to_write():
    report = autolog("sklearn")
    assert [(line.name, line.state) for line in report] == [("sklearn", "by hand")]
    assert "run.watch(estimator)" in str(report)
    with pytest.raises(Misuse, match="'fastai' is not known"):
        autolog("fastai")
    with pytest.raises(Misuse, match="there is no callback"):
        callback("fastai")
    with pytest.raises(Misuse, match="cannot name the experiment"):
        autolog("sklearn", start_runs="")
