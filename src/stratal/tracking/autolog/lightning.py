"""Lightning: hyperparameters, logged metrics, what checkpoints and early stopping found. By a callback, which adds a logger for the fit.

Lightning brings metrics from the device once for all loggers, every `log_every_n_steps`; a callback that asked for them itself
would stall it again.
"""

import importlib
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from stratal.tracking import active
from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import Fit, begin, guarded

LIBRARY = "lightning"
_TRAINER = ("max_epochs", "max_steps", "accumulate_grad_batches", "gradient_clip_val", "precision", "num_devices", "num_nodes")

_guard = guarded(LIBRARY)


class _LoggerHooks:
    """What a logger is asked for. Without a fit it logs to the run that is active, and nothing outside of one."""

    def __init__(self, run: OpenRun | None = None, *, fit: Fit | None = None) -> None:
        super().__init__()
        self._run = run
        self._fit = fit

    @property
    def name(self) -> str | None:
        run = self.experiment
        return None if run is None else run.experiment

    @property
    def version(self) -> str | None:
        run = self.experiment
        return None if run is None else run.short

    @property
    def experiment(self) -> OpenRun | None:
        """The run that is logged to."""
        return self._fit.run if self._fit else self._run or active.active_run()

    @_guard
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of a step."""
        if self._fit is None:
            self._fit = begin(LIBRARY, run=self._run)
        if self._fit is not None:
            self._fit.log(metrics, step=step)

    @_guard
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log hyperparameters."""
        if self._fit is None:
            self._fit = begin(LIBRARY, run=self._run)
        if self._fit is not None:
            self._fit.log_params(_plain(params))


class _CallbackHooks:
    """Logs each fit of the Trainers that it is given to, on their first rank."""

    def __init__(self, run: OpenRun | None = None) -> None:
        super().__init__()
        self._run = run
        self._fit: Fit | None = None

    @_guard
    def on_fit_start(self, trainer: Any, module: Any) -> None:
        """Begin a fit, unless it has a logger or callback of ours already."""
        if not trainer.is_global_zero or any(isinstance(logger, _LoggerHooks) for logger in trainer.loggers):
            return
        self._fit = begin(LIBRARY, run=self._run)
        if self._fit is None:
            return
        logger, _ = _classes(type(trainer).__module__.partition(".trainer")[0])
        trainer.loggers = [*trainer.loggers, logger(fit=self._fit)]  # checkpoints have chosen their folder by the others
        self._fit.log_params(_plain(getattr(module, "hparams_initial", {})) | _of_trainer(trainer, module))

    @_guard
    def on_fit_end(self, trainer: Any, module: Any) -> None:
        """Log what came out, and end the fit."""
        fit = self._fit
        if fit is not None:
            try:
                _log_outcome(fit, trainer, module)
            finally:
                self._end(trainer, None)

    @_guard
    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """End a fit that failed."""
        self._end(trainer, exception)

    def _end(self, trainer: Any, error: BaseException | None) -> None:
        fit, self._fit = self._fit, None
        if fit is not None:
            trainer.loggers = [logger for logger in trainer.loggers if getattr(logger, "_fit", None) is not fit]
            fit.end(error)

    def __getstate__(self) -> dict[str, Any]:
        """What travels to processes that a strategy starts: nothing of this one."""
        return {"_run": None, "_fit": None}


@lru_cache
def _classes(namespace: str) -> tuple[type[Any], type[Any]]:
    """Make our logger and our callback for one of Lightning's two packages."""
    logger = importlib.import_module(f"{namespace}.loggers.logger").Logger
    callback = importlib.import_module(f"{namespace}.callbacks").Callback
    return type("StratalLogger", (_LoggerHooks, logger), {}), type("StratalCallback", (_CallbackHooks, callback), {})


def callback_of(namespace: str, run: OpenRun | None = None) -> Any:
    """Give a callback for Trainers of `lightning.pytorch` or `pytorch_lightning`."""
    return _classes(namespace)[1](run)


def LightningCallback(run: OpenRun | None = None) -> Any:  # noqa: N802  # stands where other libraries have a class
    """Give a callback for the Trainers of the package that is in use."""
    return callback_of(_namespace(), run)


def logger(run: OpenRun | None = None) -> Any:
    """Give a logger: `Trainer(logger=logger())`. run: None for the one that is active."""
    return _classes(_namespace())[0](run)


def watch(run: OpenRun, trainer: Any) -> None:
    """Log the fits of a Trainer."""
    if not any(isinstance(callback, _CallbackHooks) for callback in trainer.callbacks):
        trainer.callbacks.append(callback_of(type(trainer).__module__.partition(".trainer")[0], run))


def _namespace() -> str:
    return "pytorch_lightning" if "pytorch_lightning" in sys.modules and "lightning" not in sys.modules else "lightning.pytorch"


def _of_trainer(trainer: Any, module: Any) -> dict[str, object]:
    found: dict[str, object] = {f"trainer/{name}": getattr(trainer, name, None) for name in _TRAINER}
    found["trainer/accelerator"] = type(trainer.accelerator).__name__
    found["module_class"] = type(module).__name__
    found["parameters"] = sum(weight.numel() for weight in module.parameters() if not _is_lazy(weight))
    return {name: value for name, value in found.items() if value is not None}


def _is_lazy(weight: Any) -> bool:
    return hasattr(weight, "materialize")  # its shape is known after the first batch


def _log_outcome(fit: Fit, trainer: Any, module: Any) -> None:
    optimizers = trainer.optimizers
    fit.log_params({f"optimizer/{number}" if number else "optimizer": type(one).__name__ for number, one in enumerate(optimizers)})
    found: dict[str, float] = {"epochs": float(trainer.current_epoch), "steps": float(trainer.global_step)}
    for callback in trainer.callbacks:
        score = getattr(callback, "best_model_score", None)
        if score is not None:
            found["best_score"] = float(score)
            fit.log_params({"best_checkpoint": str(callback.best_model_path)})
        if getattr(callback, "stopped_epoch", 0):
            found["stopped_epoch"] = float(callback.stopped_epoch)
    fit.log(found)


def _plain(params: Any) -> dict[str, object]:
    """Give hyperparameters as a mapping: they come as one, or as a namespace of arguments."""
    return dict(params) if isinstance(params, Mapping) else dict(vars(params))
