"""The manifest of a saved model: what its folder holds, by digest. The digest of the manifest is the digest of the model."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from stratal.core.errors import Damaged, Misuse
from stratal.core.records import Record, from_json, to_json
from stratal.tracking.signatures import Signature

FILE = "manifest.json"
FORMAT = 1


class ModelFile(Record, frozen=True, kw_only=True):
    """One file of the folder: its path in the folder, with '/', and its content."""

    path: str
    digest: str
    size_bytes: int


class FeatureUse(Record, frozen=True, kw_only=True):
    """The feature view that the inputs come from: its ref, and the digest of its definition."""

    ref: str
    digest: str


class Manifest(Record, frozen=True, kw_only=True):
    """A saved model. versions: of Python and of the libraries that wrote it, by name."""

    flavor: str
    files: tuple[ModelFile, ...]
    signature: Signature | None = None
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    features: FeatureUse | None = None
    format: int = FORMAT

    def encode(self) -> bytes:
        """Give the bytes whose sha256 is the model's digest: JSON with sorted keys."""
        return to_json(self).encode()

    @property
    def digest(self) -> str:
        """Give the model's digest."""
        return hashlib.sha256(self.encode()).hexdigest()


def decode_manifest(data: bytes) -> Manifest:
    """Undo `encode`. Raises Damaged for other bytes, Misuse for a format of a later Stratal."""
    manifest = from_json(data, Manifest)
    if manifest.format > FORMAT:
        raise Misuse(f"this model has format {manifest.format}, and only formats up to {FORMAT} are known", hint="update stratal")
    return manifest


def list_files(folder: Path) -> tuple[ModelFile, ...]:
    """Describe all files below a folder, in the order of their paths, without a manifest."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != FILE:
            data = path.read_bytes()
            found.append(ModelFile(path=name, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data)))
    return tuple(found)


def checked_reader(manifest: Manifest, read: Callable[[ModelFile], bytes]) -> Callable[[str], bytes]:
    """Give a function from path to content that raises Damaged if the content is not what the manifest says."""
    files = {file.path: file for file in manifest.files}

    def read_checked(path: str) -> bytes:
        if path not in files:
            raise Damaged(f"the model's manifest names no file {path!r}; it names: {', '.join(files)}")
        data = read(files[path])
        if hashlib.sha256(data).hexdigest() != files[path].digest:
            raise Damaged(f"{path} of the model is not the file that was saved: its digest differs")
        return data

    return read_checked
