"""Handles: the small frozen values through which rooms meet. They name things by ref and digest, and hold no data."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stratal.core.errors import Conflict, Misuse, NotFound
from stratal.core.ids import RunId
from stratal.core.records import Record
from stratal.tracking.active import active_run
from stratal.tracking.capture.inputs import note_input
from stratal.tracking.flavors import LoadedModel
from stratal.tracking.loading import load_by_digest
from stratal.tracking.opening import current_store
from stratal.tracking.signatures import Column, Label, Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stratal.store.store import Store

__all__ = ["Column", "Dataset", "Evaluation", "File", "Label", "Model", "Params", "Scalar", "Signature"]

Scalar = bool | int | float | str | None
# Parameters of a run: flat, by name.
Params = dict[str, Scalar]


class Dataset(Record, frozen=True, kw_only=True):
    """One version of a dataset. `digest` speaks of its content, `ref` is like 'dataset:churn@3'."""

    ref: str
    name: str
    version: int
    digest: str
    rows: int
    columns: tuple[str, ...]


class Model(Record, frozen=True, kw_only=True):
    """A saved model: the run that made it, the folder among that run's artifacts, and the digest of its manifest.

    features: ref of the feature view that its inputs come from, like 'features:customer@2'; None if it names none.
    """

    run: str
    path: str
    digest: str
    flavor: str
    signature: Signature | None = None
    features: str | None = None

    def load(self, store: "Store | None" = None) -> LoadedModel:
        """Load it from a store, by default that of the active run, else the process's own. Raises NotFound, Damaged."""
        run = active_run()
        return load_by_digest(self.digest, store or (run.store if run is not None else current_store()))

    def sample(self, store: "Store | None" = None) -> object:
        """Give the rows that `log_model(sample=...)` was given, at most 20, as the model takes them; of a torch module as an array.

        Raises NotFound if there were none, or if the model's run is not in the store."""
        from stratal.tracking.flavors import samples  # polars and the database: not for those who only pass handles on
        from stratal.tracking.operations.reading import RunReads

        run = active_run()
        store = store or (run.store if run is not None else current_store())
        kept = {artifact.path: artifact.digest for artifact in RunReads(store).artifacts(run=RunId(self.run))}
        for ending in (samples.TABLE, samples.ARRAY):
            if (digest := kept.get(f"{self.path}/{samples.file_of(self.digest, ending)}")) is not None:
                return samples.decode(ending, store.blobs.read(digest), self.signature)
        raise NotFound(f"the model {self.path!r} of run {self.run} has no sample", hint="run.log_model(..., sample=rows) keeps some rows")

    def scores(self, x: object) -> "NDArray[np.float64]":
        """Give P(positive) per row, (n,) float64, for a frame, an array or one row. Loads it; for many calls, `load` once."""
        return self.load().scores(x)


class Evaluation(Record, frozen=True, kw_only=True):
    """An evaluation: the run that holds its facts, and the digest of the model that it speaks of ('sha256:...')."""

    run: str
    subject: str


class File(msgspec.Struct, frozen=True, eq=False):
    """A file by content: two files with the same bytes are the same input, whatever their names.

    path: text or Path; made absolute, so that workers in other folders find it. digest, size_bytes: read from the file when not given.
    name: what people call it, by default the last part of the path; its suffix says the format.
    Raises Misuse if the path is no readable file. Cost: one read of the file.
    """

    path: str
    digest: str = ""
    size_bytes: int = -1
    name: str = ""

    def __post_init__(self) -> None:
        path = Path(self.path).absolute()
        msgspec.structs.force_setattr(self, "path", str(path))
        if not self.name:
            msgspec.structs.force_setattr(self, "name", path.name)
        if not self.digest:
            digest, size = _digest_file(path)
            msgspec.structs.force_setattr(self, "digest", digest)
            msgspec.structs.force_setattr(self, "size_bytes", size)
            note_input(path, digest, size)

    def read(self) -> bytes:
        """Give the content. Raises Conflict if the file has changed since this handle was made."""
        data = _open(Path(self.path))
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise Conflict(f"{self.path} has changed since it was taken as an input", hint="start again with a new st.File")
        return data

    def verify(self) -> None:
        """Raise Conflict if the file has changed since this handle was made."""
        if _digest_file(Path(self.path))[0] != self.digest:
            raise Conflict(f"{self.path} has changed since it was taken as an input", hint="start again with a new st.File")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def _digest_file(path: Path) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return digest, file.tell()
    except OSError as error:
        raise _unreadable(path, error) from error


def _open(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> Misuse:
    near = sorted(other.name for other in path.parent.iterdir())[:8] if path.parent.is_dir() else []
    hint = f"the folder holds: {', '.join(near)}" if near else "check the path"
    return Misuse(f"{path} cannot be read as a file: {error.strerror}", hint=hint)
