"""`wandb.Artifact`: files under a name, in versions by content. A version is a statement of the run that logged it, and so are its files.

Versions are counted by the first appearance of their content, in the order of statements, whoever asks: v0, v1 ... The newest is latest.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from stratal.core.errors import StoreDown
from stratal.core.records import to_json
from stratal.interop.wandb.script.missing import refuse
from stratal.interop.wandb.script.settings import Error
from stratal.interop.wandb.script.values import Table
from stratal.store.store import Store
from stratal.tracking.artifacts import ArtifactFile, ArtifactFolder
from stratal.tracking.documents import to_document
from stratal.tracking.facts import ARTIFACT, ArtifactFact, check_artifact_path
from stratal.tracking.operations.reading import RunReads
from stratal.tracking.resolving import get
from stratal.tracking.runs import Run

KIND = "artifact_version"


class Artifact:
    """Files, folders and references that are logged together. Files are read when it is logged; W&B copies them when they are added."""

    def __init__(
        self, name: str, type: str, description: str | None = None, metadata: Mapping[str, object] | None = None, incremental: bool = False,
        **ignored: object,
    ) -> None:  # fmt: skip
        if incremental:
            refuse("incremental=True", "add all files of the version: those that are stored already take no room")
        if not name or set(name) & set("/:"):
            raise Error(f"{name!r} cannot name an artifact", hint="use letters, digits, '-', '_' and '.'")
        self.name, self.type = name, type
        self.description = description or ""
        self.metadata: dict[str, object] = dict(metadata or {})
        self.aliases: list[str] = []
        self.version = ""
        self._files: dict[str, Path | bytes] = {}
        self._references: dict[str, str] = {}

    def add_file(self, local_path: str | Path, name: str | None = None, **ignored: object) -> None:
        """Add a file, under its own name or `name`."""
        path = Path(local_path)
        if not path.is_file():
            raise Error(f"there is no file {local_path}", hint="add files when they are written")
        self._files[check_artifact_path(name or path.name)] = path

    def add_dir(self, local_path: str | Path, name: str | None = None, **ignored: object) -> None:
        """Add the files of a folder, under their paths in it."""
        folder = Path(local_path)
        if not folder.is_dir():
            raise Error(f"there is no folder {local_path}", hint="add folders when they are written")
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            self._files[check_artifact_path("/".join(part for part in (name, file.relative_to(folder).as_posix()) if part))] = file

    def add_reference(self, uri: str | Path, name: str | None = None, **ignored: object) -> None:
        """Add where something lies; it is written down, and never fetched."""
        self._references[name or str(uri).rpartition("/")[2]] = str(uri)

    def add(self, obj: object, name: str) -> None:
        """Add a Table, as JSON of its columns and rows."""
        if not isinstance(obj, Table):
            raise Error(f"wandb.{type(obj).__name__} cannot be added", hint="save it to a file, and add_file(...); or run.log it")
        document = {"columns": obj.columns, "data": to_document(obj.rows())}
        self._files[check_artifact_path(f"{name}.table.json")] = to_json(document).encode()

    @contextlib.contextmanager
    def new_file(self, name: str, mode: str = "w", encoding: str | None = None) -> Iterator[IO[str] | IO[bytes]]:
        """Write a file of the artifact. mode: w or wb."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            with path.open(mode, encoding=None if "b" in mode else encoding or "utf-8") as file:
                yield file
            self._files[check_artifact_path(name)] = path.read_bytes()

    def wait(self, timeout: int | None = None) -> "Artifact":
        """Nothing is under way: logging it has stored it."""
        return self


class Version(NamedTuple):
    """A version of an artifact, as a run stated it."""

    run: str
    number: int
    folder: str
    digest: str
    type: str
    description: str
    aliases: tuple[str, ...]
    metadata: dict[str, object]
    references: dict[str, str]
    paths: tuple[str, ...]


class UsedArtifact:
    """A version that was logged."""

    def __init__(self, store: Store, name: str, version: Version) -> None:
        """Scripts get one from `use_artifact`."""
        self._store, self._version = store, version
        self.name, self.version = f"{name}:v{version.number}", f"v{version.number}"
        self.type, self.description, self.digest = version.type, version.description, version.digest
        self.aliases, self.metadata = list(version.aliases), version.metadata
        self.references = version.references

    def download(self, root: str | Path | None = None, **ignored: object) -> str:
        """Give a folder with the files: read-only in the cache, or copies under `root`."""
        found = get(f"artifact:{self._version.run}/{self._version.folder}", store=self._store) if self._version.paths else None
        if isinstance(found, ArtifactFolder):
            if root is not None:
                found.download(root)
                return str(root)
            return str(found.path())
        if root is None:
            raise Error(f"{self.name} has references only", hint="they are in .references; nothing is fetched")
        Path(root).mkdir(parents=True, exist_ok=True)
        return str(root)

    def get_entry(self, name: str) -> ArtifactFile:
        """Give a file, which has .path(), .read() and .download(FOLDER)."""
        if name not in self._version.paths:
            raise Error(f"{self.name} has no file {name!r}", hint=f"it has: {', '.join(self._version.paths[:20]) or 'references only'}")
        found = get(f"artifact:{self._version.run}/{self._version.folder}/{name}", store=self._store)
        assert isinstance(found, ArtifactFile)
        return found

    get_path = get_entry

    def get(self, name: str) -> Table:
        """Give a table that was added under a name."""
        document = msgspec.json.decode(self.get_entry(f"{name}.table.json").read(), type=dict[str, list[Any]])
        return Table(columns=document["columns"], data=document["data"])

    def file(self, root: str | Path | None = None) -> str:
        """Give the path of the only file."""
        if len(self._version.paths) != 1:
            raise Error(f"{self.name} has {len(self._version.paths)} files", hint="download() gives a folder of them")
        return str(Path(self.download(root)) / self._version.paths[0])

    def files(self) -> list[ArtifactFile]:
        """List the files."""
        return [self.get_entry(path) for path in self._version.paths]

    def wait(self, timeout: int | None = None) -> "UsedArtifact":
        """It is there."""
        return self


