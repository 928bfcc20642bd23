"""Held: files that a server has no room for, and which wait here until it has. Facts that name them are shipped meanwhile.

A mark per file stands in `held/` of the folder that is shipped, so that any later pass, of whichever process, sends the file when there
is room. It is written before the facts go, and taken away when the server has the file: nothing that was saved is forgotten.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from stratal.core.records import Record, from_json, to_json
from stratal.store.files.blobs import is_digest
from stratal.store.journal import write_durably
from stratal.store.shipments import Home

# Seconds between two looks of a process that ships without end; `stratal sync` looks at once.
AGAIN_S = 60.0


class Held(Record, frozen=True, kw_only=True):
    """A file that waits here, as which run's, and why."""

    digest: str
    run: str
    experiment: str
    why: str

    @property
    def home(self) -> Home:
        """Where it belongs."""
        return Home(self.run, self.experiment)


class HeldFiles:
    """The marks of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "held"
        self._next_s = 0.0

    def add(self, held: Held) -> None:
        """Mark a file, durably."""
        write_durably(self._folder, held.digest, to_json(held))

    def drop(self, digest: str) -> None:
        """Take a mark away."""
        (self._folder / digest).unlink(missing_ok=True)

    def all(self) -> Iterator[Held]:
        """List what waits, by digest."""
        if self._folder.is_dir():
            for path in sorted(self._folder.iterdir()):
                if is_digest(path.name):
                    yield from_json(path.read_text(), Held)

    def is_time(self) -> bool:
        """Tell whether to look again whether there is room."""
        if time.monotonic() < self._next_s:
            return False
        self._next_s = time.monotonic() + AGAIN_S
        return True
