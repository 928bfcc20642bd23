"""Bytes of artifacts in an export: a file per artifact under its run and path, wherever a file system can hold it so."""

from pathlib import Path

from stratal.core.errors import Damaged, NotFound
from stratal.store.store import Store
from stratal.tracking.downloading import copy_out
from stratal.tracking.facts import check_artifact_path
from stratal.tracking.store.runs import Artifact

# What every file system takes: 255 bytes for a name.
LONGEST_NAME = 255


class ArtifactFiles:
    """Copies artifacts below a folder. `count` and `size_bytes` say what was copied."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self.count, self.size_bytes = 0, 0

    def copy(self, run_folder: str, artifacts: list[Artifact]) -> dict[str, str]:
        """Copy the artifacts of a run, and say which file, relative to the folder, holds which path.

        A path that no file can have (too long, or both a file and a folder) goes into a file named by its digest.
        Raises NotFound for a blob that is not in the store, Damaged for one that is not what was stored."""
        folders = {prefix for one in artifacts for prefix in _folders(one.path)}
        return {one.path: self._copy(run_folder, one, may_keep_name=one.path not in folders) for one in artifacts}

    def _copy(self, run_folder: str, artifact: Artifact, *, may_keep_name: bool) -> str:
        fits = may_keep_name and all(len(part.encode()) <= LONGEST_NAME for part in artifact.path.split("/"))
        relative = f"{run_folder}/{check_artifact_path(artifact.path) if fits else f'by-digest-{artifact.digest}'}"
        try:
            copy_out(self._store.blobs, artifact.digest, self._folder / relative)
        except (NotFound, Damaged) as error:
            hint = "export without artifacts, or bring the blob back from a backup"
            raise type(error)(f"artifact {artifact.path!r} cannot be exported: {error.message}", hint=hint) from error
        self.count += 1
        self.size_bytes += artifact.size_bytes
        return relative


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]
