"""Places: where a path of artifacts leads, as clients have it from our answers: into a run, a logged model, or a version.

EXPERIMENT/RUN/artifacts/PATH · EXPERIMENT/models/MODEL/artifacts/PATH · model-versions/NAME/NUMBER/PATH
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from stratal.interop.mlflow.service.calls import Answer, Call, Empty, Request, commands, reads
from stratal.interop.mlflow.service.errors import invalid, missing
from stratal.interop.mlflow.service.heads import head_of, writable
from stratal.interop.mlflow.service.logged.models import need
from stratal.interop.mlflow.service.registry.sources import files_of_version
from stratal.interop.mlflow.service.tags import tell
from stratal.tracking import facts
from stratal.tracking.facts import check_artifact_path
from stratal.tracking.store.runs import artifacts_of, get_record

_VERSION = re.compile(r"model-versions/(.+?)/([0-9]{1,10})(?:/(.*))?")
_LOGGED = re.compile(r"(?:.*/)?models/(m-[0-9a-f]{32})/artifacts(?:/(.*))?")
_RUN = re.compile(r"(?:.*/)?([0-9a-f]{32})/artifacts(?:/(.*))?")
# What a run keeps of logged models is theirs, and not among its own artifacts.
_OF_LOGGED = re.compile(r"models/[^/]+-m-[0-9a-f]{32}/.*")


class Place(NamedTuple):
    """Where a path leads. run: the run that keeps what is there, below `folder` ('' for its own artifacts); path: in that folder.
    model, number: of a version, whose files never change; then run is ''."""

    run: str
    folder: str
    path: str
    model: str = ""
    number: int = 0


class AtPath(Request, frozen=True, kw_only=True):
    """A request about a path of artifacts."""

    path: str | None = None


class PutFile(AtPath, frozen=True, kw_only=True):
    """A file whose bytes are among the blobs already."""

    digest: str
    size_bytes: int


class KeptFile(Answer, frozen=True, kw_only=True):
    """A file or folder, by its name in the folder that was asked for."""

    path: str
    is_dir: bool
    file_size: int | None = None


class KeptFiles(Answer, frozen=True, kw_only=True):
    files: list[KeptFile] = []


class KeptBlob(Answer, frozen=True, kw_only=True):
    """A file's content."""

    digest: str
    size_bytes: int


@reads
def list_files(call: Call, request: AtPath) -> KeptFiles:
    """List a folder; one that is not there, and a file, hold nothing."""
    place = find_place(call, request.path or "")
    start = f"{place.path}/" if place.path else ""
    found: dict[str, KeptFile] = {}
    for path, (_, size) in files_at(call, place).items():
        if path.startswith(start):
            name, slash, _ = path.removeprefix(start).partition("/")
            found.setdefault(name, KeptFile(path=name, is_dir=bool(slash), file_size=None if slash else size))
    return KeptFiles(files=[found[name] for name in sorted(found)])


@reads
def find_file(call: Call, request: AtPath) -> KeptBlob:
    """Give a file. Raises MlflowError if there is none."""
    place = find_place(call, request.path or "")
    found = files_at(call, place).get(place.path)
    if found is None:
        raise missing(f"No such artifact: {place.path[:300]!r}")
    return KeptBlob(digest=found[0], size_bytes=found[1])


@commands
def put_file(call: Call, request: PutFile) -> Empty:
    """Say that a file is there. Raises MlflowError for a place that is no run's and no logged model's."""
    place = find_place(call, request.path or "")
    if place.model:
        raise invalid("The files of a model version never change: log them in a run, and make a version of them")
    path = check_artifact_path(f"{place.folder}/{place.path}" if place.folder else place.path)
    body = {"path": path, "digest": request.digest, "size_bytes": request.size_bytes}
    tell(call, writable(head_of(call, place.run)), facts.ARTIFACT, body)
    return Empty()


def find_place(call: Call, path: str) -> Place:
    """Say where a path leads. Raises MlflowError for one that leads nowhere, or out of its folder."""
    path = path.strip("/")
    if any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path or not path.isprintable():
        raise invalid(f"Invalid path: {path[:300]!r}")
    if (found := _VERSION.fullmatch(path)) is not None:
        return Place("", "", found[3] or "", found[1], int(found[2]))
    if (found := _LOGGED.fullmatch(path)) is not None:
        logged = need(call, found[1], allow_deleted=True)
        return Place(logged.home, logged.folder, found[2] or "")
    if (found := _RUN.fullmatch(path)) is not None:
        return Place(head_of(call, found[1]).id, "", found[2] or "")
    raise missing(f"No artifacts are kept at {path[:300]!r}")


def files_at(call: Call, place: Place) -> dict[str, tuple[str, int]]:
    """Give digest and size of all files of a place's folder, whatever its path, by path."""
    if place.model:
        files = files_of_version(call.tx, call.store.blobs, place.model, place.number)
        return {file.path: (file.digest, file.size_bytes) for file in files}
    start = f"{place.folder}/" if place.folder else ""
    return {
        each.path.removeprefix(start): (each.digest, each.size_bytes)
        for each in artifacts_of(call.tx, get_record(call.tx, place.run))
        if each.path.startswith(start) and (start or not _OF_LOGGED.fullmatch(each.path))
    }


def at_path(call: Call, request: AtPath) -> Iterable[str]:
    """Rights are asked on the model of a version, or on the experiment of what is there."""
    place = find_place(call, request.path or "")
    return [f"model:{place.model}" if place.model else f"experiment:{head_of(call, place.run).experiment}"]
