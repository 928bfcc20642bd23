"""Ids: 32 hex digits that sort by time of birth. 12 digits are milliseconds, 20 are random (80 bits).

The short form is the *last* 8 digits: ids that were born together share their first ones.
"""

import os
import re
from collections.abc import Callable
from typing import NewType

from stratal.core.clock import Clock, SystemClock
from stratal.core.errors import Misuse

RunId = NewType("RunId", str)

SHORT = 8
_WHOLE = re.compile(r"[0-9a-f]{32}")


def new_id(clock: Clock | None = None, random: Callable[[int], bytes] = os.urandom) -> RunId:
    """Make an id. `random(n)` gives n random bytes."""
    now_ms = (clock or SystemClock()).now_ns() // 1_000_000
    return RunId(f"{now_ms:012x}{random(10).hex()}")


def short(id: str) -> str:
    """Give the short form, for people."""
    return id[-SHORT:]


def is_id(text: str) -> bool:
    """Tell whether the text is a whole id."""
    return _WHOLE.fullmatch(text) is not None


def to_bytes(id: str) -> bytes:
    """Give the 16 bytes of an id. Raises Misuse if it is none."""
    if not is_id(id):
        raise Misuse(f"{id!r} is not an id", hint="an id has 32 hex digits; short forms are resolved by st.get('run:...')")
    return bytes.fromhex(id)
