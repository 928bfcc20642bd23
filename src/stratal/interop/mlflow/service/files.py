"""Files: what MLflow's clients call artifacts. They are artifacts of runs here; those of a logged model lie in a folder of its run,
those of a version of a model are what it was registered with, and never change.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from stratal.core.errors import Misuse
from stratal.core.people import EVERYTHING
from stratal.interop.mlflow.service.calls import Answer, Call, Empty, OfRun, Request, commands, logs, reads
from stratal.interop.mlflow.service.errors import invalid, missing, required
from stratal.interop.mlflow.service.experiments import PROXY, location_of, numbered
from stratal.interop.mlflow.service.heads import head_of, hear, writable
from stratal.interop.mlflow.service.logged.models import OfLogged, need, uri_of
from stratal.interop.mlflow.service.registry.naming import need_head
from stratal.interop.mlflow.service.registry.sources import files_of_version
from stratal.interop.mlflow.service.registry.versions import FOLDER, OfVersion
from stratal.interop.mlflow.service.store.files import File, drop_file, files_below, find_file
from stratal.interop.mlflow.service.store.logged import find_logged
from stratal.interop.mlflow.service.store.runs import Head
from stratal.store.quotas.counting import count_asked
from stratal.store.quotas.holding import check_file
from stratal.store.quotas.parts import count_part, parts_bytes, uncount_parts
from stratal.store.quotas.rows import usage
from stratal.store.uses import holds
from stratal.tracking.facts import ARTIFACT, ArtifactFact, check_artifact_path

_RUN = re.compile(r"(.*?)/?([0-9a-f]{32})/artifacts(?:/(.*))?")
_LOGGED = re.compile(r"(?:.*?/)?models/(m-[0-9a-f]{32})/artifacts(?:/(.*))?")
_VERSION = re.compile(FOLDER + r"/(.+?)/([0-9]{1,10})(?:/(.*))?")
# What a run keeps of logged models; the same of an import only looks alike, and stays listed.
_KEPT = re.compile(r"models/[^/]*-(m-[0-9a-f]{32})/")


class ListArtifacts(OfRun, frozen=True, kw_only=True):
    path: str | None = None
    page_token: str | None = None


class AtPath(Request, frozen=True, kw_only=True):
    """A request about a file or folder behind the proxy."""

    path: str | None = None


class SaveFile(AtPath, frozen=True, kw_only=True):
    """The bytes were stored before, under their digest. digest: '' only asks whether the file may be saved."""

    digest: str = ""
    size_bytes: int = 0


class SaveOfRun(ListArtifacts, frozen=True, kw_only=True):
    """As SaveFile, of a file that is named by its run and its path in it."""

    digest: str = ""
    size_bytes: int = 0


class HoldRoom(SaveFile, frozen=True, kw_only=True):
    """Room for an upload of several parts. part: that is about to be kept; 0: they are now the file that is said, or given up."""

    upload: str = ""
    part: int = 0


class VersionFile(OfVersion, frozen=True, kw_only=True):
    path: str | None = None


class FileOfLogged(OfLogged, frozen=True, kw_only=True):
    artifact_file_path: str | None = None


class ListLogged(OfLogged, frozen=True, kw_only=True):
    artifact_directory_path: str | None = None


class FileInfo(Answer, frozen=True, kw_only=True):
    path: str
    is_dir: bool
    file_size: int | None = None


class Listed(Answer, frozen=True, kw_only=True):
    root_uri: str | None = None
    files: list[FileInfo] = []


class Opened(Answer, frozen=True, kw_only=True):
    """A file to be read: its name, and the blob that holds it."""

    name: str
    digest: str
    size_bytes: int


class _Home(NamedTuple):
    """What a path of the proxy leads to. folder: where it lies among the artifacts of a run; run: None for files of a version."""

    on: str
    run: Head | None
    folder: str
    path: str
    files: tuple[File, ...] = ()

    def below(self, call: Call) -> list[File]:
        """List what lies below, by paths relative to the home."""
        if self.run is None:
            return [file for file in self.files if not self.path or file.path.startswith(f"{self.path}/")]
        start = len(self.folder) + 1 if self.folder else 0
        found = [file._replace(path=file.path[start:]) for file in files_below(call.tx, self.run.no, _join(self.folder, self.path))]
        return found if self.folder else _own(call, found)

    def file(self, call: Call) -> File | None:
        """Give the file of this very path, None if there is none."""
        if self.run is None:
            return next((file for file in self.files if file.path == self.path), None)
        return find_file(call.tx, self.run.no, _join(self.folder, self.path)) if self.path else None


@reads
def list_artifacts(call: Call, request: ListArtifacts) -> Listed:
    """List a folder of a run, by paths from the run's root."""
    head = head_of(call, request.run)
    home = _of_run(head, "", check_path(request.path or ""))
    experiment = numbered(call, {head.experiment})[head.experiment]
    return Listed(root_uri=f"{location_of(experiment)}/{request.run}/artifacts", files=_entries(home.below(call), home.path))


