"""Artifacts: MLflow's artifact repository for `stratal:///folder/-/PATH`. Files go into the store's blobs, by digest."""

import errno
import os
import posixpath
from pathlib import Path

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository, verify_artifact_path

from stratal.core.errors import StratalError
from stratal.interop.mlflow.plugin.calling import ask, in_mlflow
from stratal.interop.mlflow.plugin.places import home_of, path_of
from stratal.interop.mlflow.service import files
from stratal.tracking.downloading import copy_out


class StratalArtifacts(ArtifactRepository):  # type: ignore[misc]  # MLflow is untyped here
    """The artifacts of one run, logged model or version."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        """MLflow makes one per URI."""
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self._home, self._root = home_of(artifact_uri), path_of(artifact_uri)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Keep a file under its own name in a folder."""
        verify_artifact_path(artifact_path)
        self._keep(Path(local_file), posixpath.join(artifact_path or "", Path(local_file).name))

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Keep all files below a folder."""
        verify_artifact_path(artifact_path)
        for file in sorted(Path(local_dir).rglob("*")):
            if file.is_file():
                self._keep(file, posixpath.join(artifact_path or "", file.relative_to(local_dir).as_posix()))

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """List a folder; paths begin at the root."""
        found = ask(self._home, files.list_folder, files.AtPath(path=self._at(path)))
        return [FileInfo(posixpath.join(path or "", each.path), each.is_dir, each.file_size) for each in found.files]

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Take a file, or all of a folder, away."""
        ask(self._home, files.delete, files.AtPath(path=self._at(artifact_path)))

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        found = ask(self._home, files.open_file, files.AtPath(path=self._at(remote_file_path)))
        target = Path(local_path)
        target.unlink(missing_ok=True)  # MLflow writes over what is there
        copy_out(self._home.service.store.blobs, found.digest, target)

    def _keep(self, file: Path, path: str) -> None:
        blobs = self._home.service.store.blobs
        if not file.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))  # as MLflow's own places of files do
        try:
            digest = blobs.put_file(file)
        except StratalError as error:
            raise in_mlflow(error) from error
        ask(self._home, files.save, files.SaveFile(path=self._at(path), digest=digest, size_bytes=blobs.size_bytes(digest)))

    def _at(self, path: str | None) -> str:
        return posixpath.join(self._root, path) if path else self._root
