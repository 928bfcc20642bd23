"""Media as they are read: one item of a name at a step, and the thing itself when it is asked for."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from stratal.core.clock import to_utc
from stratal.core.errors import Misuse
from stratal.core.records import Record
from stratal.store.files.blobs import digest_of
from stratal.store.store import Store
from stratal.tracking.downloading import copy_out, write_out
from stratal.tracking.facts import MediaEntry, MediaFile
from stratal.tracking.media.places import ending_of, folder_of
from stratal.tracking.media.preparing import FILES, keeper_of
from stratal.tracking.store.media import MediaRecord

_SCRIPT = "text/javascript"
_ENDINGS = {"text/plain": ".txt", "text/markdown": ".md", "application/json": ".json"}


class MediaDocument(Record, frozen=True, kw_only=True):
    """An item as JSON lists it. text: of small texts, documents and histograms, which have no file."""

    name: str
    step: int
    at_ns: int
    kind: str
    mime: str
    caption: str
    path: str | None
    digest: str
    size_bytes: int
    details: dict[str, object]
    files: list[MediaFile]
    text: str | None


class MediaItem:
    """One thing that a run logged. `load()` gives it back, `read_bytes()` its file, `save(folder)` copies it out."""

    def __init__(self, store: Store, record: MediaRecord) -> None:
        self._store = store
        self.record = record

    @property
    def _entry(self) -> MediaEntry:
        return self.record.entry

    @property
    def name(self) -> str:
        return self._entry.name

    @property
    def step(self) -> int:
        return self.record.step

    @property
    def time(self) -> datetime:
        """When it was logged, in UTC."""
        return to_utc(self.record.at_ns)

    @property
    def kind(self) -> str:
        """image, figure, histogram, table, text, json, html, audio or video."""
        return self._entry.kind

    @property
    def mime(self) -> str:
        return self._entry.mime

    @property
    def caption(self) -> str:
        return self._entry.caption

    @property
    def details(self) -> dict[str, object]:
        """What is known without reading it: width, height, rows, columns, rate_hz, seconds, frames, fps, bins ... by kind."""
        return dict(self._entry.details)

    @property
    def files(self) -> Sequence[MediaFile]:
        """Its files, the thing first; none for small texts, documents and histograms, which stand in the fact itself."""
        return tuple(self._entry.files)

    @property
    def path(self) -> str | None:
        """Its place among the run's artifacts, None without a file."""
        return self._entry.files[0].path if self._entry.files else None

    @property
    def digest(self) -> str:
        """The sha256 of its bytes."""
        return self._entry.files[0].digest if self._entry.files else digest_of(self.read_bytes())

    @property
    def size_bytes(self) -> int:
        return self._entry.files[0].size_bytes if self._entry.files else len(self.read_bytes())

    def read_bytes(self) -> bytes:
        """Give its bytes, verified. Raises NotFound if the store no longer has them."""
        if self._entry.text is not None:
            return self._entry.text.encode()
        return self._store.blobs.read(self._entry.files[0].digest)

    def load(self) -> object:
        """Give the thing back: pixels as a NumPy array, a table as a polars frame, a text, a document, a Histogram, a Sound.

        Raises Misuse for formats that need a library that is not there."""
        if self.kind not in FILES:
            raise Misuse(f"media of kind {self.kind!r} are not known here", hint="update stratal, or take item.read_bytes()")
        return keeper_of(self.kind).load(self.read_bytes(), self.mime, self._entry.details)

    def save(self, folder: str | Path) -> list[Path]:
        """Copy all forms of it into a folder, as NAME-STEP-DIGEST and their endings, and give their paths. Of plotly also a page that
        draws it. Raises Conflict if another file stands there."""
        stem = Path(folder) / f"{folder_of(self.name).partition('/')[2].replace('/', '_')}-{self.step}-{self.digest[:8]}"
        if self._entry.text is not None:
            return [write_out(self.read_bytes(), _with_ending(stem, _ENDINGS.get(self.mime, ".json")))]
        files = [file for file in self._entry.files if file.mime != _SCRIPT]
        saved = [copy_out(self._store.blobs, file.digest, _with_ending(stem, ending_of(file.path))) for file in files]
        if (page := self.page()) is not None:
            saved.append(write_out(page, _with_ending(stem, ".html")))
        return saved

    def page(self) -> bytes | None:
        """Give one HTML file that draws a plotly figure without a network, None for everything else."""
        script = next((file for file in self._entry.files if file.mime == _SCRIPT), None)
        if script is None:
            return None
        from stratal.tracking.media.figures import page_of  # for those who look at one

        return page_of(self.read_bytes(), self._store.blobs.read(script.digest))

    def to_document(self) -> MediaDocument:
        """Give it as JSON lists it."""
        return MediaDocument(
            name=self.name, step=self.step, at_ns=self.record.at_ns, kind=self.kind, mime=self.mime, caption=self.caption,
            path=self.path, digest=self.digest, size_bytes=self.size_bytes, details=self.details, files=list(self.files),
            text=self._entry.text,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r} at step {self.step}>"


def _with_ending(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)
