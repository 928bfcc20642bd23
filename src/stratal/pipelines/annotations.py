"""Annotations as far as edges need them: may what a step returns go into that parameter?

The rule is lenient where Python cannot tell (no annotation, TypeVar, Protocol) and strict where it can.
"""

import collections.abc
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

UNKNOWN: object = Any

# Python's numeric tower (PEP 484): an int is welcome where a float is asked for.
_WIDER = {float: (int,), complex: (int, float)}


def hints_of(function: Callable[..., object]) -> dict[str, object]:
    """Give the annotations by parameter, and "return". Names that cannot be resolved count as unknown."""
    try:
        return dict(get_type_hints(function, include_extras=False))
    except Exception:  # noqa: BLE001  an annotation is an expression of the user's: any error in it means "unknown"
        return {name: hint for name, hint in function.__annotations__.items() if not isinstance(hint, str)}


def fixed_items(annotation: object) -> tuple[object, ...] | None:
    """Give the item types of `tuple[A, B]`; None for everything of unknown length."""
    annotation = _plain(annotation)
    args = get_args(annotation)
    if get_origin(annotation) is not tuple or Ellipsis in args:
        return None
    return args


def fits(made: object, wanted: object) -> bool:
    """Tell whether a value annotated `made` may go where `wanted` is asked for."""
    made, wanted = _plain(made), _plain(wanted)
    if _is_open(made) or _is_open(wanted) or made == wanted:
        return True
    if _is_union(made):
        return all(fits(one, wanted) for one in get_args(made))
    if _is_union(wanted):
        return any(fits(made, one) for one in get_args(wanted))
    if get_origin(made) is Literal:
        return all(admits(value, wanted) for value in get_args(made))
    if get_origin(wanted) is Literal:
        return False
    made_class, wanted_class = get_origin(made) or made, get_origin(wanted) or wanted
    if not isinstance(made_class, type) or not isinstance(wanted_class, type):
        return True
    if made_class in _WIDER.get(wanted_class, ()):
        return True
    return _is_subclass(made_class, wanted_class) and _arguments_fit(made, wanted)


def admits(value: object, wanted: object) -> bool:
    """Tell whether a value that is known when the graph is built may go where `wanted` is asked for."""
    wanted = _plain(wanted)
    if _is_open(wanted):
        return True
    if _is_union(wanted):
        return any(admits(value, one) for one in get_args(wanted))
    if get_origin(wanted) is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(wanted))
    wanted_class = get_origin(wanted) or wanted
    if not isinstance(wanted_class, type):
        return True
    if wanted_class in (type, collections.abc.Callable):
        return callable(value)
    if type(value) in _WIDER.get(wanted_class, ()):
        return True
    return _is_instance(value, wanted_class)


def item_wanted(wanted: object, position: int | str) -> object:
    """Give what a container annotation asks of one item, unknown if it does not say."""
    wanted = _plain(wanted)
    if _is_union(wanted):
        found = [item_wanted(one, position) for one in get_args(wanted) if one is not type(None)]
        return found[0] if len(found) == 1 else UNKNOWN
    args, origin = get_args(wanted), get_origin(wanted)
    if origin is tuple and Ellipsis not in args:
        return args[position] if isinstance(position, int) and position < len(args) else UNKNOWN
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return args[1] if len(args) == 2 else UNKNOWN
    return args[0] if args else UNKNOWN


def describe(annotation: object) -> str:
    """Give the annotation as a person writes it."""
    annotation = _strip(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Ellipsis:
        return "..."
    if _is_union(annotation):
        return " | ".join(describe(one) for one in get_args(annotation))
    if args := get_args(annotation):
        inside = ", ".join(repr(one) if get_origin(annotation) is Literal else describe(one) for one in args)
        return f"{describe(get_origin(annotation))}[{inside}]"
    return getattr(annotation, "__name__", None) or str(annotation).removeprefix("typing.")


def _strip(annotation: object) -> object:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _plain(annotation: object) -> object:
    annotation = _strip(annotation)
    while isinstance(annotation, NewType):
        annotation = annotation.__supertype__
    return type(None) if annotation is None else annotation


def _is_open(annotation: object) -> bool:
    return (
        annotation is Any
        or annotation is object
        or isinstance(annotation, TypeVar | str)
        or bool(getattr(annotation, "_is_protocol", False))
    )


def _is_union(annotation: object) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _is_subclass(one: type, other: type) -> bool:
    try:
        return issubclass(one, other)
    except TypeError:
        return True


def _is_instance(value: object, wanted: type) -> bool:
    try:
        return isinstance(value, wanted)
    except TypeError:
        return True


def _arguments_fit(made: object, wanted: object) -> bool:
    made_args, wanted_args = get_args(made), get_args(wanted)
    if not made_args or not wanted_args:
        return True
    if get_origin(made) is tuple and (Ellipsis in made_args or Ellipsis in wanted_args):
        return fits(Union[made_args[: made_args.index(Ellipsis)] if Ellipsis in made_args else made_args], wanted_args[0])  # noqa: UP007
    if len(made_args) != len(wanted_args):
        return get_origin(made) is not get_origin(wanted)
    return all(fits(one, other) for one, other in zip(made_args, wanted_args, strict=True))
