"""Fits: which run a fit is logged to, under which names, and that only one library logs it."""

import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple, ParamSpec, TypeVar

from stratal.core.errors import StratalError
from stratal.core.ids import RunId
from stratal.tracking import active
from stratal.tracking.active import OpenRun
from stratal.tracking.facts import Scalar, flatten, to_params

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

# Longer texts of params are cut: the printed form of a big array or pipeline helps nobody.
_LONGEST = 500

_lock = threading.Lock()
_counts: "weakref.WeakKeyDictionary[OpenRun, int]" = weakref.WeakKeyDictionary()
_exclusive: dict[RunId, "Fit"] = {}
_complained: set[str] = set()
# Starts a run for a fit outside of one; None: such a fit is not logged.
_start: list[Callable[[str], OpenRun]] = []


class FitOptions(NamedTuple):
    """What is logged of a fitted estimator beside params, curves and attributes.

    training_score: `estimator.score` on the training data; it predicts all of them. model: a name to save the fitted one under.
    """

    training_score: bool = True
    model: str | None = None


class Fit:
    """One fit that is logged. The first of a run has plain names; later ones `fit-2/...`, because they would overwrite it."""

    def __init__(self, library: str, run: OpenRun, prefix: str, *, owns_run: bool) -> None:
        self.library = library
        self.run = run
        self.prefix = prefix
        self._owns_run = owns_run

    def log(self, metrics: Mapping[str, Any], *, step: int | None = None) -> None:
        """Log what is a number of these; nested names are joined. The rest is left out."""
        found = {self.prefix + name: float(value) for name, value in flatten(metrics).items() if isinstance(value, Real)}
        if found and self.run.is_open:
            self.run.log(found, step=step)

    def show(self, values: Mapping[str, object], *, step: int | None = None) -> None:
        """Log what is looked at: histograms, figures, tables."""
        if values and self.run.is_open:
            self.run.log({self.prefix + name: value for name, value in values.items()}, step=step)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Set params; texts that are too long for anybody to read are cut."""
        if params and self.run.is_open:
            self.run.log_params({self.prefix + name: _cut(value) for name, value in to_params(params).items()})

    def save(self, name: str, data: bytes) -> None:
        """Save an artifact."""
        if self.run.is_open:
            self.run.save_bytes(self.prefix + name, data)

    def end(self, error: BaseException | None = None) -> None:
        """End the fit, and the run if it was started for it. Ending it twice does nothing."""
        with _lock:
            if _exclusive.get(self.run.id) is self:
                del _exclusive[self.run.id]
        if self._owns_run and self.run.is_open:
            say = "" if error is None else f"{type(error).__name__}: {error}"[:2000]
            try:
                self.run.finish("finished" if error is None else "failed", error=say)
            except StratalError as down:
                complain(self.library, down.message)


def begin(library: str, *, run: OpenRun | None = None, exclusive: bool = False) -> Fit | None:
    """Begin a fit in a run (None: the active one). None if there is no run, or a fit around this one is being logged.

    exclusive: fits inside of this one are not logged by anybody, until it ends; only for libraries that always say when it does.
    """
    run, owns_run = (run if run is not None else active.active_run()), False
    if run is None and _start:
        run, owns_run = _start[-1](library), True
    if run is None or not run.is_open:
        return None
    with _lock:
        if run.id in _exclusive:
            return None
        number = _counts[run] = _counts.get(run, 0) + 1
        fit = Fit(library, run, "" if number == 1 else f"fit-{number}/", owns_run=owns_run)
        if exclusive:
            _exclusive[run.id] = fit
    return fit


def start_runs_with(start: Callable[[str], OpenRun] | None) -> None:
    """Start a run for each fit outside of one; None: no more."""
    _start[:] = [] if start is None else [start]


def guarded(library: str) -> Callable[[Callable[P, T]], Callable[P, T | None]]:
    """Make a hook harmless: what it raises is said once per library, and never reaches the user's code."""

    def wrap(hook: Callable[P, T]) -> Callable[P, T | None]:
        @functools.wraps(hook)
        def harmless(*args: P.args, **kwargs: P.kwargs) -> T | None:
            try:
                return hook(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  # the edge: a fit must not end because of its log
                complain(library, f"{type(error).__name__}: {error}")
                return None

        return harmless

    return wrap


def complain(library: str, what: str) -> None:
    """Say once per library that something could not be logged."""
    if library not in _complained:
        _complained.add(library)
        log.warning("autolog of %s left something out: %s (said once)", library, what)


def _cut(value: Scalar) -> Scalar:
    return value if not isinstance(value, str) or len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    _exclusive.clear()  # a child does not own its parent's fits


os.register_at_fork(after_in_child=_after_fork)
