"""Stratal: a team's whole machine-learning layer in one package. `import stratal as st`.

The verbs a user types, each imported when it is first used: importing this package costs a few milliseconds.
"""

import importlib

from stratal.recipes import wiring as _wiring  # noqa: F401  # refs of all rooms resolve in any process that imports us
from stratal.version import __version__

# Name to home. What is not here is not public.
_HOMES = {
    # tracking
    "run": "stratal.tracking.runs",
    "log": "stratal.tracking.runs",
    "Run": "stratal.tracking.runs",
    "active_run": "stratal.tracking.active",
    "get": "stratal.tracking.resolving",
    "runs": "stratal.tracking.finding",
    "compare": "stratal.tracking.explaining:compare_runs",
    "why": "stratal.tracking.explaining:explain",
    "load": "stratal.tracking.loading",
    "seed_everything": "stratal.tracking.capture.seeds",
    "use_store": "stratal.tracking.opening",
    "open_store": "stratal.tracking.opening",
    "File": "stratal.tracking.values",
    "Params": "stratal.tracking.values",
    "Model": "stratal.tracking.values",
    "Evaluation": "stratal.tracking.values",
    # data
    "Dataset": "stratal.data",
    "Schema": "stratal.data",
    "ValidationFailed": "stratal.data",
    "dataset": "stratal.data",
    "string": "stratal.data",
    "integer": "stratal.data",
    "number": "stratal.data",
    "boolean": "stratal.data",
    "category": "stratal.data",
    "timestamp": "stratal.data",
    # features
    "feature_view": "stratal.features",
    # tuning
    "study": "stratal.tuning",
    "uniform": "stratal.tuning",
    "log_uniform": "stratal.tuning",
    "integers": "stratal.tuning",
    "log_integers": "stratal.tuning",
    "choice": "stratal.tuning",
    "Median": "stratal.tuning",
    "Random": "stratal.tuning",
    "TPE": "stratal.tuning",
    "TrialStopped": "stratal.tuning",
    # training
    "job": "stratal.training",
    # pipelines
    "step": "stratal.pipelines",
    "pipeline": "stratal.pipelines",
    "Temporary": "stratal.pipelines",
    "Permanent": "stratal.pipelines",
    # evaluation
    "evaluate": "stratal.evaluation",
    "kpi": "stratal.evaluation",
    # registry
    "register": "stratal.recipes.steps",
    "promote": "stratal.recipes.steps",
    "policy": "stratal.registry",
    "gate": "stratal.registry",
    "data_valid": "stratal.registry",
    "better_than_champion": "stratal.registry",
    "approvals": "stratal.registry",
    "approve": "stratal.registry",
    "rollback": "stratal.registry",
    "archive": "stratal.registry",
    "alias": "stratal.registry",
    "history": "stratal.registry",
    "set_policy": "stratal.registry",
    "TransitionRefused": "stratal.registry",
    # errors
    "StratalError": "stratal.core.errors",
    "Misuse": "stratal.core.errors",
    "Forbidden": "stratal.core.errors",
    "NotFound": "stratal.core.errors",
    "Conflict": "stratal.core.errors",
    "StaleLease": "stratal.core.errors",
    "Refused": "stratal.core.errors",
    "Damaged": "stratal.core.errors",
    "StoreDown": "stratal.core.errors",
    "Bug": "stratal.core.errors",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  # the table is the list


def __getattr__(name: str) -> object:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"stratal has no {name!r}") from None
    module, _, other = home.partition(":")
    value: object = getattr(importlib.import_module(module), other or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
