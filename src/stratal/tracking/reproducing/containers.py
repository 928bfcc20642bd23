"""Files from which others build the environment of a run: a Dockerfile or an Apptainer definition, with all that it copies."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from stratal.core.records import to_json
from stratal.tracking.reproducing.environments import SOURCE
from stratal.tracking.reproducing.requirements import Requirements

_PROJECT, _WORKING, _OURS, _STORE = (f"/reproduction/{name}" for name in ("project", "working", "stratal", "store"))


def write_dockerfile(folder: Path, wanted: Requirements, command: Sequence[str], working: str, variables: Mapping[str, str]) -> str:
    """Write a Dockerfile beside the restored project; gives how to build and run it."""
    _write_context(folder, wanted)
    lines = [
        f"FROM python:{wanted.python}-slim",
        "RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*",
        "COPY requirements.txt /reproduction/requirements.txt",
        "RUN pip install --no-cache-dir --no-deps -r /reproduction/requirements.txt",
        f"COPY stratal {_OURS}/stratal",
        f"COPY project {_PROJECT}",
        *([f"COPY working {_WORKING}"] if (folder / "working").is_dir() else []),
        f"COPY store {_STORE}",
        *(f"ENV {name}={_quoted(value)}" for name, value in variables.items()),
        f"WORKDIR {working}",
        f"CMD {to_json(list(command))}",
    ]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    return f"docker build -t reproduction {folder} && docker run -v {folder}/store:{_STORE} reproduction"


def write_apptainer(folder: Path, wanted: Requirements, command: Sequence[str], working: str, variables: Mapping[str, str]) -> str:
    """Write an Apptainer definition beside the restored project; gives how to build and run it."""
    _write_context(folder, wanted)
    lines = [
        "Bootstrap: docker",
        f"From: python:{wanted.python}-slim",
        "",
        "%files",
        "    requirements.txt /reproduction/requirements.txt",
        f"    stratal {_OURS}/stratal",
        f"    project {_PROJECT}",
        *([f"    working {_WORKING}"] if (folder / "working").is_dir() else []),
        "",
        "%post",
        "    apt-get update && apt-get install --yes --no-install-recommends git",
        "    pip install --no-cache-dir --no-deps -r /reproduction/requirements.txt",
        "",
        "%environment",
        *(f"    export {name}={shlex.quote(value)}" for name, value in variables.items()),
        "",
        "%runscript",
        f"    cd {shlex.quote(working)}",
        f"    exec {shlex.join(command)}",
    ]
    (folder / "apptainer.def").write_text("\n".join(lines) + "\n")
    build = f"apptainer build reproduction.sif {folder}/apptainer.def"
    return f"cd {folder} && {build} && apptainer run --writable-tmpfs --bind {folder}/store:{_STORE} reproduction.sif"


def placed(folder: Path, text: str) -> str:
    """Turn paths in the folder of the reproduction into those of the container."""
    return text.replace(f"{folder}/", "/reproduction/")


def variables_inside(recorded: Mapping[str, str], paths: Sequence[str]) -> dict[str, str]:
    """Give the variables of the container: the recorded ones, our import path and the store."""
    folders = [_PROJECT if name == "." else f"{_PROJECT}/{name}" for name in paths]
    return {**recorded, "PYTHONPATH": ":".join([_OURS, *folders]), "STRATAL_STORE": _STORE, "STRATAL_CAPTURE": "on"}


def _write_context(folder: Path, wanted: Requirements) -> None:
    (folder / "requirements.txt").write_text(wanted.text_for_others())
    shutil.copytree(SOURCE / "stratal", folder / "stratal", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


def _quoted(value: str) -> str:
    return to_json(value).replace("$", "\\$")
