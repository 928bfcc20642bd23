"""Stratal: a team's whole machine-learning layer in one package. `import stratal as st`.

The verbs a user types, each imported when it is first used: importing this package costs a few milliseconds.
"""

import importlib

from stratal.version import __version__

# Name to home. What is not here is not public.
_HOMES = {
    # tracking
    "run": "stratal.tracking.runs",
    "log": "stratal.tracking.runs",
    "Run": "stratal.tracking.runs",
    "active_run": "stratal.tracking.active",
    "use_store": "stratal.tracking.opening",
    "open_store": "stratal.tracking.opening",
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
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
