"""The graph: nodes named by their path, edges checked against annotations while the pipeline's function runs."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from stratal.core.errors import Misuse
from stratal.pipelines.annotations import UNKNOWN, admits, describe, fits, fixed_items, hints_of, item_wanted
from stratal.pipelines.handles import Handle, annotation_of, graph_of, item_of, node_of
from stratal.pipelines.policy import StepOptions


@dataclass(frozen=True, kw_only=True)
class Output:
    """A place in a node's arguments that another node's output fills: what a handle becomes in the finished graph."""

    node: str
    item: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Node:
    """One step call. `arguments` are by parameter name and hold `Output` where values come later; `after` are edges of order only."""

    path: str
    function: Callable[..., object]
    options: StepOptions
    arguments: Mapping[str, object]
    returns: object = UNKNOWN
    after: tuple[str, ...] = ()

    @property
    def is_cached(self) -> bool:
        """Tell whether a finished result may serve later runs; by default unless the step only has an effect (`-> None`)."""
        return self.returns is not type(None) if self.options.cache is None else self.options.cache

    def depends_on(self) -> tuple[str, ...]:
        """Give the paths of the nodes that must finish first, each once, in order of first use."""
        found = dict.fromkeys(output.node for value in self.arguments.values() for output in outputs_in(value))
        return tuple(found | dict.fromkeys(self.after))


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A finished graph. Nodes are in the order of their calls, which is an order in which they could run."""

    name: str
    nodes: Mapping[str, Node]
    result: object = None

    def edges(self) -> list[tuple[str, str]]:
        """Give (from, to) for every dependency."""
        return [(source, node.path) for node in self.nodes.values() for source in node.depends_on()]

    def successors(self) -> dict[str, list[str]]:
        """Give the nodes that wait for each node."""
        found: dict[str, list[str]] = {path: [] for path in self.nodes}
        for source, target in self.edges():
            found[source].append(target)
        return found


@dataclass(kw_only=True)
class Builder:
    """Collects nodes while a pipeline's function runs."""

    name: str
    nodes: dict[str, Node] = field(default_factory=dict)
    _prefix: tuple[str, ...] = ()
    _taken: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        function: Callable[..., object],
        options: StepOptions,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        after: tuple[Handle, ...] = (),
    ) -> Handle:
        """Add a step call. Raises Misuse if an argument cannot be what the step asks for."""
        hints = hints_of(function)
        path = self._place(options.name or str(getattr(function, "__name__", type(function).__name__)))
        arguments = {
            parameter: self._argument(value, hints.get(_bare(parameter), UNKNOWN), f"{path}: {parameter}")
            for parameter, value in bind(function, args, kwargs, f"step {path!r}").items()
        }
        for handle in after:
            self._own(handle, f"{path}: after")
        returns = hints.get("return", UNKNOWN)
        self.nodes[path] = Node(
            path=path,
            function=function,
            options=options,
            arguments=arguments,
            returns=returns,
            after=tuple(dict.fromkeys(node_of(handle) for handle in after)),
        )
        return Handle(graph=self, node=path, annotation=returns)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Put the nodes of a nested pipeline below its name."""
        before = self._prefix
        self._prefix = tuple(self._place(name).split("/"))
        try:
            yield
        finally:
            self._prefix = before

    def finish(self, result: object) -> Graph:
        """Close the graph. `result`: what the pipeline's function returned."""
        return Graph(name=self.name, nodes=dict(self.nodes), result=self._argument(result, UNKNOWN, f"{self.name}: return"))

    def _place(self, name: str) -> str:
        path = "/".join((*self._prefix, name))
        count = self._taken[path] = self._taken.get(path, 0) + 1
        return path if count == 1 else f"{path}#{count}"

    def _own(self, handle: object, place: str) -> Handle:
        if not isinstance(handle, Handle):
            raise Misuse(f"{place} is a {type(handle).__name__}, not the output of a step", hint="write step.after(other_output)(...)")
        if graph_of(handle) is not self:
            raise Misuse(
                f"{place}: {handle!r} belongs to another graph",
                hint="call the step inside this pipeline, or pass its value as a parameter of the pipeline",
            )
        return handle

    def _argument(self, value: object, wanted: object, place: str) -> object:
        """Check a value against its annotation and replace handles, also those in lists, tuples and dicts."""
        if isinstance(value, Handle):
            _check_edge(self._own(value, place), wanted, place)
            return Output(node=node_of(value), item=item_of(value))
        if not _holds_handles(value):
            check_value(value, wanted, place)
            return value
        if isinstance(value, dict):
            return {key: self._argument(one, item_wanted(wanted, key), f"{place}[{key!r}]") for key, one in value.items()}
        assert isinstance(value, list | tuple)  # _holds_handles said so
        return type(value)(
            [self._argument(one, item_wanted(wanted, position), f"{place}[{position}]") for position, one in enumerate(value)]
        )


