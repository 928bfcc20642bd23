"""The verbs of autolog: switch on what works unasked, get a callback for what wants one, and learn what is what."""

import importlib
import importlib.util
import sys
from typing import NamedTuple

from stratal.core.errors import Misuse
from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.console import console
from stratal.tracking.autolog.entries import switched
from stratal.tracking.autolog.fits import complain, start_runs_with
from stratal.tracking.facts import check_name
from stratal.tracking.runs import run as start_run


class AutologLine(NamedTuple):
    """One library. state: on, off, by hand, absent (not installed). how: what is logged, or what to write."""

    name: str
    state: str
    how: str


class AutologReport(tuple[AutologLine, ...]):
    """What is logged without a call of yours, and what to write for the rest. Prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(f"{line.name:14}{line.state:9}{line.how}" for line in self)

    __repr__ = __str__


class _ByHand(NamedTuple):
    """A library that has no hook for all its fits. module: what must be there; package: what brings it; callback: class of its file."""

    module: str
    package: str
    callback: str
    how: str
    file: str = ""


_BY_HAND = {
    "logging": _ByHand("logging", "python", "RunHandler", 'logging.getLogger().addHandler(st.callback("logging"))', "records"),
    "sklearn": _ByHand(
        "sklearn", "scikit-learn", "SklearnCallback", 'run.watch(estimator), or estimator.set_callbacks(st.callback("sklearn"))'
    ),
    "xgboost": _ByHand("xgboost", "xgboost", "XgboostCallback", 'run.watch(estimator), or callbacks=[st.callback("xgboost")]'),
    "lightgbm": _ByHand("lightgbm", "lightgbm", "LightgbmCallback", 'run.watch(estimator), or callbacks=[st.callback("lightgbm")]'),
    "keras": _ByHand("keras", "keras", "KerasCallback", 'model.fit(..., callbacks=[st.callback("keras")])'),
    "torch": _ByHand("torch", "torch", "", "run.watch(module, optimizer=..., every=100)"),
    "lightning": _ByHand(
        "lightning",
        "lightning",
        "LightningCallback",
        'st.autolog("lightning"), run.watch(trainer), or callbacks=[st.callback("lightning")]',
    ),
    "transformers": _ByHand(
        "transformers", "transformers", "TransformersCallback", 'run.watch(trainer), or callbacks=[st.callback("transformers")]'
    ),
}
_SWITCHED = {
    "lightning": "each Trainer that is made from now on",
    "transformers": 'TrainingArguments(report_to="stratal"), or run.watch(trainer)',
}
_UNASKED = {"console": "what is printed becomes the run's output: stratal output RUN, artifact output.log"}


def autolog(*names: str, start_runs: str | None = None, off: bool = False) -> AutologReport:
    """Switch on autolog in this process, and give what is on, and what to write where a library has no hook for all its fits.

    names: what to switch, all if none is given. start_runs: an experiment; a fit outside of any run then gets a run of its own
    in it, else it is not logged. off: switch it off instead; without names the starting of runs, too. No class and no module is
    patched. Raises Misuse for an unknown name.
    """
    known = (*_UNASKED, *_BY_HAND)
    if unknown := [name for name in names if name not in known]:
        raise Misuse(f"{unknown[0]!r} is not known to autolog", hint=f"known are: {', '.join(known)}")
    if not names or "console" in names:
        console.stop() if off else console.start()
    if not names or "lightning" in names:
        switched.discard("lightning") if off else switched.add("lightning")
    if "transformers" in names or (not names and "transformers" in sys.modules):
        _report_to_us(off=off)
    if off and not names:
        start_runs_with(None)
    elif start_runs is not None:
        check_name("experiment", start_runs)
        start_runs_with(lambda library: start_run(start_runs, name=library))
    return report(*names)


def report(*names: str) -> AutologReport:
    """Say what is on, of these or of all, without changing it."""
    return AutologReport(_line(name) for name in names or (*_UNASKED, *_BY_HAND))


def callback(library: str, *, run: OpenRun | None = None) -> object:
    """Give the callback of a library that logs to a run: pass it where the library takes callbacks.

    run: None for the one that is active when a fit begins; without one nothing is logged. Raises Misuse for an unknown library,
    or one that is not installed.
    """
    known = _BY_HAND.get(library)
    if known is None or not known.callback:
        names = ", ".join(name for name, one in _BY_HAND.items() if one.callback)
        raise Misuse(f"there is no callback for {library!r}", hint=f"there are: {names}")
    if not _is_installed(known.module):
        raise Misuse(f"{library} is not installed", hint=f"install it: pip install {known.package}")
    home = importlib.import_module(f"stratal.tracking.autolog.{known.file or library}")
    made: object = getattr(home, known.callback)(run)
    return made


def _report_to_us(*, off: bool) -> None:
    if not _is_installed("transformers"):
        return
    try:
        from stratal.tracking.autolog.transformers import register  # seconds: only for those who use it
    except Exception as error:  # noqa: BLE001  # the edge: a library that cannot be imported here is the user's to mend, not to die of
        complain("transformers", f"{type(error).__name__}: {error}")
        return
    register(off=off)
    switched.discard("transformers") if off else switched.add("transformers")


def _line(name: str) -> AutologLine:
    if name == "console":
        return AutologLine(name, "on" if console.is_on else "off", _UNASKED[name])
    known = _BY_HAND[name]
    if not _is_installed(known.module):
        return AutologLine(name, "absent", f"pip install {known.package}")
    if name in switched:
        return AutologLine(name, "on", _SWITCHED[name])
    return AutologLine(name, "by hand", known.how)


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
