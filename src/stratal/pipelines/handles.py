"""Handles: what a step call gives while a graph is built. The value comes later, so a handle refuses whatever needs it now."""

from collections.abc import Iterator
from typing import NoReturn

from stratal.core.errors import Misuse
from stratal.pipelines.annotations import describe, fixed_items


class Handle:
    """The future output of a node, or one item of it.

    Laws: 1 a handle goes into steps, whole, or by `[i]` and unpacking if the step returns `tuple[A, B]`.
    2 all else raises Misuse, and the message says what to write. 3 two handles are never compared.
    """

    __slots__ = ("_annotation", "_graph", "_item", "_node")

    def __init__(self, *, graph: object, node: str, annotation: object, item: tuple[int, ...] = ()) -> None:
        self._graph, self._node, self._annotation, self._item = graph, node, annotation, item

    def __repr__(self) -> str:
        return f"<the output of {_name(self)}, a {describe(self._annotation)} that is not there yet>"

    def __getitem__(self, position: object) -> "Handle":
        items = fixed_items(self._annotation)
        if items is None:
            raise _refused(self, f"has no items yet: it is a {describe(self._annotation)}", _whole(self, "takes the item"))
        if not isinstance(position, int) or isinstance(position, bool):
            raise _refused(
                self, f"is a tuple of {len(items)}, not to be indexed by {position!r}", f"write [0] to [{len(items) - 1}], or unpack it"
            )
        if not -len(items) <= position < len(items):
            raise _refused(self, f"has {len(items)} items, so no [{position}]", f"write [0] to [{len(items) - 1}]")
        position %= len(items)
        return Handle(graph=self._graph, node=self._node, annotation=items[position], item=(*self._item, position))

    def __iter__(self) -> Iterator["Handle"]:
        items = fixed_items(self._annotation)
        if items is None:
            hint = f"to unpack it, annotate {_step(self)}'s return as tuple[A, B]; to loop over it, {_whole(self, 'loops')}"
            raise _refused(self, f"is a {describe(self._annotation)} of unknown length", hint)
        return iter([self[position] for position in range(len(items))])

    def __bool__(self) -> NoReturn:
        raise _refused(self, "is neither true nor false yet", _whole(self, "decides"))

    def __len__(self) -> NoReturn:
        raise _refused(self, "has no length yet", _whole(self, "counts"))

    def __contains__(self, item: object) -> NoReturn:
        raise _refused(self, "cannot be searched yet", _whole(self, "searches"))

    def __eq__(self, other: object) -> NoReturn:
        raise _refused(self, "cannot be compared yet", _whole(self, "compares"))

    __ne__ = __eq__
    __hash__ = object.__hash__

    def __str__(self) -> str:
        raise _refused(self, "has no text yet", _whole(self, "makes the text"))

    def __format__(self, spec: str) -> NoReturn:
        raise _refused(self, "has no text yet", _whole(self, "makes the text"))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # protocols of copy, pickle and inspection ask for these, and take "no" for an answer
            raise AttributeError(name)
        if fixed_items(self._annotation) is not None:
            raise _refused(self, f"is a tuple, without .{name}", f"unpack it: a, b = {_step(self)}(...)")
        raise _refused(self, f"has no .{name} yet", _whole(self, f"reads .{name}"))

    def __reduce__(self) -> NoReturn:
        raise _refused(self, "cannot be pickled", "pass it to a step as an argument; do not put it into a global or a closure of one")


def _operation(symbol: str) -> object:
    def refuse(self: Handle, *_: object) -> NoReturn:
        raise _refused(self, f"cannot be used with {symbol} yet", _whole(self, "computes"))

    return refuse


for _names, _symbol in {
    ("__lt__", "__le__", "__gt__", "__ge__"): "a comparison",
    ("__add__", "__radd__"): "+",
    ("__sub__", "__rsub__", "__neg__"): "-",
    ("__mul__", "__rmul__"): "*",
    ("__truediv__", "__rtruediv__", "__floordiv__", "__rfloordiv__"): "/",
    ("__mod__", "__rmod__"): "%",
    ("__pow__", "__rpow__"): "**",
    ("__matmul__", "__rmatmul__"): "@",
    ("__and__", "__rand__", "__or__", "__ror__", "__xor__", "__rxor__", "__invert__"): "&, |, ^ or ~",
    ("__int__", "__float__", "__index__", "__complex__", "__round__"): "a conversion to a number",
    ("__call__",): "a call",
    ("__enter__", "__exit__"): "with",
    ("__setitem__", "__delitem__"): "an assignment to an item",
    ("__fspath__",): "a path",
    ("__array__",): "NumPy",
}.items():
    for _one in _names:
        setattr(Handle, _one, _operation(_symbol))


def node_of(handle: Handle) -> str:
    """Give the path of the node that makes it."""
    return handle._node


def item_of(handle: Handle) -> tuple[int, ...]:
    """Give the positions that lead from the node's output to this item."""
    return handle._item


def annotation_of(handle: Handle) -> object:
    """Give what the value will be."""
    return handle._annotation


def graph_of(handle: Handle) -> object:
    """Give the builder that made it."""
    return handle._graph


def _step(handle: Handle) -> str:
    return handle._node.rsplit("/", 1)[-1].split("#")[0]


def _name(handle: Handle) -> str:
    return f"step {handle._node!r}" + "".join(f"[{position}]" for position in handle._item)


def _whole(handle: Handle, verb: str) -> str:
    return f"pass it whole to a step that {verb}: @step def next({_step(handle)}_output: {describe(handle._annotation)}): ..."


def _refused(handle: Handle, what: str, hint: str) -> Misuse:
    return Misuse(f"the output of {_name(handle)} {what}: the pipeline is only being built, no step has run", hint=hint)