_building: ContextVar[Builder | None] = ContextVar("stratal_pipeline_building", default=None)


def current_builder() -> Builder | None:
    """Give the builder of the pipeline whose function runs now, None outside of one."""
    return _building.get()


@contextmanager
def building(builder: Builder) -> Iterator[Builder]:
    """Have step calls add nodes to `builder`."""
    token = _building.set(builder)
    try:
        yield builder
    finally:
        _building.reset(token)


def outputs_in(value: object) -> Iterator[Output]:
    """Find the outputs that an argument waits for."""
    if isinstance(value, Output):
        yield value
    elif type(value) in (list, tuple):
        for one in value:  # type: ignore[attr-defined]  # the line above says that it is a list or tuple
            yield from outputs_in(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from outputs_in(one)


def call_arguments(function: Callable[..., object], arguments: Mapping[str, object]) -> tuple[list[object], dict[str, object]]:
    """Turn arguments by parameter name into positional and keyword arguments of the function."""
    args: list[object] = []
    kwargs: dict[str, object] = {}
    for parameter in inspect.signature(function).parameters.values():
        star = f"*{parameter.name}"
        if parameter.kind is parameter.VAR_POSITIONAL and star in arguments:
            args.extend(arguments[star])  # type: ignore[arg-type]  # a tuple, by bind
        elif parameter.kind is parameter.VAR_KEYWORD and f"*{star}" in arguments:
            kwargs.update(arguments[f"*{star}"])  # type: ignore[call-overload]  # a dict, by bind
        elif parameter.name in arguments and parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[parameter.name] = arguments[parameter.name]
        elif parameter.name in arguments:
            args.append(arguments[parameter.name])
    return args, kwargs


def bind(function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object], what: str) -> dict[str, object]:
    """Bind a call to parameter names, defaults filled in: a default is part of what was given. Raises Misuse, naming `what`."""
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise Misuse(f"{what} cannot be called like this: {error}", hint=f"its parameters are {signature}") from None
    bound.apply_defaults()
    return {_stars(signature.parameters[name]) + name: value for name, value in bound.arguments.items()}


def _stars(parameter: inspect.Parameter) -> str:
    return "*" if parameter.kind is parameter.VAR_POSITIONAL else "**" if parameter.kind is parameter.VAR_KEYWORD else ""


def _bare(parameter: str) -> str:
    return "" if parameter.startswith("*") else parameter


def _holds_handles(value: object) -> bool:
    if isinstance(value, Handle):
        return True
    if type(value) in (list, tuple):
        return any(_holds_handles(one) for one in value)  # type: ignore[attr-defined]  # the line above says that it is a list or tuple
    return isinstance(value, dict) and any(_holds_handles(one) for one in value.values())


def _check_edge(handle: Handle, wanted: object, place: str) -> None:
    made = annotation_of(handle)
    if fits(made, wanted):
        return
    step = node_of(handle)
    hint = f"change the annotation of one of them, or put a step in between: {describe(made)} -> {describe(wanted)}"
    items = fixed_items(made)
    if items is not None and any(fits(one, wanted) for one in items):
        names = ", ".join("abcdefgh"[: len(items)]) if len(items) <= 8 else "a, ..."
        hint = f"{step!r} returns {len(items)} values, unpack them: {names} = {step.rsplit('/', 1)[-1].split('#')[0]}(...)"
    if made is type(None):
        hint = f"{step!r} returns nothing; to order the two, write {place.split(':', maxsplit=1)[0]}.after({step}_output)(...)"
    raise Misuse(f"{place} wants {describe(wanted)}, but {handle!r} was given", hint=hint)


def check_value(value: object, wanted: object, place: str) -> None:
    if admits(value, wanted):
        return
    hint = "change the value, or the annotation"
    if isinstance(value, str) and describe(wanted) == "File":
        hint = f"files go in by content: write st.File({value!r})"
    raise Misuse(f"{place} wants {describe(wanted)}, but got {_short(value)}, a {type(value).__name__}", hint=hint)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
