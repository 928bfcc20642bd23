"""What becomes of telemetry that cannot be written: it is counted and warned about, and the training goes on; or it raises, if that is set.

Laws (tested): 1 a call that was lost is counted, and only such a call. 2 a mistake of the caller raises in any case. 3 a run whose start
could not be written says it later, before anything else. 4 who reads the run is told how many calls it misses.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from stratal.core.errors import StoreDown

log = logging.getLogger(__name__)


class Writes(Protocol):
    """A journal's writer, as a run needs it."""

    def log(self, run: bytes, epoch: int, metrics: Mapping[str, float], step: int | None = None, at_ns: int | None = None) -> None: ...

    def fact(self, run: bytes, epoch: int, what: str, value: object, at_ns: int | None = None) -> None: ...


class Losses:
    """The calls of a run that were lost, by what they were. name: how the run is called in warnings; is_strict: raise instead."""

    def __init__(self, name: str, *, is_strict: bool) -> None:
        self.is_strict = is_strict
        self._name = name
        self._lost: Counter[str] = Counter()
        self._said = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many calls were lost."""
        return sum(self._lost.values())

    def take(self, what: str, error: StoreDown) -> None:
        """Count a call that could not be kept, and warn of the first one. Raises it instead if the run is strict."""
        if self.is_strict:
            raise error
        with self._lock:
            is_first = not self._lost
            self._lost[what] += 1
        if is_first:
            log.warning(
                '%s loses what it says, and goes on (%s): %s; %s. With on_error = "raise" such calls raise.',
                self._name, what, error.message, error.hint,
            )  # fmt: skip

    def say(self) -> None:
        """Warn of how many calls were lost, if that was not said yet."""
        with self._lock:
            count, parts = sum(self._lost.values()), ", ".join(f"{number} x {what}" for what, number in sorted(self._lost.items()))
            is_news, self._said = count != self._said, count
        if is_news:
            log.warning("%s has lost %d call%s: %s", self._name, count, "" if count == 1 else "s", parts)


class Beginning:
    """Stands in for the writer of a run whose start could not be written yet: each call tries to say the start first."""

    def __init__(self, writer: Writes, begin: Callable[[], None]) -> None:
        """begin: says the start, and puts the writer back into its place; raises StoreDown as long as it cannot."""
        self._writer = writer
        self._begin = begin

    def log(self, run: bytes, epoch: int, metrics: Mapping[str, float], step: int | None = None, at_ns: int | None = None) -> None:
        """Say the start, then log."""
        self._begin()
        self._writer.log(run, epoch, metrics, step, at_ns)

    def fact(self, run: bytes, epoch: int, what: str, value: object, at_ns: int | None = None) -> None:
        """Say the start, then the fact."""
        self._begin()
        self._writer.fact(run, epoch, what, value, at_ns)