@reads
def list_folder(call: Call, request: AtPath) -> Listed:
    """List a folder behind the proxy, by paths relative to it; nothing for a file, or a folder that is not there."""
    home = _find(call, request.path or "")
    if home is None:
        return Listed()
    found = _entries(home.below(call), home.path)
    start = len(home.path) + 1 if home.path else 0
    return Listed(files=[FileInfo(path=file.path[start:], is_dir=file.is_dir, file_size=file.file_size) for file in found])


@reads
def list_of_logged(call: Call, request: ListLogged) -> Listed:
    """List a folder of a logged model, by paths from the model's root."""
    logged = need(call, request.model_id)
    path = (request.artifact_directory_path or "").strip("/")
    if any(part in (".", "..") for part in path.split("/")):
        raise invalid(f"Invalid path: {path[:300]!r}")
    home = _of_run(head_of(call, logged.home), logged.folder, path)
    return Listed(root_uri=uri_of(call, logged), files=_entries(home.below(call), path))


@reads
def open_file(call: Call, request: AtPath) -> Opened:
    """Give a file behind the proxy. Raises MlflowError for what is none."""
    return _opened(call, _need(call, request.path or ""))


@reads
def open_artifact(call: Call, request: ListArtifacts) -> Opened:
    """Give a file of a run."""
    return _opened(call, _of_run(head_of(call, request.run), "", check_path(request.path or "")))


@reads
def open_of_version(call: Call, request: VersionFile) -> Opened:
    """Give a file of a version of a model."""
    model, number = need_head(call.tx, request.name).model, str(request.version or "")
    if not number.isascii() or not number.isdigit() or len(number) > 10:
        raise required("version")
    return _opened(call, _of_version(call, model, int(number), check_path(request.path or "")))


@reads
def open_of_logged(call: Call, request: FileOfLogged) -> Opened:
    """Give a file of a logged model."""
    if not request.artifact_file_path:
        raise required("artifact_file_path")
    logged = need(call, request.model_id)
    return _opened(call, _of_run(head_of(call, logged.home), logged.folder, check_path(request.artifact_file_path)))


@logs
def save(call: Call, request: SaveFile) -> Empty:
    """Keep a file under a path behind the proxy."""
    home, path = _writable(call, request.path or "")
    return _save(call, home, path, request)


@logs
def save_of_run(call: Call, request: SaveOfRun) -> Empty:
    """Keep a file of a run, as MLflow's own pages send it: one without bytes is none."""
    if not (path := check_path(request.path or "")):
        raise required("path")
    if request.digest and not request.size_bytes:
        raise invalid("Request must specify data.")
    head = head_of(call, request.run)
    return _save(call, writable(head), path, request)


@logs
def hold_room(call: Call, request: HoldRoom) -> Empty:
    """Count a part before it is kept; count the file instead of its parts, or nothing. Raises OverQuota: then the parts still count."""
    head, _ = _writable(call, request.path or "")
    has_limit = usage(call.tx, head.experiment).most_bytes is not None
    if not has_limit and parts_bytes(call.tx, head.experiment, request.upload) is None:
        return Empty()
    with call.commanding(head.id) as commanding:
        if request.part:
            count_part(commanding.tx, head.experiment, request.upload, request.part, request.size_bytes)
            return Empty()
        uncount_parts(commanding.tx, head.experiment, request.upload)
        if request.digest:
            check_file(commanding.tx, head.experiment, request.digest, request.size_bytes)
            count_asked(commanding.tx, head.experiment, request.digest, request.size_bytes, is_waiting=False)
    return Empty()


@logs
def may_save(call: Call, request: SaveFile) -> Empty:
    """Say whether files may be saved in a folder behind the proxy."""
    head, _ = _in_run(call, request.path or "")
    writable(head)
    return Empty()


@commands
def delete(call: Call, request: AtPath) -> Empty:
    """Take a file, or all of a folder, away; what is not there is fine."""
    head, home = _in_run(call, request.path or "")
    full = _join(home.folder, home.path)
    writable(head)
    one = find_file(call.tx, head.no, full)
    for file in [one] if one else files_below(call.tx, head.no, full):
        drop_file(call.tx, head.no, head.id, file)
    call.tx.emit("run", head.id)
    return Empty()


def at_path(call: Call, request: AtPath) -> Iterable[str]:
    """Rights are asked on what keeps the file; where nothing can be, on everything, as for what one may not view."""
    home = _find(call, request.path or "")
    return [home.on if home else EVERYTHING]


