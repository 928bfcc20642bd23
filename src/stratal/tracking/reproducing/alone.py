"""Replaying one run without what it was part of: a step of a pipeline, a trial of a study.

A room that keeps all that its runs were given (a step's inputs) registers a replayer for their kind. It is called in a process of its
own, in the restored folder, with the original store to read from; what it runs goes to the store of the replay.
A room whose runs need what only their program can make (a trial's objective may close over anything) registers a teller: the program
is started, with a file that says which one part of it is to be done.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from stratal.core.errors import Misuse, StratalError
from stratal.core.ids import new_id
from stratal.core.origin import Origin, inherit
from stratal.core.records import Record, from_json, to_json

if TYPE_CHECKING:  # the table is filled by `import stratal`, which must not pay for the store
    from stratal.store.store import Store
    from stratal.tracking.capture import Capture
    from stratal.tracking.reproducing.restoring import Restored

# What a replayed run states of what it gave back: {"is_equal": bool, "digest": text, "notes": [text]}; the last two may be missing.
OUTPUT = "replayed output"


@dataclass(frozen=True, kw_only=True)
class Order:
    """Replay `run` of `source`. was, now: where its project lay, and where it lies."""

    source: "Store"
    run: str
    was: Path
    now: Path

    def moved(self, file: str) -> str:
        """Give the place of a file of the project in the restored one."""
        return str(self.now / Path(file).relative_to(self.was)) if file and Path(file).is_relative_to(self.was) else file


Replayer = Callable[[Order], None]
# Called with the store and the run's id, where the replay is asked for; gives what stands in the file.
Teller = Callable[["Store", str], str]

_replayers: dict[str, Replayer | str] = {}
_tellers: dict[str, Teller | str] = {}


class Request(Record, frozen=True, kw_only=True):
    """An order, as it travels to the process that carries it out."""

    store: str
    run: str
    kind: str
    was: str
    now: str
    origin: Origin


def register_replayer(kind: str, replayer: Replayer | str) -> None:
    """Say who replays runs of a kind. replayer: a function, or "module:function", imported when one is replayed."""
    _replayers[kind] = replayer


def register_teller(kind: str, teller: Teller | str) -> None:
    """Say who tells a program to do only the part that a run of a kind is. teller: as a replayer."""
    _tellers[kind] = teller


def need_replayer(kind: str) -> None:
    """Raise Misuse if nobody replays runs of a kind alone."""
    if kind not in _replayers and kind not in _tellers:
        raise Misuse(
            f"a run of kind {kind} cannot be replayed alone: nobody kept what it was given",
            hint=f"leave --alone out: its whole program is started again. Alone: {', '.join(sorted({*_replayers, *_tellers}))}",
        )


def is_replayed(kind: str) -> bool:
    """Tell whether runs of a kind are replayed from what they were given, and need no program."""
    return kind in _replayers


def is_told(kind: str) -> bool:
    """Tell whether runs of a kind are parts that their program is told to do."""
    return kind in _tellers


def part_told(kind: str, store: "Store", run: str) -> str:
    """Give what the program of a run is told, so that it does only this part."""
    return cast(Teller, _found(_tellers[kind]))(store, run)


def request_of(run: str, kind: str, store: "Store", capture: "Capture", restored: "Restored") -> str:
    """Give the order to replay a run, as text."""
    entry = capture.entry
    target = str(restored.project / entry.target) if entry.kind == "script" else entry.target
    origin = Origin(program=new_id(), pid=0, kind=entry.kind, target=target, argv=entry.argv, folder=str(restored.working))
    return to_json(
        Request(store=store.url, run=run, kind=kind, was=capture.project, now=str(restored.project), origin=origin)
    )  # fmt: skip


def main(request: str) -> None:
    """Carry out the order in a file, in a process that was started for it. Ends it with an error's own words."""
    importlib.import_module("stratal")  # which fills the table
    opening = importlib.import_module("stratal.tracking.opening")  # the store, for this process only
    asked = from_json(Path(request).read_bytes(), Request)
    inherit(msgspec.json.encode(asked.origin).decode())
    replay = cast(Replayer, _found(_replayers[asked.kind]))
    try:
        replay(Order(source=opening.open_store(asked.store), run=asked.run, was=Path(asked.was), now=Path(asked.now)))
    except StratalError as error:
        sys.exit(str(error))


def _found(registered: object) -> object:
    if not isinstance(registered, str):
        return registered
    module, _, name = registered.partition(":")
    return getattr(importlib.import_module(module), name)
