"""Event files under a folder: a folder that holds some is a run, several in one are its restarts, folders above are its parents."""

import re
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from stratal.core.errors import Damaged
from stratal.interop.bounds import to_ns, walk
from stratal.interop.foreign import Began, Ended, ForeignId, Remark, Said, Skipped, Statement, Tags
from stratal.interop.importing import Options
from stratal.interop.port import FileSource, Found, Source
from stratal.interop.protobuf import double, fields
from stratal.interop.tensorboard.events import EventReader
from stratal.interop.tensorboard.frames import Frame, read_frames

_TIME = re.compile(r"tfevents\.(\d+)")


class EventFile(FileSource):
    """One event file of a run."""

    def __init__(self, path: Path, began: Began, run: ForeignId, tags: dict[str, str | None]) -> None:
        super().__init__(path, run=run, part=path.name, name=str(path))
        self._began, self._tags = began, tags

    def read(self, after: int) -> Iterator[Said | Remark]:
        """Say what each event says; at the end of the file an end, where none was said: that it has ended is all that is known."""
        reader, place = EventReader(self.run.started_ns), 0
        for frame in read_frames(self.path):
            if isinstance(frame, Remark):
                yield frame
                continue
            first: list[Statement] = [] if place else [self._began, Tags(values=self._tags, at_ns=self._began.at_ns)]
            place = frame.end
            yield Said(place, first + _statements(reader, frame))
        if place and not reader.is_over:
            yield Said(place, [Ended(status="finished", at_ns=reader.last_ns)])


def find(path: Path, options: Options) -> Found:
    """Find the event files under a folder, or one of them."""
    remarks: list[Remark] = []
    sources: list[Source] = []
    met: dict[Path, ForeignId] = {}
    top = path.parent if path.is_file() else path
    places = [(top, [path.name])] if path.is_file() else walk(top, remarks)
    for folder, names in places:
        files = sorted((name for name in names if "tfevents" in name and not name.endswith(".profile-empty")), key=_by_time)
        run = _identify(folder, files)
        if run is None:
            remarks.extend(Remark(f"{folder / name} holds no event (yet)") for name in files)
            continue
        met[folder] = run
        parent = next((met[above] for above in folder.parents if above in met and above.is_relative_to(top)), None)
        name = folder.relative_to(top).as_posix() if folder != top else top.name
        began = Began(experiment=options.experiment or top.name or "tensorboard", name=name, parent=parent, at_ns=run.started_ns)
        tags: dict[str, str | None] = {"imported.from": "tensorboard", "imported.run": name}
        sources.extend(EventFile(folder / name, began, run, tags) for name in files)
    return Found(sources, remarks)


def _by_time(name: str) -> tuple[int, str]:
    found = _TIME.search(name)
    return int(found[1]) if found else 0, name


def _identify(folder: Path, files: list[str]) -> ForeignId | None:
    """Identify a run by its folder's name and the first event of its oldest file: both stay when the folder is moved."""
    for name in files:
        first = next(iter(read_frames(folder / name)), None)
        if isinstance(first, Frame) and first.data is not None:
            try:
                started_ns = to_ns(double(fields(first.data), 1), 0)
            except Damaged:
                continue
            store = blake2b(first.data, digest_size=8).hexdigest()
            return ForeignId(tool="tensorboard", store=store, run=f"{folder.name}/{name}", started_ns=started_ns)
    return None


def _statements(reader: EventReader, frame: Frame) -> list[Statement]:
    if frame.data is None:
        return [Skipped(what="events", reason="does not match its checksum", by_rule=False)]
    try:
        return reader.read(frame.data)
    except Damaged as error:
        return [Skipped(what="events", reason=error.message, by_rule=False)]
