"""Names of models and aliases: what may be one, and which two are too alike.

Names stand in refs, commands, URLs and folders, and in the eyes of people who approve: plain ASCII, so that no two names
look the same and none leads out of a folder.
"""

import re

from stratal.core.errors import Misuse
from stratal.registry.stages import RESERVED, Stage, find_stage

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]*[A-Za-z0-9_-])?"
_MODEL = re.compile(rf"{_PART}(?:/{_PART})*")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
# What other tools take for one; of digits only, it is reached as "@alias:WORD".
_FOREIGN_ALIAS = re.compile(r"[\w-]{1,255}")
_MOST = 128


def check_model_name(name: str) -> str:
    """Give the name back, or raise Misuse that says what a name may hold."""
    if len(name) <= _MOST and _MODEL.fullmatch(name) and ".." not in name:
        return name
    raise Misuse(
        f"{name[:200]!r} cannot name a model",
        hint=f"use ASCII letters, digits, blanks and . _ - inside, / between parts, {_MOST} characters at most",
    )


def check_alias(alias: str, *, is_foreign: bool = False) -> str:
    """Give the alias back, or raise Misuse: no integer, no stage in any case, none of the words that refs read themselves.

    is_foreign: another tool brought it, and had other such words; it is reached as "@alias:WORD"."""
    if not is_foreign and (alias.lower() in RESERVED or find_stage(alias) is not None):
        words = ", ".join([*sorted(RESERVED), *Stage])
        raise Misuse(f"{alias!r} is a word that refs read themselves", hint=f"choose none of: {words}")
    if _ALIAS.fullmatch(alias) or (is_foreign and _FOREIGN_ALIAS.fullmatch(alias)):
        return alias
    raise Misuse(
        f"{alias[:200]!r} cannot be an alias",
        hint="an alias starts with an ASCII letter, and goes on with letters, digits and . _ - (64 at most)",
    )


def folded(name: str) -> str:
    """Give the form under which two names are the same to a reader: letter case, and - _ . and blank do not count."""
    return re.sub(r"[ ._-]+", "-", name.lower())
