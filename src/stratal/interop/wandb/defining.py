"""Definitions of metrics, as ours: one x, one summary, one goal. What says more is a statement, too."""

import re

from stratal.interop.foreign import Defined, Stated, Statement
from stratal.interop.protobuf import Fields
from stratal.interop.wandb.history import STEP, TIME
from stratal.interop.wandb.messages import MetricSaid, metric_definition

# The first one that was asked for stands for the metric.
_KINDS = ("best", "min", "max", "mean", "first", "last")
_AXES = {STEP: "step", TIME: "time"}


class Definitions:
    """What a run has said of its metrics so far: a later definition adds to the earlier one of the same name."""

    def __init__(self) -> None:
        self._said: dict[str, MetricSaid] = {}

    def read(self, found: Fields, at_ns: int) -> list[Statement]:
        """Give what a definition says, with what was said before it."""
        said = metric_definition(found)
        if not said.name:
            return []
        if (before := self._said.get(said.name)) is not None and not said.is_overwriting:
            said = said._replace(
                step_metric=said.step_metric or before.step_metric,
                kinds=[*dict.fromkeys((*before.kinds, *said.kinds))],
                goal=said.goal or before.goal,
            )
        self._said[said.name] = said
        summary = next((kind for kind in _KINDS if kind in said.kinds and (kind != "best" or said.goal)), "last")
        x = _AXES.get(said.step_metric, _joined(said.step_metric)) or None
        name = _joined(said.name)
        statements: list[Statement] = [Defined(name=name, x=None if x == name else x, summary=summary, goal=said.goal or None, at_ns=at_ns)]
        if said.kinds not in ([], [summary]):
            statements.append(Stated(kind="metric", subject=said.name, body={"summary": said.kinds}, at_ns=at_ns))
        return statements


def _joined(name: str) -> str:
    """Give a name as points have it: a bare dot leads into nested values, one after a backslash is a dot."""
    return re.sub(r"(\\?)\.", lambda found: "." if found[1] else "/", name)
