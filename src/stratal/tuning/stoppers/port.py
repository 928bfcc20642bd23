"""What a stopper is: the port."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Stopper(Protocol):
    """Decides at each report of a trial.

    Laws
    1 It is a function of its arguments alone. 2 Less loss is better. 3 It never stops a trial that nobody can be compared with.
    """

    def describe(self) -> str:
        """Say what it is, as text: a tag of the study's run."""
        ...

    def should_stop(self, step: int, own: Sequence[float], peers: Sequence[float]) -> bool:
        """step: of the report just made. own: losses reported so far, this one among them, by step. peers: losses of finished trials
        at that very step."""
        ...
