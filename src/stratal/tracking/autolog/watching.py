"""What `run.watch` does with which object. A class is known by its name and its library's, so that no library is imported for it."""

import importlib
from typing import NamedTuple

from stratal.core.errors import Misuse
from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import FitOptions


class Wanted(NamedTuple):
    """What the caller asked for; None: the default of what is watched."""

    optimizer: object = None
    every: int | None = None
    histograms: bool | None = None
    training_score: bool | None = None
    model: str | None = None


_ESTIMATOR = ("training_score", "model")
_MODULE = ("optimizer", "every", "histograms")
# How often norms are logged unless said otherwise. A guess: one transfer in 100 steps is not felt.
_EVERY = 100
# (library, class) to the file that watches it, and the options that it takes. The first class of a target's MRO counts.
_KNOWN = {
    ("xgboost", "XGBModel"): ("xgboost", _ESTIMATOR),
    ("lightgbm", "LGBMModel"): ("lightgbm", _ESTIMATOR),
    ("sklearn", "BaseEstimator"): ("sklearn", _ESTIMATOR),
    ("lightning", "Trainer"): ("lightning", ()),
    ("pytorch_lightning", "Trainer"): ("lightning", ()),
    ("transformers", "Trainer"): ("transformers", ()),
    ("torch", "Module"): ("torch", _MODULE),
}


def watch(run: OpenRun, target: object, wanted: Wanted) -> None:
    """Watch a target. Raises Misuse for one of an unknown kind, or an option that its kind does not take."""
    home, allowed = _home_of(target)
    if wrong := [name for name, value in wanted._asdict().items() if value is not None and name not in allowed]:
        raise Misuse(
            f"watching a {type(target).__name__} takes no {wrong[0]}",
            hint=f"it takes {' and '.join(allowed)}" if allowed else "it takes no options",
        )
    if not run.is_open:
        raise Misuse(f"run {run.short} has ended", hint="watch inside of its block")
    module = importlib.import_module(f"stratal.tracking.autolog.{home}")
    if allowed == _ESTIMATOR:
        module.watch(run, target, FitOptions(wanted.training_score is not False, wanted.model))
    elif allowed == _MODULE:
        every = _EVERY if wanted.every is None else wanted.every
        module.watch(run, target, optimizer=wanted.optimizer, every=every, histograms=bool(wanted.histograms))
    else:
        module.watch(run, target)


def _home_of(target: object) -> tuple[str, tuple[str, ...]]:
    for cls in type(target).__mro__:
        if found := _KNOWN.get((cls.__module__.partition(".")[0], cls.__name__)):
            return found
    kinds = sorted({library for library, _ in _KNOWN})
    raise Misuse(f"a {type(target).__name__} cannot be watched", hint=f"watch an estimator, a trainer or a module of: {', '.join(kinds)}")
