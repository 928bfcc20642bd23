"""scikit-learn: params, tasks, curves, scores, cross-validation, importances. By its callbacks (1.9), else by one wrapped `fit`."""

import contextlib
import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from stratal.core.ids import RunId, to_bytes
from stratal.store.store import Store
from stratal.tracking import models
from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import Fit, FitOptions, begin, guarded
from stratal.tracking.autolog.tables import to_csv
from stratal.tracking.opening import open_store

LIBRARY = "sklearn"
# Attributes of fitted estimators: numbers, and one number per iteration.
_NUMBERS = (
    "n_iter_",
    "n_features_in_",
    "best_score_",
    "best_index_",
    "best_iteration_",
    "best_iteration",
    "best_score",
    "oob_score_",
    "inertia_",
    "best_loss_",
    "alpha_",
)
_CURVES = ("loss_curve_", "validation_scores_", "validation_score_", "train_score_", "scores_", "lower_bounds_")
# Rows and columns of importances that are kept.
_MOST_FEATURES = 10_000

_guard = guarded(LIBRARY)


class _FarRun:
    """A run of another process, as far as a worker logs to it: the store is opened at the first metric."""

    def __init__(self, url: str, run: RunId, epoch: int, prefix: str) -> None:
        self.url, self.run, self.epoch, self.prefix = url, run, epoch, prefix

    @classmethod
    def of(cls, fit: Fit) -> "_FarRun":
        return cls(fit.run.store.url, fit.run.id, fit.run.epoch, fit.prefix)

    def log(self, metrics: Mapping[str, float]) -> None:
        store = _stores.get(self.url) or _stores.setdefault(self.url, open_store(self.url))
        store.writer.log(to_bytes(self.run), self.epoch, {self.prefix + name: value for name, value in metrics.items()})


_stores: dict[str, Store] = {}


class SklearnCallback:
    """Logs each fit of the estimators that it is set on: `estimator.set_callbacks(st.callback("sklearn"))`.

    Its copies in worker processes log to the same run, each through a journal of its own. It is not propagated to estimators
    inside: for each that takes no callbacks scikit-learn would warn, and the tasks of the outermost tell enough.
    """

    def __init__(self, run: OpenRun | None = None, *, fit: Fit | None = None) -> None:
        """run: None for the active one. fit: what to log tasks to, where somebody else begins and ends it."""
        self._run = run
        self._given = fit
        self._fit: Fit | None = None
        self._data: tuple[Any, Any] = (None, None)
        self._far: _FarRun | None = None
        self._began: dict[int, float] = {}
        self._before: BaseException | None = None

    @_guard
    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a fit."""
        self._before = sys.exc_info()[1]
        self._fit = self._given or begin(LIBRARY, run=self._run, exclusive=True)
        if self._fit is not None and self._given is None:
            log_params(self._fit, estimator)

    @_guard
    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any = None, y: Any = None) -> None:  # noqa: N803  # its names
        """Note when a task begins, and the data of the outermost one."""
        if context.parent is None and self._far is None:
            self._data = (X, y)
        self._began[id(context)] = time.monotonic()

    @_guard
    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Log how long a task took, under its path; from a worker process too."""
        began_s = self._began.pop(id(context), None)
        if began_s is None or context.parent is None or "iter" in context.task_name:
            return  # iterations are counted by `n_iter`; how long each took tells nobody anything
        metrics = {f"tasks/{_path_of(context)}_seconds": time.monotonic() - began_s}
        if self._far is not None:
            self._far.log(metrics)
        elif self._fit is not None:
            self._fit.log(metrics)

    def teardown(self, estimator: Any, context: Any) -> None:
        """End the fit."""
        fit, self._fit = self._fit, None
        data, self._data = self._data, (None, None)
        self._began.clear()
        if fit is None or fit is self._given:
            return
        error = sys.exc_info()[1]  # scikit-learn calls this while what a fit raised is on its way
        if error is not None and error is not self._before:
            fit.end(error)
        else:
            _end(fit, estimator, data, FitOptions())

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (self._far if self._fit is None else _FarRun.of(self._fit),)


