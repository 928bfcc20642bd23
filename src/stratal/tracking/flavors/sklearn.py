"""scikit-learn models as skops files, by a reviewed list of types, so that loading one runs nothing that the file chooses.

skops' own files hold memory addresses and times. They are rewritten without, so that equal models give equal bytes.
"""

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.base import is_classifier

from stratal.core.errors import Bug, Damaged, Misuse, Refused
from stratal.tracking.flavors.inputs import ANY, arrange, describe, plain_label
from stratal.tracking.flavors.skops_types import FUNCTIONS, LOADERS, TYPES
from stratal.tracking.flavors.trees import check_trees
from stratal.tracking.signatures import Column, Label, Signature

FILE = "model.skops"
SCHEMA = "schema.json"
# Rows of the sample on which the saved model is asked again before anybody relies on it.
ASKED_AGAIN = 100


def write(model: object, folder: Path, sample: object | None) -> Signature | None:
    """Write the model. Raises Refused naming the types outside the reviewed list, Misuse for a model that is not fitted."""
    try:
        data = _settled(skops.io.dumps(model))
    except TypeError as error:  # skops says so of what it cannot keep
        raise Refused(f"this model holds something that cannot be kept without pickle: {error}") from error
    _check_types(data)
    signature = _signature(model, sample)
    _ask_again(model, _Sklearn(_open(data), signature), sample)
    (folder / FILE).write_bytes(data)
    return signature


def read(read: Callable[[str], bytes], signature: Signature | None) -> "_Sklearn":
    """Load the model after its types and its trees were checked."""
    return _Sklearn(_open(read(FILE)), signature)


class _Sklearn:
    def __init__(self, model: object, signature: Signature | None) -> None:
        self.model = model
        self._signature = signature

    def predict(self, x: object) -> NDArray[np.generic]:
        return np.asarray(self.model.predict(arrange(x, self._signature)))  # type: ignore[attr-defined]  # any estimator has it

    def scores(self, x: object) -> NDArray[np.float64]:
        classes = _classes(self.model)
        if len(classes) != 2 or not hasattr(self.model, "predict_proba"):
            what = (
                f"{type(self.model).__name__} has {len(classes)} classes"
                if classes
                else f"{type(self.model).__name__} gives no probabilities"
            )
            raise Misuse(f"{what}, so there is no probability of the positive one", hint="use predict(), or a classifier of two classes")
        both = self.model.predict_proba(arrange(x, self._signature))
        return np.asarray(both, dtype=np.float64)[:, 1]


def _open(data: bytes) -> object:
    _check_types(data)
    try:
        model = skops.io.loads(data, trusted=sorted(set(skops.io.get_untrusted_types(data=data)) & TYPES))
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise Damaged(f"{FILE} cannot be read: {error}") from error
    check_trees(model)
    return model


def _check_types(data: bytes) -> None:
    """Raise Refused naming whatever the file names that is not on the list. Builds nothing."""
    refused = set()
    for node in _nodes(_schema(data)):
        name, loader = f"{node.get('__module__')}.{node.get('__class__')}", node.get("__loader__")
        if loader not in LOADERS:
            refused.add(f"{name} (by {loader})")
        elif name not in TYPES or (loader == "FunctionNode" and name not in FUNCTIONS):
            refused.add(name)
    if refused:
        raise Refused(
            f"the model holds types that are not on the reviewed list: {', '.join(sorted(refused))}",
            hint="the list is in stratal.tracking.flavors.skops_types; build the model of those, or save its parts with run.save",
        )


def _schema(data: bytes) -> dict[str, object]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            schema = json.loads(archive.read(SCHEMA))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise Refused(f"{FILE} is no skops file ({error}), and nothing else is opened", hint="pickles are never loaded") from error
    if not isinstance(schema, dict):
        raise Refused(f"{FILE} is no skops file: its schema is no object")
    return schema


def _nodes(part: object) -> Iterator[dict[str, object]]:
    """Give every object of the schema that names a type or a loader, in the order of writing."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "__class__" in part or "__loader__" in part:
                yield part
            waiting += reversed(list(part.values()))
        elif isinstance(part, list):
            waiting += reversed(part)


def _settled(data: bytes) -> bytes:
    """Rewrite a skops file so that it depends on the model only: objects are numbered as they come, files carry no time."""
    schema = _schema(data)
    shared = {node["__id__"] for node in _nodes(schema) if node.get("__loader__") == "CachedNode"}
    numbers: dict[object, int] = {}
    files: dict[str, str] = {}
    for node in _nodes(schema):
        if "file" in node:
            old = str(node["file"])
            node["file"] = files.setdefault(old, f"{len(files) + 1}{Path(old).suffix}")
        if "__id__" not in node:
            continue
        if node.get("__loader__") in ("JsonNode", "TypeNode") and node["__id__"] not in shared:
            del node["__id__"]  # whether two equal texts are one object is an accident of the interpreter
        else:
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old_archive, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for old, new in files.items():
            archive.writestr(zipfile.ZipInfo(new), old_archive.read(old), zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(SCHEMA), json.dumps(schema), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _signature(model: object, sample: object | None) -> Signature | None:
    classes = _classes(model)
    if sample is not None:
        columns, container = describe(sample)
        given = np.asarray(model.predict(_head(sample)))  # type: ignore[attr-defined]  # any estimator has it
        outputs = (Column(name="prediction", dtype=_output_dtype(given)),)
        return Signature(inputs=columns, outputs=outputs, container=container, classes=classes)
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return Signature(inputs=(), container="numpy", classes=classes) if classes else None
    return Signature(inputs=tuple(Column(name=str(name), dtype=ANY) for name in names), container="polars", classes=classes)


def _classes(model: object) -> tuple[Label, ...]:
    if not is_classifier(model):
        return ()
    return tuple(plain_label(label) for label in getattr(model, "classes_", ()))


def _output_dtype(given: NDArray[np.generic]) -> str:
    return "string" if given.dtype.kind in "OUS" else str(given.dtype)


def _ask_again(model: object, saved: _Sklearn, sample: object | None) -> None:
    if sample is None:
        return
    head = _head(sample)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown when the user fitted the model
        before, after = np.asarray(model.predict(head)), saved.predict(head)  # type: ignore[attr-defined]
    if not np.array_equal(before, after):
        raise Bug(f"the saved {type(model).__name__} answers otherwise than the one in memory; it was not kept")


def _head(sample: object) -> object:
    return sample[:ASKED_AGAIN]  # type: ignore[index]  # frames of both kinds and arrays slice rows so
