"""The verbs of autolog: switch on what works unasked, get a callback for what wants one, and learn what is what."""

import importlib
import importlib.util
from typing import NamedTuple

from stratal.core.errors import Misuse
from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import start_runs_with
from stratal.tracking.runs import run


class AutologLine(NamedTuple):
    """One library. state: on, by hand, off, absent (not installed). how: what to write."""

    name: str
    state: str
    how: str


class AutologReport(tuple[AutologLine, ...]):
    """What is logged without a call of yours, and what to write for the rest. Prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(f"{line.name:14}{line.state:9}{line.how}" for line in self)

    __repr__ = __str__


# Name to the module that must be there, and what a user writes.
_BY_HAND = {
    "sklearn": ("sklearn", 'run.watch(estimator), or estimator.set_callbacks(st.callback("sklearn"))'),
    "xgboost": ("xgboost", 'run.watch(estimator), or callbacks=[st.callback("xgboost")]'),
    "lightgbm": ("lightgbm", 'run.watch(estimator), or callbacks=[st.callback("lightgbm")]'),
}
_CALLBACKS = {"sklearn": "SklearnCallback", "xgboost": "XgboostCallback", "lightgbm": "LightgbmCallback"}


def autolog(*names: str, start_runs: str | None = None) -> AutologReport:
    """Switch on autolog in this process, and give what is on, and what to write where a library has no hook for all its fits.

    names: what to switch on, all if none is given. start_runs: an experiment; a fit outside of any run then gets a run of its
    own in it, else it is not logged. No class and no module is patched. Raises Misuse for an unknown name.
    """
    if unknown := [name for name in names if name not in _BY_HAND]:
        raise Misuse(f"{unknown[0]!r} is not known to autolog", hint=f"known are: {', '.join(_BY_HAND)}")
    start_runs_with(None if start_runs is None else lambda library: run(start_runs, name=library))
    return report(names or tuple(_BY_HAND))


def report(names: tuple[str, ...]) -> AutologReport:
    """Say what is on, without changing it."""
    return AutologReport(_line(name) for name in names)


def callback(library: str, *, run: OpenRun | None = None) -> object:
    """Give the callback of a library that logs to a run: pass it where the library takes callbacks.

    run: None for the one that is active when a fit begins; without one nothing is logged. Raises Misuse for an unknown library,
    or one that is not installed.
    """
    if library not in _CALLBACKS:
        raise Misuse(f"there is no callback for {library!r}", hint=f"there are: {', '.join(_CALLBACKS)}")
    if not _is_installed(_BY_HAND[library][0]):
        raise Misuse(f"{library} is not installed", hint=f"install it: pip install {_PACKAGES.get(library, library)}")
    made: object = getattr(importlib.import_module(f"stratal.tracking.autolog.{library}"), _CALLBACKS[library])(run)
    return made


_PACKAGES = {"sklearn": "scikit-learn"}


def _line(name: str) -> AutologLine:
    module, how = _BY_HAND[name]
    return AutologLine(name, "by hand", how) if _is_installed(module) else AutologLine(name, "absent", f"{name} is not installed")


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
