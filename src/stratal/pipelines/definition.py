"""`@pipeline`: a function of step calls. It builds a graph, and runs it durably."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar, cast, overload

from stratal.compute.port import Workers
from stratal.core.errors import Misuse
from stratal.pipelines.annotations import UNKNOWN, hints_of
from stratal.pipelines.graph import Builder, Graph, bind, building, call_arguments, check_value, current_builder
from stratal.pipelines.policy import PipelineOptions, check_pipeline_options
from stratal.pipelines.progress import StepEvent

if TYPE_CHECKING:
    from stratal.pipelines.running import PipelineRun

P = ParamSpec("P")
R = TypeVar("R")


class Pipeline(Generic[P, R]):
    """A function of step calls, with options. Called outside of a pipeline it runs plainly, inside of one it is nested."""

    def __init__(self, function: Callable[P, R], options: PipelineOptions) -> None:
        functools.update_wrapper(self, function)
        self.__wrapped__ = function
        self.options = options
        check_pipeline_options(options, self.name)

    @property
    def name(self) -> str:
        return self.__wrapped__.__name__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run all steps here and now as plain functions (to debug); inside a pipeline, put them into its graph."""
        builder = current_builder()
        if builder is None:
            return self.__wrapped__(*args, **kwargs)
        with builder.inside(self.name):
            return self.__wrapped__(*args, **kwargs)

    def graph(self, *args: P.args, **kwargs: P.kwargs) -> Graph:
        """Build the graph for these parameters, and run nothing. Raises Misuse for an edge whose ends do not fit."""
        if current_builder() is not None:
            raise Misuse(f"pipeline {self.name!r} is run inside of another one", hint=f"call it there: {self.name}(...)")
        self.parameters(*args, **kwargs)
        with building(Builder(name=self.name)) as builder:
            result = self.__wrapped__(*args, **kwargs)
        graph = builder.finish(result)
        if not graph.nodes:
            raise Misuse(f"pipeline {self.name!r} calls no step", hint="functions become steps by @step, and are called in the pipeline")
        return graph

    def run(self, *args: P.args, **kwargs: P.kwargs) -> "PipelineRun[R]":
        """Run the pipeline with these parameters, durably, and give its run. Raises StepFailed if a step failed.

        Steps whose code, inputs and environment are as they were before come from the cache."""
        from stratal.pipelines.running import start_run  # SQLAlchemy: a worker that imports the user's module must not pay for it

        started = start_run(self.__wrapped__, self.graph(*args, **kwargs), self.parameters(*args, **kwargs), self.options)
        return cast("PipelineRun[R]", started)

    def resume(self, run: str) -> "PipelineRun[R]":
        """Go on with a run that was killed, stopped or failed, by its id: what it finished and is unchanged is not run again."""
        from stratal.pipelines.running import resume_run  # as above

        return cast("PipelineRun[R]", resume_run(run, self.rebuilt, self.name, self.options))

    def rebuilt(self, params: dict[str, object]) -> Graph:
        """Build the graph again from a run's parameters by name."""
        args, kwargs = call_arguments(self.__wrapped__, params)
        return self.graph(*args, **kwargs)  # type: ignore[arg-type]  # they were bound to this very signature

    def with_options(
        self,
        *,
        workers: int | None = None,
        cache: bool | None = None,
        lease_s: float | None = None,
        experiment: str | None = None,
        store: str | None = None,
        compute: Callable[[int, str], Workers] | None = None,
        on_event: Callable[[StepEvent], None] | None = None,
    ) -> "Pipeline[P, R]":
        """Give the same pipeline with some options changed: churn.with_options(workers=2).run(...)."""
        given = {
            "workers": workers,
            "cache": cache,
            "lease_s": lease_s,
            "experiment": experiment,
            "store": store,
            "compute": compute,
            "on_event": on_event,
        }
        changes = {key: value for key, value in given.items() if value is not None}
        return Pipeline(self.__wrapped__, replace(self.options, **changes))  # type: ignore[arg-type]  # typed by the signature

    def parameters(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, object]:
        """Give the parameters by name, defaults filled in. Raises Misuse for one that does not fit its annotation."""
        hints = hints_of(self.__wrapped__)
        found = bind(self.__wrapped__, args, kwargs, f"pipeline {self.name!r}")
        for name, value in found.items():
            check_value(value, hints.get(name, UNKNOWN), f"{self.name}: {name}")
        return found

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(
    *, workers: int = 1, cache: bool = True, lease_s: float = 30.0, experiment: str | None = None
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...
def pipeline(
    function: Callable[P, R] | None = None,
    /,
    *,
    workers: int = 1,
    cache: bool = True,
    lease_s: float = 30.0,
    experiment: str | None = None,
) -> Pipeline[P, R] | Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Make a pipeline of a function that calls steps: `@pipeline`, or `@pipeline(workers=2)`.

    workers: processes that run steps. cache: may earlier results serve. experiment: where its runs appear, by default its name.
    lease_s: how long its coordinator may be silent before another may take a run over.
    """
    options = PipelineOptions(workers=workers, cache=cache, lease_s=lease_s, experiment=experiment)
    if function is not None:
        return Pipeline(function, options)
    return lambda function: Pipeline(function, options)
