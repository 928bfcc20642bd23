"""The manifest of a version: what it consists of, by digest. A version whose bytes are not all there is refused."""

from stratal.core.errors import Misuse, NotFound
from stratal.store.blobs import Blobs, is_digest
from stratal.tracking.flavors.manifest import Manifest, decode_manifest


def read_manifest(blobs: Blobs, digest: str) -> Manifest:
    """Read a model's manifest and all files that it names. Raises NotFound for a missing one, Damaged for a changed one."""
    manifest = open_manifest(blobs, digest)
    check_files(blobs, manifest)
    return manifest


def open_manifest(blobs: Blobs, digest: str) -> Manifest:
    """Read a model's manifest alone. Raises Misuse for what is no digest, NotFound if it is not there."""
    if not is_digest(digest):
        raise Misuse(f"{digest[:80]!r} is not the digest of a model", hint="a digest is 64 hex digits of sha256")
    if not blobs.has(digest):
        raise NotFound(f"the manifest {digest[:12]}… of this model is not in the store", hint="log it here: run.log_model(NAME, model)")
    return decode_manifest(blobs.read(digest))


def check_files(blobs: Blobs, manifest: Manifest) -> None:
    """Read all files that a manifest names. Raises NotFound for a missing one, Damaged for a changed one."""
    for file in manifest.files:
        if not blobs.has(file.digest):
            raise NotFound(f"{file.path} of this model is not in the store", hint="log it again: run.log_model(NAME, model)")
        blobs.read(file.digest)