def check_path(path: str) -> str:
    """Give a path without a slash at its ends, and without `.` between them, which clients say of a folder itself. Raises MlflowError
    for one that leads out of its folder, however it is written."""
    plain = path.strip("/") if not path.startswith("/") else path
    plain = "/".join(part for part in plain.split("/") if part != ".")
    shown = unquote(unquote(plain))
    wrong = shown.startswith("/") or any(part in (".", "..") for part in re.split(r"[/\\]", shown)) or re.match(r"[A-Za-z]:[\\/]", shown)
    try:
        if wrong:
            raise Misuse("it leads out of its folder")
        return check_artifact_path(plain) if plain else ""
    except Misuse:
        raise invalid(f"Invalid path: {path[:200]!r}: use a relative path without '..' and '\\'") from None


def _find(call: Call, path: str) -> _Home | None:
    path = check_path(path)
    if (found := _VERSION.fullmatch(path)) is not None:
        return _of_version(call, found[1], int(found[2]), found[3] or "")
    if (found := _LOGGED.fullmatch(path)) is not None and (logged := find_logged(call.tx, found[1])) is not None:
        return _of_run(head_of(call, logged.home), logged.folder, found[2] or "")
    if (found := _RUN.fullmatch(path)) is not None:
        head = head_of(call, found[2])
        experiment = numbered(call, {head.experiment})[head.experiment]
        is_of_mlflow = found[2] != head.id  # where the experiment had another number
        if is_of_mlflow or location_of(experiment) == f"{PROXY}/{found[1]}":
            return _of_run(head, "", found[3] or "")
    return None


def _need(call: Call, path: str) -> _Home:
    home = _find(call, path)
    if home is None:
        raise missing(f"No such artifact: '{path[:200]}'")
    return home


def _in_run(call: Call, path: str) -> tuple[Head, _Home]:
    home = _need(call, path)
    if home.run is None:
        raise invalid("The files of a model version never change.")
    return home.run, home


def _of_run(head: Head, folder: str, path: str) -> _Home:
    return _Home(f"experiment:{head.experiment}", head, folder, path)


def _of_version(call: Call, model: str, number: int, path: str) -> _Home:
    files = files_of_version(call.tx, call.store.blobs, model, number)
    return _Home(f"model:{model}", None, "", path, tuple(File(file.path, file.digest, file.size_bytes) for file in files))


def _save(call: Call, head: Head, path: str, request: SaveFile | SaveOfRun) -> Empty:
    _check_room(call, head, request)
    if request.digest:
        hear(call, head)
        fact = ArtifactFact(path=path, digest=request.digest, size_bytes=request.size_bytes)
        call.store.writer.fact(head.bytes, head.epoch, ARTIFACT, fact)
    return Empty()


def _check_room(call: Call, head: Head, request: SaveFile | SaveOfRun) -> None:
    """Raise OverQuota if a file goes beyond its experiment's quota. What was saved a moment ago counts, though it may stand in the
    journal only."""
    if usage(call.tx, head.experiment).most_bytes is None:
        return
    with call.store.query() as tx:
        check_file(tx, head.experiment, request.digest, request.size_bytes)


def _writable(call: Call, path: str) -> tuple[Head, str]:
    head, home = _in_run(call, path)
    if not home.path:
        raise invalid(f"Invalid path: {path[:200]!r}: it names a folder, and no file in it")
    return writable(head), check_path(_join(home.folder, home.path))


def _opened(call: Call, home: _Home) -> Opened:
    file = home.file(call)
    if file is None:
        if home.below(call):
            raise invalid(f"'{home.path[:200]}' is a folder: list it, and read its files")
        raise missing(f"No such artifact: '{home.path[:200]}'")
    if home.run is not None and not holds(call.tx, f"run:{home.run.id}", file.digest):
        raise missing(f"The bytes of '{home.path[:200]}' have not arrived here yet: whoever logged it has to send them")
    return Opened(name=file.path.rpartition("/")[2], digest=file.digest, size_bytes=file.size_bytes)


def _entries(files: Sequence[File], folder: str) -> list[FileInfo]:
    """Give what lies directly in a folder, of files that lie below it."""
    start = len(folder) + 1 if folder else 0
    found: dict[str, FileInfo] = {}
    for file in files:
        name, slash, _ = file.path[start:].partition("/")
        path = _join(folder, name)
        found.setdefault(path, FileInfo(path=path, is_dir=True) if slash else FileInfo(path=path, is_dir=False, file_size=file.size_bytes))
    return [found[path] for path in sorted(found)]


def _own(call: Call, files: list[File]) -> list[File]:
    """Leave out what a run keeps of logged models: that is listed as theirs."""
    models = {file.path: match[1] for file in files if (match := _KEPT.match(file.path)) is not None}
    logged = {id for id in set(models.values()) if find_logged(call.tx, id) is not None}
    return [file for file in files if models.get(file.path) not in logged]


def _join(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder and path else folder or path