def _copied(far: _FarRun | None) -> SklearnCallback:
    """What travels to a worker, or is cloned: which run is being logged to, and nothing of this process."""
    made = SklearnCallback()
    made._far = far
    return made


# What a library adds around a fit of its own estimators: it may change the keyword arguments.
Around = Callable[[Fit, Any, tuple[Any, ...], dict[str, Any]], contextlib.AbstractContextManager[None]]


def watch(run: OpenRun, estimator: Any, options: FitOptions, *, around: Around | None = None) -> None:
    """Log the next fit of an estimator: `fit` of this instance is wrapped, once, and its callback takes part where it takes some."""
    if around is None:
        around = _with_callback if hasattr(estimator, "set_callbacks") else _alone
    estimator.fit = _OneFit(run, estimator, options, around)


@contextlib.contextmanager
def _with_callback(fit: Fit, estimator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
    before = getattr(estimator, "_skl_callbacks", [])
    estimator.set_callbacks(*before, SklearnCallback(fit=fit))
    try:
        yield
    finally:
        estimator.set_callbacks(*before)


@contextlib.contextmanager
def _alone(fit: Fit, estimator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
    yield


class _OneFit:
    """Stands in for `fit` of one instance, for one call; a copy or pickle of the instance has the plain one."""

    def __init__(self, run: OpenRun, estimator: Any, options: FitOptions, around: Around) -> None:
        self._run, self._estimator, self._options, self._around = run, estimator, options, around
        method = type(estimator).fit
        self.__doc__, self.__name__ = method.__doc__, "fit"
        self.__signature__ = inspect.signature(method.__get__(estimator))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        estimator = self._estimator
        estimator.__dict__.pop("fit", None)  # from here on it is as it was
        fit = _begin(self._run, estimator)
        if fit is None:
            return estimator.fit(*args, **kwargs)
        began_s = time.monotonic()
        try:
            with self._around(fit, estimator, args, kwargs):
                fitted = estimator.fit(*args, **kwargs)
        except BaseException as error:
            fit.end(error)
            raise
        _say_seconds(fit, time.monotonic() - began_s)
        _end(fit, estimator, _data_of(args, kwargs), self._options)
        return fitted

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (type(self._estimator).fit, self._estimator)


@_guard
def _begin(run: OpenRun, estimator: Any) -> Fit | None:
    fit = begin(LIBRARY, run=run, exclusive=True)
    if fit is not None:
        log_params(fit, estimator)
    return fit


@_guard
def _say_seconds(fit: Fit, seconds: float) -> None:
    fit.log({"fit_seconds": seconds})


def _data_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    x = args[0] if args else kwargs.get("X")
    return x, args[1] if len(args) > 1 else kwargs.get("y")


def _end(fit: Fit, estimator: Any, data: tuple[Any, Any], options: FitOptions) -> None:
    """Log what the fitted estimator knows. Each part may fail without the others."""
    try:
        if is_fitted(estimator):
            for part in (log_attributes, log_search, log_importances):
                _guard(part)(fit, estimator)
            if options.training_score:
                _guard(log_training_score)(fit, estimator, *data)
            if options.model is not None:
                _guard(log_fitted_model)(fit, estimator, options.model, data[0])
    finally:
        fit.end()


def is_fitted(estimator: Any) -> bool:
    """Tell whether a fit came to its end."""
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


def log_params(fit: Fit, estimator: Any) -> None:
    """Log the params, also of estimators inside (`step__param`); an estimator as a value gives the name of its class."""
    found: dict[str, object] = {"estimator_class": type(estimator).__name__}
    for name, value in estimator.get_params(deep=True).items():
        if name.rpartition("__")[2] in ("steps", "transformers"):
            continue  # said one by one
        found[name] = type(value).__name__ if isinstance(value, BaseEstimator) else value
    fit.log_params(found)


def log_attributes(fit: Fit, estimator: Any) -> None:
    """Log numbers and curves that fitting left behind."""
    found: dict[str, float] = {}
    for name in _NUMBERS:
        value = _attribute(estimator, name)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        if name == "best_iteration_" and value == 0:
            continue  # LightGBM's way to say that nothing stopped early
        if isinstance(value, int | float | np.number):
            found[name.rstrip("_")] = float(value)
    fit.log(found)
    for name in _CURVES:
        values = _attribute(estimator, name)
        if values is not None and np.ndim(values) == 1 and np.size(values) > 1 and not isinstance(values, dict):
            for step, value in enumerate(np.asarray(values, dtype=np.float64).tolist()):
                fit.log({name.rstrip("_"): value}, step=step)


def log_search(fit: Fit, estimator: Any) -> None:
    """Log a search: its table as an artifact, the mean score of each candidate as a series, and the best params."""
    table = _attribute(estimator, "cv_results_")
    if not isinstance(table, Mapping):
        return
    fit.save(
        "cv_results.csv", to_csv(list(table), zip(*(np.ma.filled(np.ma.asarray(c, dtype=object), "") for c in table.values()), strict=True))
    )
    for name in (name for name in table if name.startswith(("mean_test_", "mean_train_")) and np.ndim(table[name]) == 1):
        for step, value in enumerate(np.asarray(table[name], dtype=np.float64).tolist()):
            fit.log({f"cv/{name}": value}, step=step)
    fit.log_params({f"best/{name}": value for name, value in (_attribute(estimator, "best_params_") or {}).items()})


def log_importances(fit: Fit, estimator: Any) -> None:
    """Save the importance of each feature, or its coefficient, the largest first."""
    best = _attribute(estimator, "best_estimator_")
    model = estimator if best is None else best
    steps = getattr(model, "steps", None)
    model = steps[-1][1] if steps else model
    kind, values = "importance", _attribute(model, "feature_importances_")
    if values is None:
        kind, values = "coefficient", _attribute(model, "coef_")
    if values is None or np.ndim(values) > 2:
        return
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.shape[1] > _MOST_FEATURES or table.shape[0] > 100:
        return
    names = _feature_names(table.shape[1], model, estimator)
    order = np.argsort(-np.abs(table).max(axis=0), kind="stable")
    heads = [kind] if table.shape[0] == 1 else [f"{kind}_{number}" for number in range(table.shape[0])]
    fit.save("feature_importance.csv", to_csv(["feature", *heads], ((names[i], *table[:, i].tolist()) for i in order)))


def _feature_names(count: int, *estimators: Any) -> list[str]:
    """Give the names that the innermost estimator knows, if there is one for each feature; else numbers."""
    for estimator in estimators:
        names = _attribute(estimator, "feature_names_in_")
        if names is not None and len(names) == count:
            return [str(name) for name in names]
    return [str(number) for number in range(count)]


def log_training_score(fit: Fit, estimator: Any, x: Any, y: Any) -> None:
    """Log `estimator.score` on what it was trained on, under the name `training_score`."""
    if x is not None and y is not None and hasattr(estimator, "score"):
        fit.log({"training_score": float(estimator.score(x, y))})


def log_fitted_model(fit: Fit, estimator: Any, name: str, x: Any) -> None:
    """Save the fitted estimator as a model of the run."""
    best = _attribute(estimator, "best_estimator_")  # it predicts what the search does, without the search
    models.log_model(fit.run, fit.prefix + name, estimator if best is None else best, sample=None if x is None else x[:5])


def _attribute(estimator: Any, name: str) -> Any:
    """Give a fitted attribute, None if there is none; some are properties that raise where they do not apply."""
    try:
        return getattr(estimator, name, None)
    except (AttributeError, ValueError, RuntimeError):  # that is how scikit-learn's properties say so
        return None


def _path_of(context: Any) -> str:
    """Name a task by its ancestors below the outermost fit; siblings share a name, and so a series."""
    names = []
    while context is not None and context.parent is not None:
        names.append(f"{context.estimator_name}.{context.task_name}" if context.task_name else str(context.estimator_name))
        context = context.parent
    return "/".join(reversed(names)).replace(" ", "_")
