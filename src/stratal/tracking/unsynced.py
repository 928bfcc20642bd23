"""Unsynced: what was logged here and is not on its server, by run; and runs that are set aside, because the server refuses them, or
thrown away then."""

import contextlib
import os
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import partial

import msgspec

from stratal.core.errors import Conflict, Forbidden, Misuse, NotFound, StoreDown
from stratal.core.records import Record
from stratal.store.calling import Server
from stratal.store.frames import FACT, Frame, read_fact, salt_of, scan
from stratal.store.held import Held, HeldFiles
from stratal.store.journal import living_writers, open_segments, segments
from stratal.store.marks import is_shipped
from stratal.store.parting import Marks, Part, Parts, behind
from stratal.store.shipping import digests_in, files_in
from stratal.store.store import Store
from stratal.tracking.facts import END, START
from stratal.tracking.opening import current_store
from stratal.tracking.syncing import server_of

# How far the server is with a segment.
Offset = Callable[[str], int]
_LOOK = "`stratal sync --status` lists what waits"
_ASIDE = "that was set aside"


class UnsyncedRun(Record, frozen=True, kw_only=True):
    """A run of which something waits here. run: whole id; experiment: '' if its start is there already; frames, size_bytes: that wait;
    rows: of metrics, among the frames; files: that the frames name, by path, with their sizes; refused: why the server did not take it,
    '' if it was not asked yet."""

    run: str
    experiment: str
    frames: int
    rows: int
    files: dict[str, int]
    size_bytes: int
    refused: str = ""
    is_aside: bool = False


class Unsynced(Record, frozen=True, kw_only=True):
    """What waits here. is_reached: the server was asked what it has; else all that lies here is counted. files: that found no room."""

    url: str
    is_reached: bool
    runs: list[UnsyncedRun]
    files: list[Held]


@dataclass
class _Waits:
    """What waits of a run, in all segments that hold some of it."""

    run: str
    experiment: str = ""
    refused: str = ""
    is_aside: bool = False
    frames: int = 0
    rows: int = 0
    size_bytes: int = 0
    files: dict[str, int] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)
    writers: set[str] = field(default_factory=set)
    epoch: int = 0
    ended_epoch: int = -1

    def add(self, part: Part, since: int) -> None:
        """Add what of a part lies behind an offset, in one pass over it."""
        data, salt = bytes(part.data), salt_of(part.name)
        for frame in scan(data, salt).frames:
            if frame.kind == FACT:
                self._add_fact(frame, *_fact(data, frame), waits=frame.start >= since)
            if (left := behind(frame, since)) is not None:
                self.frames += left.stretch
                self.rows += left.stretch if frame.kind != FACT else 0
            self.epoch = max(self.epoch, frame.epoch)
        self.size_bytes += max(0, len(data) - since)

    def shown(self) -> UnsyncedRun:
        """Give what a user is told."""
        return UnsyncedRun(
            run=self.run, experiment=self.experiment, frames=self.frames, rows=self.rows, files=self.files, size_bytes=self.size_bytes,
            refused=self.refused, is_aside=self.is_aside,
        )  # fmt: skip

    def _add_fact(self, frame: Frame, what: str, value: object, *, waits: bool) -> None:
        if what == START and isinstance(value, dict):
            self.experiment = self.experiment or str(value.get("experiment", ""))
        if what == END:
            self.ended_epoch = max(self.ended_epoch, frame.epoch)
        if waits:
            self.digests.update(digests_in(value))
            self.files.update({str(file.get("path", file["digest"])): _size(file["size_bytes"]) for file in files_in(value)})


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
    return Unsynced(url=url, is_reached=is_reached, runs=[each.shown() for each in runs], files=list(HeldFiles(store.folder).all()))


