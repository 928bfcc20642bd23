"""The run of mode="disabled": takes every call, and writes nothing."""

import tempfile
from types import TracebackType
from typing import Any

from stratal.core.ids import new_id, short
from stratal.interop.wandb.script.artifacts import Artifact, UsedArtifact
from stratal.interop.wandb.script.missing import refuse
from stratal.interop.wandb.script.running import Run


class _Nobody:
    """What stands for the run that is not written."""

    short = "nothing"

    def __init__(self) -> None:
        self.is_open = True

    def _nothing(self, *said: object, **more: object) -> None:
        pass

    log = log_params = set_tags = note = define_metric = alert = watch = _nothing

    def finish(self, status: str = "finished", *, error: str = "") -> None:
        self.is_open = False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.finish()


class NoRun(Run):
    """A run whose calls do nothing: its config and summary are kept for scripts that read them."""

    def __init__(self) -> None:
        nobody: Any = _Nobody()
        id = short(new_id())
        super().__init__(nobody, id=id, project="dummy", name=f"dummy-{id}", may_change=True)

    @property
    def dir(self) -> str:
        """A folder that nobody keeps."""
        return tempfile.mkdtemp(prefix="disabled-run-")

    def save(self, *said: object, **more: object) -> list[str]:
        """Save nothing."""
        return []

    def log_artifact(
        self, artifact_or_path: object, name: str | None = None, type: str | None = None, *said: object, **more: object
    ) -> Artifact:
        """Log nothing."""
        return artifact_or_path if isinstance(artifact_or_path, Artifact) else Artifact(name or "nothing", type or "unspecified")

    def use_artifact(self, artifact_or_name: object, *said: object, **more: object) -> UsedArtifact:
        """Raise Error: nobody recorded which version it would be."""
        refuse("use_artifact of a disabled run", "read the files where they are, or start the run with mode='online', which is local here")

    def unwatch(self, models: object = None) -> None:
        """Do nothing."""
