"""Artifacts as handles: a file or a folder of a run's files, of which nothing is read before somebody asks for it."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import RunId, short
from stratal.core.records import to_json
from stratal.store.store import Store
from stratal.tracking.downloading import copy_out
from stratal.tracking.facts import check_artifact_path
from stratal.tracking.opening import open_store
from stratal.tracking.store.runs import Artifact


class ArtifactFile:
    """A file of a run. run: the whole id; path: its path in the run; digest: of its bytes."""

    def __init__(self, store: Store, run: RunId, artifact: Artifact) -> None:
        """Users get one from `st.get("artifact:RUN/path")` or `run.use(...)`."""
        self._store = store
        self._artifact = artifact
        self.run = run
        self.path_in_run = artifact.path
        self.digest = artifact.digest
        self.size_bytes = artifact.size_bytes

    @property
    def ref(self) -> str:
        """What names this file anywhere."""
        return f"artifact:{self.run}/{self.path_in_run}"

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path_in_run.rpartition("/")[2]

    def read(self) -> bytes:
        """Give the bytes, verified. Raises NotFound, or Damaged if the disk holds other bytes."""
        return self._store.blobs.read(self.digest)

    def open(self) -> BinaryIO:
        """Open the file for reading. Not verified: that would be to read it whole."""
        return self._store.blobs.open(self.digest)

    def path(self, *, named: bool = False) -> Path:
        """Give a read-only file with these bytes, for whoever takes a path.

        It is the store's own file: no copy is made, and its name is a digest; or one in the cache, where blobs lie in an object store.
        named: in the cache, under its own name, verified, for readers that look at the suffix; that is one copy, the first time.
        """
        if not named:
            return self._store.blobs.path(self.digest)
        return self._store.cache.folder_of({self.name: self.digest}, self._store.blobs.copy_to) / self.name

    def download(self, folder: str | Path, *, name: str | None = None) -> Path:
        """Copy the file into a folder, verified, and give its path. name: None for its own one.

        A file that is there with the same bytes stays; raises Conflict if it has others.
        """
        target = Path(folder) / check_artifact_path(self.name if name is None else name)
        return copy_out(self._store.blobs, self.digest, target)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen_file, (self._store.url, self.run, self._artifact)  # a worker opens the store itself

    def __repr__(self) -> str:
        return f"<artifact {self.path_in_run} of run {short(self.run)}, {self.size_bytes:,} bytes>"


class ArtifactFolder(Sequence[ArtifactFile]):
    """All files of a run below a path, by path. digest: of their paths and digests."""

    def __init__(self, store: Store, run: RunId, path: str, artifacts: Sequence[Artifact]) -> None:
        """Users get one from `st.get("artifact:RUN/path")`, if the path names no file but a folder."""
        self._store = store
        self._artifacts = list(artifacts)
        self.run = run
        self.path_in_run = path

    @property
    def ref(self) -> str:
        """What names this folder anywhere."""
        return f"artifact:{self.run}/{self.path_in_run}"

    @property
    def size_bytes(self) -> int:
        """The bytes of all files."""
        return sum(artifact.size_bytes for artifact in self._artifacts)

    @property
    def digest(self) -> str:
        """The digest of what it holds: equal folders have equal digests."""
        return hashlib.sha256(to_json(sorted(self._files().items())).encode()).hexdigest()

    def path(self) -> Path:
        """Give a read-only folder with these files under their names, in the cache, verified: one copy, the first time."""
        return self._store.cache.folder_of(self._files(), self._store.blobs.copy_to)

    def download(self, folder: str | Path) -> list[Path]:
        """Copy all files into a folder, verified, and give their paths. As `ArtifactFile.download` does each."""
        names = self._files()
        return [file.download(folder, name=name) for file, name in zip(self, names, strict=True)]

    def _files(self) -> dict[str, str]:
        return {artifact.path.removeprefix(f"{self.path_in_run}/"): artifact.digest for artifact in self._artifacts}

    def __iter__(self) -> Iterator[ArtifactFile]:
        return (ArtifactFile(self._store, self.run, artifact) for artifact in self._artifacts)

    def __len__(self) -> int:
        return len(self._artifacts)

    def __getitem__(self, at: int | slice | str) -> "ArtifactFile | list[ArtifactFile]":  # type: ignore[override]  # also by name
        """Give a file by its place, or by its path in the folder. Raises NotFound."""
        if not isinstance(at, str):
            return list(self)[at]
        for file in self:
            if file.path_in_run == f"{self.path_in_run}/{at}":
                return file
        raise NotFound(f"{self.ref} has no file {at!r}", hint=f"it has: {', '.join(list(self._files())[:10])}")

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen_folder, (self._store.url, self.run, self.path_in_run, self._artifacts)

    def __repr__(self) -> str:
        return f"<{len(self)} artifacts below {self.path_in_run} of run {short(self.run)}, {self.size_bytes:,} bytes>"


def choose(store: Store, run: RunId, artifacts: Sequence[Artifact], path: str) -> ArtifactFile | ArtifactFolder:
    """Give the file of a path among a run's artifacts, else the folder. Raises NotFound."""
    for artifact in artifacts:
        if artifact.path == path:
            return ArtifactFile(store, run, artifact)
    path = path.rstrip("/")
    below = [artifact for artifact in artifacts if artifact.path.startswith(f"{path}/")]
    if not below:
        known = ", ".join(artifact.path for artifact in artifacts[:10]) or "none"
        raise NotFound(f"run {short(run)} has no artifact {path!r}", hint=f"it has: {known}")
    return ArtifactFolder(store, run, path, below)


def split_name(name: str) -> tuple[str, str]:
    """Split `RUN/path`. Raises Misuse."""
    run, slash, path = name.partition("/")
    if not slash or not path:
        raise Misuse(f"artifact:{name} names no file", hint="write artifact:RUN/path, for example artifact:7c41e09b/plots/roc.svg")
    return run, path


def _reopen_file(url: str, run: RunId, artifact: Artifact) -> ArtifactFile:
    return ArtifactFile(open_store(url), run, artifact)


def _reopen_folder(url: str, run: RunId, path: str, artifacts: list[Artifact]) -> ArtifactFolder:
    return ArtifactFolder(open_store(url), run, path, artifacts)
