"""Names: what clients of MLflow call a model, and under which name the registry keeps it.

They may call a model anything, rename it, delete it and use its name again. The registry's names stay what they were, as its
log and its versions speak of them: the first model of a name that it takes has that name, a later one a number behind it.
"""

import re
from itertools import count

from stratal.interop.mlflow.service.errors import invalid, missing, required
from stratal.interop.mlflow.service.store import registered as rows
from stratal.interop.mlflow.service.store.registered import Head
from stratal.interop.registering import clean_name
from stratal.registry.names import folded
from stratal.registry.store import rows as registry
from stratal.store.database import Transaction

_MOST = 256
_ALIAS = re.compile(r"[\w-]{1,255}")


def need_head(tx: Transaction, name: str | None) -> Head:
    """Give the model that clients call so. Raises MlflowError."""
    if not name:
        raise required("name")
    found = rows.find_head(tx, name)
    if found is None:
        raise missing(f"Registered Model with name={name[:300]} not found")
    return found


def check_name(name: str | None, field: str = "name") -> str:
    """Give the name back if a client may choose it. Raises MlflowError."""
    if not name:
        raise required(field)
    if not name.strip() or len(name) > _MOST or not name.isprintable() or "/" in name or ":" in name:
        raise invalid(
            f"Invalid name for a registered model: {name[:300]!r}: it is not blank, holds neither '/' nor ':', and has at most {_MOST}"
            " characters that can be printed"
        )
    return name


def name_in_registry(tx: Transaction, name: str) -> str:
    """Give a name that the registry takes and nobody has. Raises MlflowError if people would mistake `name` for another model's."""
    plain = clean_name(name)
    for number in count(1):
        wanted = plain if number == 1 else f"{plain}-{number}"
        alike = registry.find_alike(tx, folded(wanted))
        if alike is None:
            return wanted
        if rows.find_head(tx, alike) is not None and folded(name) == folded(alike):
            raise invalid(f"{name!r} would be mistaken for the registered model {alike!r}: choose a name that differs by more")
    raise AssertionError("count ends")


def check_alias(alias: str | None) -> str:
    """Give the alias back if a client may set it. Raises MlflowError."""
    if not alias:
        raise required("alias")
    if _ALIAS.fullmatch(alias) and alias.lower() != "latest" and not re.fullmatch(r"[vV][0-9]+", alias):
        return alias
    raise invalid(
        f"Invalid alias name: {alias[:300]!r}: it has 1 to 255 letters, digits, '_' and '-', and is neither 'latest' nor like 'v1'"
    )
