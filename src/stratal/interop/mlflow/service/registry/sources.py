"""Sources: which files a version is made of. Only what this store holds can be one: a version is a manifest of digests.

MLflow's own files (MLmodel, and pickles where a flavor writes them) are kept as they are, under the flavor "mlflow": no code of ours
opens them. What a policy demands of a version it demands of these, too.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from stratal.interop.mlflow.service.errors import invalid, missing
from stratal.interop.mlflow.service.registry.naming import need_head
from stratal.interop.mlflow.service.store import registered as rows
from stratal.interop.mlflow.service.store.logged import find_logged
from stratal.store.database import Transaction
from stratal.store.files.blobs import Blobs
from stratal.tracking.flavors.manifest import ModelFile, decode_manifest
from stratal.tracking.store.runs import artifacts_of, find_named, find_record

_LOGGED = re.compile(r"models:/*(m-[0-9a-f]{32})")
_VERSION = re.compile(r"models:/+([^/]+)/([0-9]{1,10})")
_RUN = re.compile(r"runs:/+([0-9a-f]{32})(?:/(.*))?")
_IN_RUN = re.compile(r"(?:.*/)?([0-9a-f]{32})/artifacts(?:/(.*))?")
_IN_LOGGED = re.compile(r"(?:.*/)?models/(m-[0-9a-f]{32})/artifacts(?:/(.*))?")
_IN_VERSION = re.compile(r"/?model-versions/(.+)/([0-9]{1,10})")
_PROXY = re.compile(r"https?://[^/]*/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts/(.*)")


class Source(NamedTuple):
    """The files of a version to be. run: the one that keeps them; experiment: whose it is, '' for files of another version;
    model: the registry's name of the model that they are copied from."""

    run: str
    path: str
    files: tuple[ModelFile, ...]
    experiment: str
    model: str = ""
    logged_model: str = ""
    said_run: str = ""

    @property
    def on(self) -> str:
        """What must be viewed by who takes them."""
        return f"model:{self.model}" if self.model else f"experiment:{self.experiment}"


def find_source(tx: Transaction, blobs: Blobs, source: str) -> Source:
    """Give the files that a client means. Raises MlflowError for other places."""
    if any(part in (".", "..") for part in unquote(source).split("/")) or "\0" in source or "%00" in source:
        raise invalid(f"Invalid model version source: {source[:300]!r}: a source holds no '.' or '..'")
    found = _find(tx, blobs, source)
    if found is not None:
        return found
    raise invalid(
        f"Invalid model version source: {source[:300]!r}: this store does not keep its files. A version is made of artifacts of a run, of a"
        " logged model or of another version: runs:/ID/PATH, models:/ID, models:/NAME/VERSION"
    )


def check_source(tx: Transaction, found: Source, source: str, *, run: str, logged_model: str) -> None:
    """Raise MlflowError for files that are not where the client says, and where there are none."""
    is_elsewhere = bool(run) and not _is_same(tx, run, found.said_run)
    if is_elsewhere or (not found.model and logged_model and logged_model != found.logged_model):
        raise invalid(
            f"Invalid model version source: {source[:300]!r} is not inside of {run or logged_model}: name the run (run_id) or logged model"
            " (model_id) that the source belongs to, or none"
        )
    if not found.files:
        raise invalid(f"Unable to find artifacts at {source[:300]!r}: there are no files. Log the model first, then register it")


def files_of_version(tx: Transaction, blobs: Blobs, model: str, number: int) -> tuple[ModelFile, ...]:
    """List the files of a version, by the registry's name. Raises MlflowError."""
    return _of_version(tx, blobs, model, number).files


def _find(tx: Transaction, blobs: Blobs, source: str) -> Source | None:
    if (found := _LOGGED.fullmatch(source)) is not None:
        return _of_logged(tx, found[1], "")
    if (found := _VERSION.fullmatch(source)) is not None:
        return _of_version(tx, blobs, need_head(tx, unquote(found[1])).model, int(found[2]))
    if (found := _RUN.fullmatch(source)) is not None:
        return _of_run(tx, found[1], found[2] or "")
    if (place := _proxied(source)) is None:
        return None
    if (found := _IN_VERSION.fullmatch(place)) is not None:
        return _of_version(tx, blobs, found[1], int(found[2]))
    if (found := _IN_LOGGED.fullmatch(place)) is not None:
        return _of_logged(tx, found[1], found[2] or "")
    if (found := _IN_RUN.fullmatch(place)) is not None:
        return _of_run(tx, found[1], found[2] or "")
    return None


def _is_same(tx: Transaction, run: str, other: str) -> bool:
    return run == other or ((known := find_named(tx, run)) is not None and known == find_named(tx, other))


def _proxied(source: str) -> str | None:
    if (found := _PROXY.fullmatch(source)) is not None:
        return unquote(found[1])
    parts = urlsplit(source)
    return unquote(parts.path).strip("/") if parts.scheme == "mlflow-artifacts" else None


def _of_run(tx: Transaction, run: str, path: str) -> Source:
    found = find_named(tx, run)
    record = None if found is None else find_record(tx, found)
    if record is None:
        raise missing(f"Run with id={run} not found")
    path = path.strip("/")
    start = f"{path}/" if path else ""
    files = [
        ModelFile(path=each.path.removeprefix(start), digest=each.digest, size_bytes=each.size_bytes)
        for each in artifacts_of(tx, record)
        if each.path.startswith(start)
    ]
    return Source(record.id, path, tuple(files), record.experiment, said_run=run)


def _of_logged(tx: Transaction, id: str, path: str) -> Source:
    logged = find_logged(tx, id)
    if logged is None:
        raise missing(f"Logged model with ID '{id}' not found.")
    found = _of_run(tx, logged.home, f"{logged.folder}/{path}" if path else logged.folder)
    return found._replace(logged_model=id, said_run=logged.source_run)


def _of_version(tx: Transaction, blobs: Blobs, model: str, number: int) -> Source:
    row = rows.find_version(tx, model, number)
    if row is None:
        raise missing(f"Model Version (name={model[:300]}, version={number}) not found")
    manifest = decode_manifest(blobs.read(row.digest))
    run = row.run if row.source else row.home
    return Source(row.home, row.path, manifest.files, "", model=model, logged_model=row.logged_model, said_run=run)
