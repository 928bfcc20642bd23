"""Tuning: studies that search for good params, on any number of workers, over one store.

May live here: spaces, samplers, stoppers, studies and their trials.
May not: what an objective trains or measures. It is the user's function, and its metrics are those of the trial's run.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratal.tuning.samplers.port import Row, Sampler, SamplerPlan
    from stratal.tuning.samplers.random import Random
    from stratal.tuning.samplers.tpe import TPE
    from stratal.tuning.space import Space, choice, integers, log_integers, log_uniform, uniform
    from stratal.tuning.stoppers.median import Median
    from stratal.tuning.stoppers.port import Stopper
    from stratal.tuning.store import StudyStore
    from stratal.tuning.studies import Study, find_study, resolve_study, study
    from stratal.tuning.trials import StudyVersion, Trial
    from stratal.tuning.trying import LiveTrial, TrialStopped

# Loaded at first use: most of these files need NumPy, the store's SQLAlchemy.
_HOMES = {
    "LiveTrial": "trying",
    "Median": "stoppers.median",
    "Random": "samplers.random",
    "Row": "samplers.port",
    "Sampler": "samplers.port",
    "SamplerPlan": "samplers.port",
    "Space": "space",
    "Stopper": "stoppers.port",
    "Study": "studies",
    "StudyStore": "store",
    "StudyVersion": "trials",
    "TPE": "samplers.tpe",
    "Trial": "trials",
    "TrialStopped": "trying",
    "choice": "space",
    "find_study": "studies",
    "integers": "space",
    "log_integers": "space",
    "log_uniform": "space",
    "resolve_study": "studies",
    "study": "studies",
    "uniform": "space",
}

__all__ = [
    "TPE",
    "LiveTrial",
    "Median",
    "Random",
    "Row",
    "Sampler",
    "SamplerPlan",
    "Space",
    "Stopper",
    "Study",
    "StudyStore",
    "StudyVersion",
    "Trial",
    "TrialStopped",
    "choice",
    "find_study",
    "integers",
    "log_integers",
    "log_uniform",
    "resolve_study",
    "study",
    "uniform",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
