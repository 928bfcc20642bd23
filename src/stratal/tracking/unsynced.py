"""Unsynced: what was logged here and is not on its server, by run; and runs that are set aside, because the server refuses them."""

import contextlib
import os
from collections.abc import Callable
from functools import partial

import msgspec

from stratal.core.errors import Forbidden, Misuse, NotFound, StoreDown
from stratal.core.records import Record
from stratal.store.calling import Server
from stratal.store.frames import FACT, Frame, read_fact, salt_of, scan
from stratal.store.held import Held, HeldFiles
from stratal.store.journal import open_segments, segments
from stratal.store.marks import is_shipped
from stratal.store.parting import Marks, Part, Parts
from stratal.store.store import Store
from stratal.tracking.facts import START
from stratal.tracking.opening import current_store
from stratal.tracking.syncing import server_of

# How far the server is with a segment.
Offset = Callable[[str], int]
_LOOK = "`stratal sync --status` lists what waits"


class UnsyncedRun(Record, frozen=True, kw_only=True):
    """A run of which something waits here. run: whole id; experiment: '' if its start is there already; frames, size_bytes: that wait;
    refused: why the server did not take it, '' if it was not asked yet."""

    run: str
    experiment: str
    frames: int
    size_bytes: int
    refused: str = ""
    is_aside: bool = False


class Unsynced(Record, frozen=True, kw_only=True):
    """What waits here. is_reached: the server was asked what it has; else all that lies here is counted. files: that found no room."""

    url: str
    is_reached: bool
    runs: list[UnsyncedRun]
    files: list[Held]


def unsynced(*, store: Store | None = None) -> Unsynced:
    """Give what of a store, or of the spool of one behind a URL, is not on its server. Sends nothing. O(bytes that wait)."""
    store = store or current_store()
    url, _ = server_of(store, None)
    with contextlib.closing(Server(url, store.settings.user, store.settings.token, store.settings.answer_s)) as server:
        try:
            server.greet()
            is_reached = True
        except (StoreDown, Forbidden):
            is_reached = False
        runs = _runs(store, partial(_offset, server) if is_reached else _nothing)
    return Unsynced(url=url, is_reached=is_reached, runs=runs, files=list(HeldFiles(store.folder).all()))


def set_aside(what: str, *, store: Store | None = None) -> list[str]:
    """Keep refused runs here, and let all else go on without them: they are not tried any more, and commands do not wait for them.

    what: a run, or experiment:NAME for all that are refused of one. Gives their ids. Nothing of them is lost: `bring_back` sends them.
    Raises NotFound if none of them is refused.
    """
    store = store or current_store()
    refused = [each for each in _runs(store, _nothing) if each.refused and not each.is_aside]
    found = _meant(what, refused, "that the server has refused")
    for each in found:
        Marks(store.folder).set_aside(each.run, each.refused)
    return [each.run for each in found]


def bring_back(what: str, *, store: Store | None = None) -> list[str]:
    """Undo `set_aside`: the next sync sends these runs. Gives their ids. Raises NotFound if none of them is set aside."""
    store = store or current_store()
    found = _meant(what, [each for each in _runs(store, _nothing) if each.is_aside], "that was set aside")
    for each in found:
        Marks(store.folder).bring_back(each.run)
    return [each.run for each in found]


def _meant(what: str, runs: list[UnsyncedRun], which: str) -> list[UnsyncedRun]:
    kind, _, name = what.rpartition(":")
    if kind == "experiment":
        found = [each for each in runs if each.experiment == name]
    elif kind in ("", "run") and name:
        found = [each for each in runs if each.run.endswith(name) or each.run.startswith(name)]
        if len(found) > 1:
            raise Misuse(f"{what!r:.100} may be any of {len(found)} runs", hint=f"give more of its id; {_LOOK}")
    else:
        raise Misuse(f"{what!r:.100} is no run", hint="write run:ID, or experiment:NAME for all of one that are refused")
    if not found:
        raise NotFound(f"there is no {what:.100} here {which}", hint=_LOOK)
    return found


def _runs(store: Store, offset: Offset) -> list[UnsyncedRun]:
    marks = Marks(store.folder)
    parted, aside = marks.parted(), marks.aside()
    found: dict[str, UnsyncedRun] = {}
    for name in segments(store.journals):
        here = parted.get(name[:16])
        if is_shipped(store.journals, name):
            continue
        with open_segments(store.journals, [name]) as opened:
            for fd in opened.values():
                since = offset(name) if here is None else here.offset if name == here.segment else 0
                parts = Parts(name, min(since, os.fstat(fd).st_size))
                parts.read_on(fd)
                refused = here.refused if here is not None else {}
                for id, part in parts.of_run.items():
                    run = id.hex()
                    left = _left(run, part, 0 if here is None else offset(part.name))
                    if left.frames:
                        why = aside.get(run) or refused.get(run, "")
                        left = msgspec.structs.replace(left, refused=why, is_aside=run in aside)
                        found[run] = _both(found[run], left) if run in found else left
    return list(found.values())


def _left(run: str, part: Part, since: int) -> UnsyncedRun:
    """Give what of a part waits behind an offset."""
    data, salt = bytes(part.data), salt_of(part.name)
    facts = (_fact(data, frame) for frame in scan(data, salt).frames if frame.kind == FACT)
    starts = (value.get("experiment", "") for what, value in facts if what == START and isinstance(value, dict))
    return UnsyncedRun(
        run=run, experiment=str(next(starts, "")), frames=sum(frame.stretch for frame in scan(data[since:], salt).frames),
        size_bytes=max(0, len(data) - since),
    )  # fmt: skip


def _fact(data: bytes, frame: Frame) -> tuple[str, object]:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        fact = read_fact(data, frame, "")
        return fact.what, fact.value
    return "", None


def _both(one: UnsyncedRun, other: UnsyncedRun) -> UnsyncedRun:
    """Add what waits of a run in two segments."""
    return msgspec.structs.replace(
        one, experiment=one.experiment or other.experiment, frames=one.frames + other.frames,
        size_bytes=one.size_bytes + other.size_bytes, refused=one.refused or other.refused,
    )  # fmt: skip


def _offset(server: Server, name: str) -> int:
    try:
        return server.parts(name, 0).offset
    except (NotFound, Forbidden):  # nothing of it is there, or nothing that this person may hear of
        return 0


def _nothing(_name: str) -> int:
    return 0
