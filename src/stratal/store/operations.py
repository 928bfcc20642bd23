"""Operations: what a room's store can do, as typed queries and commands that a server can expose without a route by hand.

An operation is a method with keyword-only, annotated arguments. The actor comes from the context, never from an argument.
What it speaks of is said by `on`: the argument that names an experiment, a model, a run or several runs (`run`, `runs`: whole ids,
of which the experiments count). Operations that are scoped need no role on one object: they give what their reader may see. Those that
are one's own need none at all: whoever is known calls them for themselves.
Where the store lies behind a URL, a call goes to its server, and rooms know nothing of it.
"""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import TypeVar

import msgspec

from stratal.core.errors import Bug
from stratal.core.people import Role
from stratal.core.records import Record

F = TypeVar("F", bound=Callable[..., object])

_MARK = "__stratal_operation__"


class Operation(Record, frozen=True, kw_only=True):
    """name; needs: the role; on: the argument that names what the role is needed on, None: the whole store; is_scoped: it leaves out
    what its reader may not see, by `Transaction.sees`, so the role is needed on what is shown only; is_own: it is about whoever calls;
    asks_itself: who may view what it is about may call it, and it asks for roles that no server knows; is_command: it may change the
    store; is_repeatable: done once more it changes nothing more, so it may be sent again; takes_long: it goes through the whole store, and
    says nothing until it has."""

    name: str
    needs: Role
    on: str | None
    is_scoped: bool
    is_own: bool
    asks_itself: bool
    is_command: bool
    is_repeatable: bool
    takes_long: bool
    arguments: dict[str, typing.Any]
    returns: typing.Any
    doc: str


def operation(
    *,
    needs: Role,
    on: str | None = None,
    is_scoped: bool = False,
    is_own: bool = False,
    asks_itself: bool = False,
    is_repeatable: bool = False,
    takes_long: bool = False,
) -> Callable[[F], F]:
    """Mark a method as an operation of a class that keeps its Store in `_store`. What needs more than VIEWER is a command;
    of what is one's own (is_own) or asks_itself `needs` says that alone. is_repeatable: of a command, that done once more it changes
    nothing more. takes_long: it goes through the whole store, and is waited for accordingly.

    Raises Bug for a signature that cannot be served."""

    def mark(method: F) -> F:
        arguments = list(inspect.signature(method).parameters.values())[1:]
        if any(argument.kind is not argument.KEYWORD_ONLY for argument in arguments):
            raise Bug(f"operation {method.__qualname__} has arguments that are not keyword-only")
        if on is not None and on not in {argument.name for argument in arguments}:
            raise Bug(f"operation {method.__qualname__} has no argument {on!r}")
        if is_scoped and (on is not None or needs is not Role.VIEWER):
            raise Bug(f"operation {method.__qualname__} is scoped, but decides, or names what it is about")

        @functools.wraps(method)
        def call(self: typing.Any, **values: object) -> object:
            remote = self._store.operations_there
            return method(self, **values) if remote is None else remote.call(type(self), method.__name__, values)

        setattr(call, _MARK, (needs, on, is_scoped, is_own, asks_itself, is_repeatable, takes_long))
        return typing.cast("F", call)

    return mark


def room_of(store: type) -> str:
    """Give the room of a store's class: the folder that it lies in, and its name in URLs."""
    floor, folder = store.__module__.split(".")[1:3]
    return folder if floor == "store" else floor


@functools.cache
def all_operations(store: type) -> dict[str, Operation]:
    """As `operations_of`, read once per class."""
    return operations_of(store)


def operations_of(store: type) -> dict[str, Operation]:
    """List the operations of a room's store by name. Raises Bug if msgspec cannot carry one of its types."""
    found = {}
    for name, method in inspect.getmembers(store, inspect.isfunction):
        if (marked := getattr(method, _MARK, None)) is None:
            continue
        needs, on, is_scoped, is_own, asks_itself, is_repeatable, takes_long = marked
        hints = typing.get_type_hints(method, include_extras=True)  # with the bounds of numbers
        returns = hints.pop("return", type(None))
        for hint in (*hints.values(), returns):
            _check_type(f"{store.__name__}.{name}", hint)
        found[name] = Operation(
            name=name,
            needs=needs,
            on=on,
            is_scoped=is_scoped,
            is_own=is_own,
            asks_itself=asks_itself,
            is_command=needs > Role.VIEWER,
            is_repeatable=is_repeatable or needs <= Role.VIEWER,
            takes_long=takes_long,
            arguments=hints,
            returns=returns,
            doc=inspect.getdoc(method) or "",
        )
    return found


def schema_of_anything(kind: type) -> dict[str, object]:
    """Give the schema of what may be any document: parts of records that JSON holds as they are. Raises TypeError for other types."""
    if kind is object:
        return {"description": "Any JSON."}
    raise TypeError(f"{kind.__name__} has no form in JSON")


def _check_type(name: str, hint: object) -> None:
    try:
        msgspec.json.schema(hint, schema_hook=schema_of_anything)
    except (TypeError, RuntimeError) as error:
        raise Bug(f"operation {name} uses {hint!r}, which cannot cross a wire: {error}") from error
