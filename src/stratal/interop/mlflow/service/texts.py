"""Params and tags as texts: what requests hold, and what answers show."""

from collections.abc import Sequence

from stratal.interop.mlflow.service.names import LONGEST_TAG, check_key
from stratal.interop.mlflow.service.records import TagPair


def texts_of(pairs: Sequence[TagPair] | None, field: str, *, is_list: bool = True) -> dict[str, str]:
    """Give tags; texts that are too long are cut. Of a name that comes twice the last counts."""
    found = {}
    for at, pair in enumerate(pairs or ()):
        found[check_key(pair.key, f"{field}[{at}].key" if is_list else field)] = (pair.value or "")[:LONGEST_TAG]
    return found


def text_of(value: object) -> str:
    """Give a param as the text that clients see: what Python writes for it."""
    return value if isinstance(value, str) else str(value)
