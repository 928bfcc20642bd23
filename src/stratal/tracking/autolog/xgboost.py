"""XGBoost: params, evaluation curves, early stopping, importances. By its `TrainingCallback`."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xgboost

from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import Fit, FitOptions, begin, guarded
from stratal.tracking.autolog.tables import importances

LIBRARY = "xgboost"
# The configuration names these twice; users of both interfaces know the second name.
_ALIASES = frozenset(("eta", "alpha", "lambda", "min_split_loss"))

_guard = guarded(LIBRARY)


class XgboostCallback(xgboost.callback.TrainingCallback):  # type: ignore[misc]  # the library may be absent where types are checked
    """Logs each training that it is given to: `xgboost.train(..., callbacks=[st.callback("xgboost")])`.

    A copy of it in another process is silent: there it would be one of many candidates of somebody's search.
    """

    def __init__(self, run: OpenRun | None = None, *, fit: Fit | None = None) -> None:
        """run: None for the active one. fit: what to log to, where somebody else begins and ends it."""
        super().__init__()
        self._run = run
        self._given = fit
        self._fit: Fit | None = None
        self._home = os.getpid()

    def before_training(self, model: Any) -> Any:
        """Begin a fit."""
        self._begin(model)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Any]]) -> bool:
        """Log the last value of each curve. Never ends the training."""
        self._log(epoch, evals_log)
        return False

    def after_training(self, model: Any) -> Any:
        """Log what came out, and end the fit."""
        self._end(model)
        return model

    @_guard
    def _begin(self, model: Any) -> None:
        if os.getpid() != self._home:
            return
        self._fit = self._given or begin(LIBRARY, run=self._run)
        if self._fit is not None and self._given is None:
            self._fit.log_params(params_of(model))

    @_guard
    def _log(self, epoch: int, evals_log: Mapping[str, Mapping[str, Any]]) -> None:
        if self._fit is None:
            return
        last = {f"{data}/{name}": values[-1] for data, curves in evals_log.items() for name, values in curves.items()}
        found: dict[str, Any] = {}
        for name, value in last.items():  # of cross-validation: mean and standard deviation
            found |= {name: value[0], f"{name}_std": value[1]} if isinstance(value, tuple) else {name: value}
        self._fit.log({name: float(value) for name, value in found.items()}, step=epoch)

    @_guard
    def _end(self, model: Any) -> None:
        fit, self._fit = self._fit, None
        if fit is None or fit is self._given:
            return
        try:
            if isinstance(model, xgboost.Booster):
                log_booster(fit, model)
        finally:
            fit.end()

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (self._home,)


def _copied(home: int) -> XgboostCallback:
    """A copy logs to whatever run is active, in the process of the first one only: scikit-learn copies what it clones."""
    made = XgboostCallback()
    made._home = home
    return made


def params_of(model: Any) -> dict[str, object]:
    """Give the params in force, defaults too, by the names that users know."""
    if not hasattr(model, "save_config"):  # the boosters of a cross-validation
        return {}
    learner = json.loads(model.save_config())["learner"]
    booster = learner["gradient_booster"]
    generic = {name: learner["generic_param"].get(name) for name in ("device", "seed")}
    tree = booster.get("gbtree_train_param", {}).get("tree_method")
    found = {"booster": booster.get("name"), "objective": learner["objective"]["name"], "tree_method": tree, **generic}
    found |= {name: value for name, value in booster.get("tree_train_param", {}).items() if name not in _ALIASES}
    return {name: _number(value) for name, value in found.items() if value is not None}


def log_booster(fit: Fit, model: "xgboost.Booster") -> None:
    """Log rounds, the best one where training stopped early, and importances by gain."""
    found = {"rounds": float(model.num_boosted_rounds())}
    attributes = model.attributes()
    found |= {name: float(attributes[name]) for name in ("best_iteration", "best_score") if name in attributes}
    fit.log(found)
    gains = model.get_score(importance_type="gain")
    fit.save("feature_importance.csv", importances("gain", {name: float(np.mean(gain)) for name, gain in gains.items()}))


def _number(text: str) -> object:
    """The configuration holds all numbers as texts of 32-bit floats: 0.300000012 was 0.3."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(str(np.float32(text)))
    except ValueError:
        return text


def watch(run: OpenRun, estimator: Any, options: FitOptions) -> None:
    """Log the next fit of one of its estimators."""
    from stratal.tracking.autolog import sklearn  # its estimators need scikit-learn; a bare training does not

    sklearn.watch(run, estimator, options, around=_with_callback)


@contextlib.contextmanager
def _with_callback(fit: Fit, estimator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
    """Estimators take callbacks as a param: ours is in it for the time of the fit."""
    before = estimator.callbacks
    estimator.callbacks = [*(before or ()), XgboostCallback(fit=fit)]
    try:
        yield
    finally:
        estimator.callbacks = before
