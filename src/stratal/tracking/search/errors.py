"""How a mistake in a filter is shown: the text, a caret under the place, what is wrong, and the nearest name that is right."""

import difflib
from collections.abc import Iterable

from stratal.core.errors import Misuse

_WIDTH = 100


def bad_filter(text: str, at: int, what: str, *, hint: str = "", subject: str = "filter") -> Misuse:
    """Make the error. at: where in the text, counted in characters from 0."""
    start = max(0, min(at, len(text)) - _WIDTH // 2)
    shown = text[start : start + _WIDTH].replace("\n", " ").replace("\t", " ")
    return Misuse(f"this {subject} cannot be read: {what}\n    {shown}\n    {' ' * (min(at, len(text)) - start)}^", hint=hint)


def nearest_stored(word: str, known: Iterable[str]) -> str:
    """Give "did you mean params.lr? " for a name as runs have it, or nothing. known: such as params.lr, metrics.auc."""
    names = list(known)
    for name in names:
        if name.partition(".")[2].lower() == word.lower():
            return f"did you mean {name}? "
    bare = {name.partition(".")[2].lower(): name for name in names} | {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower(), list(bare), n=1, cutoff=0.6)
    return f"did you mean {bare[found[0]]}? " if found else ""


def nearest(word: str, names: Iterable[str]) -> str:
    """Give "did you mean X? " or nothing."""
    found = difflib.get_close_matches(word.lower(), list(names), n=1, cutoff=0.5)
    return f"did you mean {found[0]}? " if found else ""
