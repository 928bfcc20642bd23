"""Former ids: the id of an imported run ends with a digest of what the run was in its tool, so it is found by its id of there, too.

Only MLflow's ids are unique in the world by themselves; those of other tools say nothing without their project.
"""

import re
from functools import lru_cache
from hashlib import blake2b

from stratal.core.ids import short
from stratal.core.records import to_json

# Kinds of MLflow's stores: a database, a folder. Its importer tells their runs apart.
MLFLOW_KINDS = ("sql", "files")
# The tag that says which id a run had.
TAG = "imported.run"
_FOREIGN = re.compile(r"[0-9A-Za-z_-]{1,64}")


def ending_of(tool: str, store: str, run: str) -> str:
    """Give the last 20 hex digits of our id. store: what the tool's ids are unique in."""
    return blake2b(to_json([tool, store, run]).encode(), digest_size=10).hexdigest()


@lru_cache(maxsize=4096)
def endings_of(id: str) -> tuple[str, ...]:
    """Give how our id of a run can end that had this id in MLflow; nothing for what was no id there."""
    return tuple(ending_of("mlflow", kind, id) for kind in MLFLOW_KINDS) if _FOREIGN.fullmatch(id) else ()


def shorts_of(id: str) -> list[str]:
    """Give the short forms of runs that have this id, or had it in MLflow; nothing for what is no id."""
    endings = endings_of(id)
    return [short(each) for each in (id, *endings)] if endings else []


def is_named(run: str, id: str) -> bool:
    """Tell whether a run of ours has this id, or had it in MLflow."""
    return run == id or run.endswith(endings_of(id))
