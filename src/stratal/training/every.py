"""How often something happens in a job: "50 steps", "1 epoch"."""

import re

from stratal.core.errors import Misuse
from stratal.core.records import Record

_FORM = re.compile(r"\s*(\d+)\s*(step|epoch)s?\s*")


class Every(Record, frozen=True, kw_only=True):
    """Every `count` steps or epochs."""

    count: int
    unit: str

    def is_due(self, *, steps: int, ended_epochs: int, ends_epoch: bool) -> bool:
        """Tell whether it is time, at the border between two steps. steps, ended_epochs: done so far."""
        if self.unit == "step":
            return steps % self.count == 0
        return ends_epoch and ended_epochs % self.count == 0


def parse_every(text: str) -> Every:
    """Read "50 steps" or "1 epoch". Raises Misuse."""
    match = _FORM.fullmatch(text)
    if match is None or int(match[1]) < 1:
        raise Misuse(f"{text!r} does not say how often", hint='write "50 steps" or "1 epoch"')
    return Every(count=int(match[1]), unit=match[2])