def set_aside(what: str, *, store: Store | None = None) -> list[str]:
    """Keep refused runs here, and let all else go on without them: they are not tried any more, and commands do not wait for them.

    what: a run, or experiment:NAME for all that are refused of one. Gives their ids. Nothing of them is lost: `bring_back` sends them.
    Raises NotFound if none of them is refused.
    """
    store = store or current_store()
    found = _meant(what, [each for each in _refused(store) if not each.is_aside], "that the server has refused")
    for each in found:
        Marks(store.folder).set_aside(each.run, each.refused)
    return [each.run for each in found]


def bring_back(what: str, *, store: Store | None = None) -> list[str]:
    """Undo `set_aside`: the next sync sends these runs. Gives their ids. Raises NotFound if none of them is set aside."""
    store = store or current_store()
    found = _meant(what, [each for each in _refused(store) if each.is_aside], _ASIDE)
    for each in found:
        Marks(store.folder).bring_back(each.run)
    return [each.run for each in found]


def discard(what: str, *, dry_run: bool = False, store: Store | None = None) -> list[UnsyncedRun]:
    """Throw runs that are set aside away for good: what waits here of them is never sent. What the server has of them stays there.

    what: a run, or experiment:NAME for all that are set aside of one. Gives what is lost; dry_run: and only that. `sync` deletes
    the bytes, files after an hour. In a store in a folder the runs themselves stay. Raises NotFound if none of them is set aside,
    Misuse if one still goes on.
    """
    store = store or current_store()
    found = _meant(what, [each for each in _refused(store) if each.is_aside], _ASIDE)
    living = living_writers(store.journals)
    for each in found:
        if each.ended_epoch < each.epoch and each.writers & living:
            raise Misuse(f"run:{each.run} is still logged to, and that would be lost, too", hint="end it first")
    if not dry_run:
        for each in found:
            try:
                Marks(store.folder).discard(each.run, each.writers, each.digests)
            except FileNotFoundError:
                raise Conflict(f"run:{each.run} was brought back at the same moment", hint=_LOOK) from None
    return [each.shown() for each in found]


def _meant(what: str, runs: list[_Waits], which: str) -> list[_Waits]:
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


def _runs(store: Store, offset: Offset, only: Container[str] | None = None) -> list[_Waits]:
    """Give what waits here, of the writers in `only`, None for all. Reads each segment once."""
    marks = Marks(store.folder)
    parted, aside, discarded = marks.parted(), marks.aside(), marks.discarded()
    found: dict[str, _Waits] = {}
    for name in segments(store.journals):
        writer = name[:16]
        here = parted.get(writer)
        if is_shipped(store.journals, name) or (only is not None and writer not in only):
            continue
        with open_segments(store.journals, [name]) as opened:
            for fd in opened.values():
                since = offset(name) if here is None else here.offset if name == here.segment else 0
                parts = Parts(name, min(since, os.fstat(fd).st_size))
                parts.read_on(fd)
                for id, part in parts.of_run.items():
                    if writer not in discarded.get(run := id.hex(), ()):
                        waits = found.setdefault(run, _Waits(run, refused=aside.get(run, ""), is_aside=run in aside))
                        waits.add(part, 0 if here is None else offset(part.name))
                        waits.refused = waits.refused or (here.refused.get(run, "") if here is not None else "")
                        waits.writers.add(writer)
    return [waits for waits in found.values() if waits.frames]


def _refused(store: Store) -> list[_Waits]:
    """Give the runs that the server has refused. Only writers that it has refused something of are read."""
    return [waits for waits in _runs(store, _nothing, Marks(store.folder).parted()) if waits.refused or waits.is_aside]


def _fact(data: bytes, frame: Frame) -> tuple[str, object]:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        fact = read_fact(data, frame, "")
        return fact.what, fact.value
    return "", None


def _size(said: object) -> int:
    return said if isinstance(said, int) else 0


def _offset(server: Server, name: str) -> int:
    try:
        return server.parts(name, 0).offset
    except (NotFound, Forbidden):  # nothing of it is there, or nothing that this person may hear of
        return 0


def _nothing(_name: str) -> int:
    return 0
