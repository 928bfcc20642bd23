"""Median stopping: end a trial whose best report so far is worse than the median of finished trials at the same step.

After Golovin et al. (Google Vizier, KDD 2017), with the best instead of the mean of a trial's own reports, as Optuna does.
"""

import math
from collections.abc import Sequence
from statistics import median

from stratal.core.errors import Misuse
from stratal.core.records import Record, to_json


class Median(Record, frozen=True, kw_only=True, tag="median"):
    """startup: finished trials that must have reported at the step before any trial is stopped there (5 as in Optuna).

    warmup: steps below this one never stop a trial.
    """

    startup: int = 5
    warmup: int = 0

    def __post_init__(self) -> None:
        if self.startup < 1 or self.warmup < 0:
            raise Misuse(f"Median(startup={self.startup}, warmup={self.warmup}): startup is 1 or more, warmup 0 or more")

    def describe(self) -> str:
        return to_json(self)

    def should_stop(self, step: int, own: Sequence[float], peers: Sequence[float]) -> bool:
        comparable = [loss for loss in peers if not math.isnan(loss)]
        if step < self.warmup or len(comparable) < self.startup:
            return False
        numbers = [loss for loss in own if not math.isnan(loss)]
        return not numbers or min(numbers) > median(comparable)
