"""The manifest of a version: what it consists of, by digest. A version whose bytes are not all there is refused."""

from collections.abc import Callable

from stratal.core.errors import Misuse, NotFound
from stratal.store.database import Transaction
from stratal.store.files.blobs import Blobs, is_digest
from stratal.store.store import Store
from stratal.tracking.flavors.manifest import Manifest, decode_manifest


def read_manifest(blobs: Blobs, digest: str) -> Manifest:
    """Read a model's manifest and all files that it names. Raises NotFound for a missing one, Damaged for a changed one."""
    manifest = _open(blobs, digest)
    _check_files(blobs, manifest)
    return manifest


def read_checked_manifest(store: Store, digest: str, check: Callable[[Transaction, str], None]) -> Manifest:
    """Read a model's manifest and its files, each only after `check` of its digest: no error tells what is there.

    Raises as `read_manifest`, and what `check` raises."""
    with store.glance() as tx:
        check(tx, digest)
    manifest = _open(store.blobs, digest)
    with store.glance() as tx:
        for file in manifest.files:
            check(tx, file.digest)
    _check_files(store.blobs, manifest)
    return manifest


def _open(blobs: Blobs, digest: str) -> Manifest:
    """Read a model's manifest alone. Raises Misuse for what is no digest, NotFound if it is not there."""
    if not is_digest(digest):
        raise Misuse(f"{digest[:80]!r} is not the digest of a model", hint="a digest is 64 hex digits of sha256")
    if not blobs.has(digest):
        raise NotFound(f"the manifest {digest[:12]}… of this model is not in the store", hint="log it here: run.log_model(NAME, model)")
    return decode_manifest(blobs.read(digest))


def _check_files(blobs: Blobs, manifest: Manifest) -> None:
    """Read all files that a manifest names. Raises NotFound for a missing one, Damaged for a changed one."""
    for file in manifest.files:
        if not blobs.has(file.digest):
            raise NotFound(f"{file.path} of this model is not in the store", hint="log it again: run.log_model(NAME, model)")
        blobs.read(file.digest)
