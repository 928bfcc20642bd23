"""httpx without its command line: with that comes rich, which draws numbers of the user's `random` when it is imported.

A seeded program would go another way from its first call of a server on, or whenever the thread beside it ships.
"""

import sys
from typing import Any

__all__ = ["httpx"]

_COMMAND_LINE = "httpx._main"

_modules: dict[str, Any] = sys.modules  # its values may be None: an import of such a name fails, and httpx does without
_modules.setdefault(_COMMAND_LINE, None)

import httpx  # noqa: E402  # after the line above, which is about it

if _modules[_COMMAND_LINE] is None:
    del _modules[_COMMAND_LINE]
