"""LightGBM: params, evaluation curves, early stopping, importances. By a callback, a callable that gets its `CallbackEnv`."""

import contextlib
import inspect
import os
import weakref
from collections.abc import Iterator
from typing import Any

import lightgbm

from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import Fit, FitOptions, begin, guarded
from stratal.tracking.autolog.tables import importances

LIBRARY = "lightgbm"

_guard = guarded(LIBRARY)


class LightgbmCallback:
    """Logs each training that it is given to: `lightgbm.train(..., callbacks=[st.callback("lightgbm")])`.

    LightGBM does not say when a training ends early: what came out of one is logged when its last round is over, or, after an
    early stop, when the run ends or the next training begins. A copy of it in another process is silent.
    """

    order = 25  # before early_stopping, which ends a round by raising: 30
    before_iteration = False

    def __init__(self, run: OpenRun | None = None, *, fit: Fit | None = None) -> None:
        """run: None for the active one. fit: what to log to, where somebody else begins and ends it."""
        self._run = run
        self._given = fit
        self._fit: Fit | None = None
        self._model: weakref.ref[Any] | None = None
        self._home = os.getpid()

    @_guard
    def __call__(self, env: Any) -> None:
        """Log one round."""
        if os.getpid() != self._home:
            return
        if self._model is None or self._model() is not env.model:
            self._begin(env)
        if self._fit is None:
            return
        self._fit.log(_values(env.evaluation_result_list or ()), step=env.iteration)
        if env.iteration + 1 == env.end_iteration:
            self._end()

    def _begin(self, env: Any) -> None:
        self._end()
        self._model = weakref.ref(env.model)
        self._fit = self._given or begin(LIBRARY, run=self._run)
        if self._fit is not None and self._given is None:
            self._fit.log_params({name: value for name, value in env.params.items() if not callable(value)})
            self._fit.run.before_end(self._end)

    @_guard
    def _end(self) -> None:
        fit, self._fit = self._fit, None
        model = self._model() if self._model is not None else None
        if fit is None or fit is self._given:
            return
        try:
            if isinstance(model, lightgbm.Booster):
                log_booster(fit, model)
        finally:
            fit.end()

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (self._home,)


def _copied(home: int) -> LightgbmCallback:
    """A copy logs to whatever run is active, in the process of the first one only: scikit-learn copies what it clones."""
    made = LightgbmCallback()
    made._home = home
    return made


def log_booster(fit: Fit, model: "lightgbm.Booster") -> None:
    """Log rounds, the best one where training stopped early, and importances by gain."""
    found = {"rounds": float(model.current_iteration())}
    if model.best_iteration > 0:
        found["best_iteration"] = float(model.best_iteration)
    fit.log(found)
    gains = model.feature_importance(importance_type="gain").tolist()
    fit.save("feature_importance.csv", importances("gain", dict(zip(model.feature_name(), gains, strict=True))))


def _values(results: Any) -> dict[str, float]:
    """Name each result. Tuples of (data, metric, value, is higher better), since 4.7 and in cross-validation with a deviation or None."""
    found = {}
    for data, metric, value, _, *deviation in results:
        found[f"{data}/{metric}"] = float(value)
        if deviation and deviation[0] is not None:
            found[f"{data}/{metric}_std"] = float(deviation[0])
    return found


def watch(run: OpenRun, estimator: Any, options: FitOptions) -> None:
    """Log the next fit of one of its estimators."""
    from stratal.tracking.autolog import sklearn  # its estimators need scikit-learn; a bare training does not

    sklearn.watch(run, estimator, options, around=_with_callback)


@contextlib.contextmanager
def _with_callback(fit: Fit, estimator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
    if "callbacks" not in inspect.signature(estimator.fit).bind_partial(*args).arguments:
        kwargs["callbacks"] = [*(kwargs.get("callbacks") or ()), LightgbmCallback(fit=fit)]
    yield
