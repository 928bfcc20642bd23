"""What a program finds in its store when it starts again: what was there before, as far as it was used.

A replay has a store of its own, so that nothing that it registers, promotes or caches reaches the real one. A room that keeps
things which programs find by name (datasets, studies) registers a carrier, which brings them along.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # the table is filled by `import stratal`, which must not pay for the store
    from stratal.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Cargo:
    """What to bring along. refs: all that the runs used or produced. made: what they produced. runs: ids of the runs of the program.

    before_ns: when the program began: what is younger, it made itself."""

    source: "Store"
    target: "Store"
    refs: tuple[str, ...]
    made: frozenset[str]
    runs: tuple[str, ...]
    before_ns: int


# Gives notes, for people: what could not be brought along.
Carrier = Callable[[Cargo], list[str]]

_carriers: dict[str, Carrier | str] = {}


def register_carrier(subject: str, carrier: Carrier | str) -> None:
    """Say who brings a subject along. carrier: a function, or "module:function", imported when something is reproduced."""
    _carriers[subject] = carrier


def carry(cargo: Cargo) -> list[str]:
    """Let all rooms bring along what they keep; gives their notes."""
    notes: list[str] = []
    for carrier in _carriers.values():
        found = carrier
        if isinstance(found, str):
            module, _, name = found.partition(":")
            found = cast(Carrier, getattr(importlib.import_module(module), name))
        notes += found(cargo)
    return notes
