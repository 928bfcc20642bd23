"""Model formats, one file each. A saved model is a folder of files and a manifest; loading one runs no code that it brings.

May live here: how a library's models become files and come back, and how inputs are arranged for them.
May not: pickle in any form; anything that knows runs, stores or versions of models.
"""

import importlib
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, cast

from stratal.core.errors import Misuse
from stratal.tracking.flavors.loaded import LoadedModel, Predictor
from stratal.tracking.flavors.manifest import FILE, FeatureUse, Manifest, ModelFile, checked_reader, decode_manifest, list_files
from stratal.tracking.signatures import Signature

__all__ = ["FILE", "FeatureUse", "LoadedModel", "Manifest", "ModelFile", "decode_manifest", "flavor_of", "load", "load_from", "save"]

# Flavor: the module that knows it, and the distributions whose versions matter. The first part of a class's module chooses.
FLAVORS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sklearn": ("stratal.tracking.flavors.sklearn", ("scikit-learn", "skops", "numpy")),
    "torch": ("stratal.tracking.flavors.torch", ("torch", "numpy")),
}


class Flavor(Protocol):
    """Laws: 1 `write` then `read` gives a predictor with equal predictions. 2 `read` runs no code from the files.
    3 what cannot be kept so is refused by `write`, with its name. 4 equal models give equal files."""

    def write(self, model: object, folder: Path, sample: object | None) -> Signature | None: ...

    def read(self, read: Callable[[str], bytes], signature: Signature | None) -> Predictor: ...


def flavor_of(model: object) -> str:
    """Name the flavor of a model by where its class comes from. Raises Misuse if no format here keeps it."""
    if isinstance(model, type):
        raise Misuse(f"{model.__name__} is a class, not a fitted model", hint=f"log an object: {model.__name__}(...) after its training")
    for kind in type(model).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in FLAVORS:
            return root
    kind = type(model)
    raise Misuse(
        f"no format keeps a {kind.__module__}.{kind.__qualname__}",
        hint=f"known are models of: {', '.join(FLAVORS)}. Save other files with run.save(path)",
    )


def save(model: object, folder: Path, sample: object | None = None, *, features: FeatureUse | None = None) -> Manifest:
    """Write a model into an empty folder, and give its manifest, which is written there too.

    sample: some rows of the inputs, as the model was fitted on them (polars, pandas or NumPy; torch also a tensor). It gives
    names and dtypes to the signature. Raises Misuse or Refused for what the format cannot keep."""
    name = flavor_of(model)
    folder.mkdir(parents=True, exist_ok=True)
    if extra := [path.name for path in folder.iterdir()]:
        raise Misuse(f"{folder} is not empty: it holds {', '.join(sorted(extra)[:5])}", hint="save a model into a folder of its own")
    signature = _flavor(name).write(model, folder, sample)
    versions = {"python": platform.python_version(), **{library: version(library) for library in FLAVORS[name][1]}}
    manifest = Manifest(flavor=name, files=list_files(folder), signature=signature, versions=versions, features=features)
    (folder / FILE).write_bytes(manifest.encode())
    return manifest


def load(folder: Path, manifest: Manifest | None = None) -> LoadedModel:
    """Load a model from its folder; its own manifest is read unless one is given. Raises Damaged if a file was changed."""
    manifest = manifest or decode_manifest((folder / FILE).read_bytes())
    return load_from(manifest, lambda file: (folder / file.path).read_bytes())


def load_from(manifest: Manifest, read: Callable[[ModelFile], bytes]) -> LoadedModel:
    """Load a model whose files are given by `read`, for example by digest from a store."""
    if manifest.flavor not in FLAVORS:
        raise Misuse(f"no format {manifest.flavor!r} is known", hint=f"known are: {', '.join(FLAVORS)}")
    predictor = _flavor(manifest.flavor).read(checked_reader(manifest, read), manifest.signature)
    return LoadedModel(predictor, manifest)


def _flavor(name: str) -> Flavor:
    module = FLAVORS[name][0]
    try:
        return cast(Flavor, importlib.import_module(module))
    except ModuleNotFoundError as error:
        extra = "train" if name == "torch" else name
        raise Misuse(f"models of {name} need {error.name}", hint=f"pip install 'stratal[{extra}]'") from error