def log_artifact(
    run: Run, project: str, what: "Artifact | str | Path", *, name: str | None, type: str | None,
    aliases: Sequence[str] | None, tags: Sequence[str] | None,
) -> Artifact:  # fmt: skip
    """Save an artifact, and state its version: the next one, unless its content is that of one that is there."""
    artifact = what if isinstance(what, Artifact) else _of_path(what, name or f"run-{run.short}-{Path(what).name}", type or "unspecified")
    try:
        _state(run, project, artifact, list(aliases or ()), list(tags or ()))
    except StoreDown as error:
        run.lose("artifact", error)
    return artifact


def use_artifact(run: Run, project: str, what: "Artifact | str", *, type: str | None = None) -> UsedArtifact:
    """Find a version, and record that the run uses it. Raises Error if there is none."""
    text = f"{what.name}:{what.version or 'latest'}" if isinstance(what, Artifact) else str(what)
    name, version = _chosen(run.store, project, text, type)
    if version.paths:
        run.use(f"artifact:{version.run}/{version.folder}", role=version.type or "data")
    else:
        run.edge("used", f"run:{version.run}", role=version.type or "data")
    return UsedArtifact(run.store, name, version)


def find_artifact(store: Store, project: str, text: str, *, type: str | None = None) -> UsedArtifact:
    """Find a version, as [[entity/]project/]name[:version]. Raises Error if there is none."""
    return UsedArtifact(store, *_chosen(store, project, text, type))


def _state(run: Run, project: str, artifact: Artifact, aliases: list[str], tags: list[str]) -> None:
    blobs = run.store.blobs
    if gone := next((part for part in artifact._files.values() if isinstance(part, Path) and not part.is_file()), None):
        raise Error(f"{gone} was added, and is gone", hint="log the artifact while its files are there: they are read then")
    digests = {path: blobs.put(part) if isinstance(part, bytes) else blobs.put_file(part) for path, part in artifact._files.items()}
    digest = hashlib.sha256(to_json([sorted(digests.items()), sorted(artifact._references.items())]).encode()).hexdigest()
    folder = f"artifacts/{artifact.name}/{digest[:8]}"
    for path, of_file in digests.items():
        run.say(ARTIFACT, ArtifactFact(path=f"{folder}/{path}", digest=of_file, size_bytes=blobs.size_bytes(of_file)))
    body: dict[str, object] = {
        "folder": folder, "digest": digest, "type": artifact.type, "description": artifact.description, "aliases": aliases,
        "metadata": to_document(artifact.metadata, others_as_text=True), "references": artifact._references, "paths": sorted(digests),
        "tags": tags,
    }  # fmt: skip
    run.state(KIND, body, subject=_subject(project, artifact.name))
    found = next((version for version in _versions(run.store, project, artifact.name) if version.digest == digest), None)
    if found is not None:  # else the statement was lost, and counted as such
        artifact.version, artifact.aliases = f"v{found.number}", list(found.aliases)


def _chosen(store: Store, project: str, text: str, type: str | None) -> tuple[str, Version]:
    path, _, selector = text.rpartition(":") if ":" in text else (text, "", "latest")
    *owner, name = path.split("/")
    versions = _versions(store, owner[-1] if owner else project, name)
    chosen = [version for version in versions if selector in (f"v{version.number}", *version.aliases)]
    if not chosen:
        known = ", ".join(f"v{version.number}" for version in versions) or "none"
        raise Error(f"there is no artifact {text!r}", hint=f"versions of {name!r} in project {owner[-1] if owner else project!r}: {known}")
    if type not in (None, chosen[-1].type):
        raise Error(f"artifact {text!r} has the type {chosen[-1].type!r}, not {type!r}", hint="say its type, or leave it out")
    return name, chosen[-1]


def _of_path(path: str | Path, name: str, type: str) -> Artifact:
    made = Artifact(name, type)
    if str(path).startswith(("s3://", "gs://", "http://", "https://")):
        made.add_reference(path)
    elif Path(path).is_dir():
        made.add_dir(path)
    else:
        made.add_file(path)
    return made


def _subject(project: str, name: str) -> str:
    return f"wandb-artifact:{project}/{name}"


def _versions(store: Store, project: str, name: str) -> list[Version]:
    """List the versions of a name, oldest first, each with the aliases that are its own now."""
    stated = RunReads(store).stated(kind=KIND, subject=_subject(project, name))
    bodies: dict[str, tuple[str, dict[str, object]]] = {}
    holder: dict[str, str] = {}
    for statement in stated:
        digest = str(statement.body["digest"])
        bodies.setdefault(digest, (statement.run, statement.body))
        for alias in (*_list(statement.body["aliases"]), "latest"):
            holder[str(alias)] = digest
    return [
        Version(
            run=of, number=number, folder=str(body["folder"]), digest=digest, type=str(body["type"]), description=str(body["description"]),
            aliases=tuple(alias for alias, held in holder.items() if held == digest), metadata=_dict(body["metadata"]),
            references={str(k): str(v) for k, v in _dict(body["references"]).items()}, paths=tuple(str(p) for p in _list(body["paths"])),
        )
        for number, (digest, (of, body)) in enumerate(bodies.items())
    ]  # fmt: skip


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _dict(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}
