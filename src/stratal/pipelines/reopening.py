"""Finding a pipeline's function again, from what its run wrote down: to resume a run without the script that began it."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from stratal.core.errors import Misuse, NotFound
from stratal.pipelines.definition import Pipeline
from stratal.pipelines.rows import Entry


def find_pipeline(entry: Entry) -> Pipeline[..., object]:
    """Import the module or the script of a pipeline, and give it. The script's code outside of `if __name__ == "__main__"` runs.

    Raises NotFound if it is not there any more, Misuse if it cannot be reached by a name."""
    if "<locals>" in entry.qualname:
        raise Misuse(f"pipeline {entry.qualname} was made inside of a function", hint="resume it in Python: the_pipeline.resume(run)")
    found: object = _module(entry)
    for part in entry.qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Pipeline):
        raise NotFound(f"there is no pipeline {entry.qualname} in {entry.file or entry.module} any more", hint="was it renamed?")
    return found


def _module(entry: Entry) -> ModuleType:
    known = sys.modules.get(entry.module)
    if known is not None and _same_file(known, entry.file):
        return known
    path = Path(entry.file) if entry.file else None
    if path is None or not path.is_file():
        raise NotFound(f"the file of pipeline {entry.qualname} is not there: {entry.file or entry.module}", hint="resume it in Python")
    folder = str(path.parents[len(entry.module.split(".")) - 1]) if _is_package_path(entry, path) else str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as Python does for a script; workers get the same path
    found = importlib.import_module(entry.module) if importlib.util.find_spec(entry.module) else None
    if found is None or not _same_file(found, entry.file):
        raise Misuse(f"{entry.file} cannot be imported as {entry.module}", hint="give the script a name that is no other module's")
    return found


def _is_package_path(entry: Entry, path: Path) -> bool:
    return path.with_suffix("").parts[-len(entry.module.split(".")) :] == tuple(entry.module.split("."))


def _same_file(module: ModuleType, file: str) -> bool:
    own = getattr(module, "__file__", None)
    return own is not None and bool(file) and Path(own).resolve() == Path(file).resolve()
