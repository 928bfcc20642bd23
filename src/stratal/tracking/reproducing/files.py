"""Bringing files and models along by their digests, and saying which things that were found by name cannot be."""

from stratal.core.errors import StratalError
from stratal.tracking.flavors.manifest import decode_manifest
from stratal.tracking.reproducing.carrying import Cargo

_LARGEST_MANIFEST = 1 << 20
_BY_NAME = ("model:", "run:", "artifact:", "experiment:")


def carry_files(cargo: Cargo) -> list[str]:
    """Link the contents that the runs used, and the files of those that are models."""
    for digest in (ref.removeprefix("sha256:") for ref in cargo.refs if ref.startswith("sha256:")):
        if cargo.source.blobs.has(digest):
            cargo.target.blobs.take(cargo.source.blobs, digest)
            for file in _files_of_model(cargo, digest):
                cargo.target.blobs.take(cargo.source.blobs, file)
    return [
        f"{ref}, which was used, is not brought along: the program finds nothing by that name"
        for ref in cargo.refs
        if ref.startswith(_BY_NAME) and ref not in cargo.made
    ]


def _files_of_model(cargo: Cargo, digest: str) -> list[str]:
    if cargo.source.blobs.size_bytes(digest) > _LARGEST_MANIFEST:
        return []
    try:
        files = decode_manifest(cargo.source.blobs.read(digest)).files
    except StratalError:  # any other file
        return []
    return [file.digest for file in files if cargo.source.blobs.has(file.digest)]
