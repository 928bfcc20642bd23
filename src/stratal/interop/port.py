"""The port of readers: what a source of a foreign run is, and the laws that make importing it safe to repeat."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from stratal.core.ids import RunId
from stratal.interop.foreign import ForeignId, Remark, Said, Skipped, Statement
from stratal.interop.report import Tally
from stratal.store.store import Store

_PIECE = 1 << 20


class Source(ABC):
    """One part of one foreign run that is read in order: a file, or a run's rows in a database.

    Laws, tested for every reader: 1 `run` and `part` name the source wherever it lies. 2 what is said up to a place depends
    on nothing but what `digest(place)` covers, so that a source that has grown says the same and then more. 3 places never
    descend; what has one place is applied together. 4 what is said at the end of the source (a status, files that
    grow) may be said again after it has grown: params, tags, artifacts, edges and the end only, since the latest of these counts.
    5 a source that was cut anywhere says a prefix, then a Remark. 6 damage costs the record that it hits, or, where the
    format cannot go on, what follows; it is said as a Remark, never read wrong. 7 memory is bounded by the largest record.
    8 nothing outside of the source's folder is read, no link is followed, nothing is fetched, nothing can run.
    """

    run: ForeignId
    part: str  # tells apart the sources of one run
    name: str  # for people
    size: int  # the place at which the source ends now
    is_state: bool = False  # a StateSource: not what was added counts, but how it is now

    @abstractmethod
    def read(self, after: int) -> Iterator[Said | Remark]:
        """Say everything past `after`; what is not past it is passed over, so a reader may as well begin at the start."""

    @abstractmethod
    def digest(self, place: int) -> str:
        """Give a digest of the source up to a place; asked for ascending places."""


class StateSource(Source):
    """What is rewritten as a whole: a run's status, tags and files. Said again, all of it, whenever its digest has changed.

    Laws in place of 2 and 3: what it says may be said again (see 4), and its digest covers all of it.
    """

    is_state = True
    size = 1
    _known: str | None = None

    def read(self, after: int) -> Iterator[Said | Remark]:
        """Say all of it, as one place."""
        self.digest(after)  # first: what changes from here on will be said by the next import
        said: list[Statement] = []
        for one in self.say():
            if isinstance(one, Remark):
                yield one
            else:
                said.append(one)
        yield Said(after + 1, said)

    def digest(self, _place: int) -> str:
        """Give the digest of all of it, as it was when this was first asked."""
        if self._known is None:
            self._known = self.state()
        return self._known

    @abstractmethod
    def say(self) -> Iterator[Statement | Remark]:
        """Say how it is now."""

    @abstractmethod
    def state(self) -> str:
        """Give a digest that changes whenever what is said does."""


class OnceSource(Source):
    """One thing that is said once for ever, such as a note: its content is the part that it is known by."""

    size = 1

    def __init__(self, statements: list[Statement], *, run: ForeignId, part: str, name: str) -> None:
        self.run, self.part, self.name = run, part, name
        self._statements = statements

    def read(self, after: int) -> Iterator[Said | Remark]:
        """Say it."""
        if after < 1:
            yield Said(1, self._statements)

    def digest(self, _place: int) -> str:
        """Give nothing: the part says it all."""
        return ""


class FileSource(Source):
    """A file that only ever grows at its end; its places are byte offsets."""

    def __init__(self, path: Path, *, run: ForeignId, part: str, name: str) -> None:
        self.path = path
        self.run, self.part, self.name = run, part, name
        self.size = path.stat().st_size
        self._hashing, self._hashed = blake2b(digest_size=16), 0

    def digest(self, place: int) -> str:
        """Give the digest of the first `place` bytes. Reads each byte once, as long as places ascend."""
        if place < self._hashed:
            self._hashing, self._hashed = blake2b(digest_size=16), 0
        with self.path.open("rb") as file:
            file.seek(self._hashed)
            while self._hashed < place and (piece := file.read(min(_PIECE, place - self._hashed))):
                self._hashing.update(piece)
                self._hashed += len(piece)
        return self._hashing.copy().hexdigest()


class ForeignVersion(NamedTuple):
    """A version of a model. run: the one that it came from, None: nobody knows; path: where in it; files: by path in the model.

    identity: what tells it from all others for ever, so that equal files do not make two versions one; stage: one of ours."""

    number: int
    run: ForeignId | None
    path: str
    files: list[tuple[str, Path]]
    identity: dict[str, str]
    stage: str


class ForeignModel(NamedTuple):
    """A registered model. home: a source of the run that keeps what is known of it; it is applied last, and says if anything changed.

    left_out: what home will say was left out or lost; registering adds to it. last: the largest number that a version ever had there.
    describe: tells a store what was said of the model, by its name in the registry, the numbers that its versions have there, and the
    run that the last import left as the home, if one did; gives what stays as people have said it here, a line each.
    aliases_before: reads the aliases that the last import found there, of the run that it left as the home."""

    name: str
    flavor: str
    versions: list[ForeignVersion]
    aliases: dict[str, int]
    home: Source
    left_out: list[Skipped]
    last: int
    describe: Callable[[Store, str, Mapping[int, int], RunId | None], list[str]]
    aliases_before: Callable[[Store, RunId], dict[str, int]]


class ForeignExperiment(NamedTuple):
    """An experiment of which more is known than its runs say. keep: brings that into a store, before any run of it; what was kept is
    counted, and what could not be is remarked."""

    name: str
    keep: Callable[[Store, Tally, list[Remark]], None]


class Found(NamedTuple):
    """What lies under a path: sources, those of a run's parents first, remarks on what was passed over, registered models, and
    experiments."""

    sources: list[Source]
    remarks: list[Remark]
    models: Sequence[ForeignModel] = ()
    experiments: Sequence[ForeignExperiment] = ()
