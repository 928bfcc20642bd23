"""Loading a saved model out of a store, by the digest of its manifest: nothing but that content can come back."""

from typing import Protocol

from stratal.core.errors import Damaged
from stratal.tracking import flavors
from stratal.tracking.flavors import LoadedModel


class Blobs(Protocol):
    """Where content lies by digest."""

    def read(self, digest: str) -> bytes: ...


class HoldsBlobs(Protocol):
    """A store, as far as loading needs it."""

    @property
    def blobs(self) -> Blobs: ...


def load_by_digest(digest: str, store: HoldsBlobs) -> LoadedModel:
    """Load the model whose manifest has this digest. Raises NotFound if the store lacks its content, Damaged if it was changed."""
    manifest = flavors.decode_manifest(store.blobs.read(digest))
    if manifest.digest != digest:
        raise Damaged(f"what lies under {digest} is no manifest of that digest")
    return flavors.load_from(manifest, lambda file: store.blobs.read(file.digest))
