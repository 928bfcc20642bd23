"""`@step`: a typed function that runs when it is called outside of a pipeline, and becomes a node of the graph inside of one."""

import functools
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, ParamSpec, TypeVar, cast, overload

from stratal.core.errors import Misuse
from stratal.pipelines.graph import current_builder
from stratal.pipelines.handles import Handle
from stratal.pipelines.policy import StepOptions, check_step_options

P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A function with options. `__wrapped__` is the function itself."""

    def __init__(self, function: Callable[P, R], options: StepOptions, after: tuple[Handle, ...] = ()) -> None:
        functools.update_wrapper(self, function)
        self.__wrapped__ = function
        self.options = options
        self._after = after
        check_step_options(options, self.name)

    @property
    def name(self) -> str:
        return self.options.name or str(getattr(self.__wrapped__, "__name__", type(self.__wrapped__).__name__))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function; inside a pipeline, add a node and give a handle of its output."""
        builder = current_builder()
        if builder is None:
            return self.__wrapped__(*args, **kwargs)
        # A handle stands in for R until the pipeline runs; that is the one lie of this file, and handles refuse to be caught in it.
        return cast("R", builder.add(self, self.options, args, kwargs, self._after))

    def with_options(
        self,
        *,
        name: str | None = None,
        retries: int | None = None,
        backoff_s: float | None = None,
        timeout_s: float | None = None,
        cache: bool | None = None,
    ) -> "Step[P, R]":
        """Give the same step with some options changed, for one call: trained.with_options(name="small")(...)."""
        given = {"name": name, "retries": retries, "backoff_s": backoff_s, "timeout_s": timeout_s, "cache": cache}
        changes = {key: value for key, value in given.items() if value is not None}
        return Step(self.__wrapped__, replace(self.options, **changes), self._after)  # type: ignore[arg-type]  # typed by the signature

    def after(self, *outputs: object) -> "Step[P, R]":
        """Give the same step, to run only when these outputs are there although it does not use them."""
        for output in outputs:
            if not isinstance(output, Handle):
                raise Misuse(f"{self.name}.after: {output!r} is not the output of a step", hint="inside a pipeline: b.after(a())()")
        return Step(self.__wrapped__, self.options, (*self._after, *cast("tuple[Handle, ...]", outputs)))

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    def __reduce__(self) -> tuple[object, ...]:
        # By name where a worker can import it: its globals then need not travel. `__main__` is another module in a worker.
        module = self.__wrapped__.__module__
        if module != "__main__" and _find(module, self.__wrapped__.__qualname__) is self:
            return _import_step, (module, self.__wrapped__.__qualname__)
        return Step, (self.__wrapped__, self.options)


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    retries: int = 0,
    backoff_s: float = 1.0,
    timeout_s: float | None = None,
    cache: bool | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    retries: int = 0,
    backoff_s: float = 1.0,
    timeout_s: float | None = None,
    cache: bool | None = None,
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Make a step of a typed function: `@step`, or `@step(retries=2, timeout_s=600)`.

    retries: further attempts after an error that is not Permanent. cache: may the result serve later runs; by default yes,
    unless the function is annotated `-> None`. timeout_s: longest time of one attempt. name: its name in the graph.
    """
    options = StepOptions(name=name, retries=retries, backoff_s=backoff_s, timeout_s=timeout_s, cache=cache)
    if function is not None:
        return Step(function, options)
    return lambda function: Step(function, options)


def _find(module: str, qualname: str) -> object:
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _import_step(module: str, qualname: str) -> object:
    __import__(module)
    return _find(module, qualname)
