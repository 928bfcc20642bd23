"""The pipelines room: typed functions become a graph, and the graph runs durably, in parallel, from a cache that explains itself.

May live here: steps, handles, graphs, the cache key, the engine, the rows of steps.
May not: what a step does (data, features, training, registry are other rooms; `recipes` composes), drawing (`cli`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratal.pipelines.definition import Pipeline as Pipeline
    from stratal.pipelines.definition import pipeline as pipeline
    from stratal.pipelines.policy import Permanent as Permanent
    from stratal.pipelines.policy import Temporary as Temporary
    from stratal.pipelines.progress import StepEvent as StepEvent
    from stratal.pipelines.running import PipelineRun as PipelineRun
    from stratal.pipelines.running import StepFailed as StepFailed
    from stratal.pipelines.steps import Step as Step
    from stratal.pipelines.steps import step as step

_HOMES = {
    "Permanent": "stratal.pipelines.policy",
    "Pipeline": "stratal.pipelines.definition",
    "PipelineRun": "stratal.pipelines.running",
    "Step": "stratal.pipelines.steps",
    "StepEvent": "stratal.pipelines.progress",
    "StepFailed": "stratal.pipelines.running",
    "Temporary": "stratal.pipelines.policy",
    "pipeline": "stratal.pipelines.definition",
    "step": "stratal.pipelines.steps",
}

__all__ = ["Permanent", "Pipeline", "PipelineRun", "Step", "StepEvent", "StepFailed", "Temporary", "pipeline", "step"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
