"""Models of runs: save one among a run's artifacts, and load it again by its handle."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stratal.core.errors import Misuse
from stratal.tracking import flavors
from stratal.tracking.flavors import FeatureUse, LoadedModel
from stratal.tracking.flavors.samples import encode, file_of
from stratal.tracking.loading import HoldsBlobs, load_by_digest
from stratal.tracking.values import Model

if TYPE_CHECKING:
    from stratal.store.store import Store

# The kind of statement that says which run holds a model, by its digest.
STATEMENT = "model"


class FeatureDefinition(Protocol):
    """What a feature view gives to those who use it, so that the trunk need not know the room."""

    @property
    def digest(self) -> str: ...

    def ref(self, *, store: "Store | None" = None) -> str:
        """Give the ref of this very definition, like 'features:customer@2'; it is registered if it was not."""


class SavesArtifacts(Protocol):
    """A run, as far as saving a model needs it."""

    @property
    def id(self) -> str: ...

    @property
    def store(self) -> "Store": ...

    def save_bytes(self, name: str, data: bytes) -> object: ...

    def edge(self, verb: str, target: str, role: str = ...) -> object: ...

    def state(self, kind: str, body: Mapping[str, object], *, subject: str = ...) -> object: ...


def log_model(
    run: SavesArtifacts, name: str, model: object, *, features: FeatureDefinition | None = None, sample: object | None = None
) -> Model:
    """Save a model as the folder `name` among a run's artifacts, and give its handle.

    features: the feature view that the inputs come from; its ref and digest go into the manifest.
    sample: some rows of the inputs as the model was fitted on them; it gives the signature, and the saved model is asked again
    on them. Its first 20 rows are kept beside the model: `Model.sample()`.
    Raises Misuse or Refused, and nothing is logged, if the format cannot keep the model."""
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise Misuse(f"{name!r} is no name for a folder of artifacts", hint="for example 'model'")
    use = None if features is None else FeatureUse(ref=features.ref(store=run.store), digest=features.digest)
    with tempfile.TemporaryDirectory(prefix="stratal-model-") as folder:
        manifest = flavors.save(model, Path(folder) / "model", sample, features=use)
        kept = None if sample is None else encode(sample)
        for file in manifest.files:
            run.save_bytes(f"{name}/{file.path}", (Path(folder) / "model" / file.path).read_bytes())
    if kept is not None:
        run.save_bytes(f"{name}/{file_of(manifest.digest, kept[0])}", kept[1])
    run.save_bytes(f"{name}/{flavors.FILE}", manifest.encode())
    handle = Model(
        run=run.id,
        path=name,
        digest=manifest.digest,
        flavor=manifest.flavor,
        signature=manifest.signature,
        features=use.ref if use else None,
    )
    run.edge("produced", f"sha256:{handle.digest}", role="model")
    if use:
        run.edge("used", use.ref, role="features")
    run.state(STATEMENT, {"path": name, "flavor": handle.flavor, "features": handle.features}, subject=f"sha256:{handle.digest}")
    return handle


def load_model(model: Model, store: HoldsBlobs) -> LoadedModel:
    """Load a model from a store, by the digest of its manifest: nothing but that content can come back.

    Raises NotFound if the store lacks the content, Damaged if it was changed."""
    return load_by_digest(model.digest, store)
