"""Secrets: tokens of 256 random bits, kept as SHA-256; passwords, kept by argon2. Neither is ever kept or logged itself.

A random secret needs no slow hash: nobody guesses 256 bits. It is found by its digest, so that no comparison of the secret takes time
that depends on it.
"""

import re
import secrets
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote

from stratal.core.errors import Misuse

if TYPE_CHECKING:
    from argon2 import PasswordHasher

# What tokens and ids of sessions begin with: people and scanners of repositories know them by it.
TOKEN, SESSION = "stratal_", "strses_"
SHORTEST, LONGEST = 10, 1000
SECRET_LENGTH = 43
_SECRET = re.compile(rf"(?:{TOKEN}|{SESSION})[A-Za-z0-9_-]{{{SECRET_LENGTH}}}")
# A parameter of an address that says of itself that it is one.
_NAMED = re.compile(r"(?i)[?&;](?:access_token|token|api_key|apikey|password|authorization)=")


def new_secret(prefix: str) -> str:
    """Make a secret: 256 bits from the system, as 43 characters behind the prefix."""
    return prefix + secrets.token_urlsafe(32)


def is_secret(text: str, prefix: str) -> bool:
    """Tell whether a text has the form of a secret of that kind."""
    return text.startswith(prefix) and _SECRET.fullmatch(text) is not None


def holds_secret(address: str) -> bool:
    """Tell whether an address, from its path on, has a token or a session in it, percent-encoded or not, or a parameter of such a name."""
    return any(found is not None for found in (_SECRET.search(address), _NAMED.search(address), _SECRET.search(unquote(address))))


def without_secrets(text: str) -> str:
    """Give a text with each secret cut to its prefix."""
    return _SECRET.sub(lambda found: found[0].partition("_")[0] + "_...", text)


def digest(secret: str) -> bytes:
    """Give what of a random secret is kept."""
    return sha256(secret.encode()).digest()


def hash_password(password: str) -> str:
    """Give what of a password is kept; some 30 ms and 19 MiB. Raises Misuse for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Misuse(f"a password has {SHORTEST} to {LONGEST} characters", hint="a few words are easy to remember and long enough")
    return _hasher().hash(password)


def is_password(kept: str | None, said: str) -> bool:
    """Tell whether that is the password. For people that are not there, or have none, it takes as long."""
    from argon2.exceptions import InvalidHashError, VerificationError  # as below

    try:
        _hasher().verify(kept or _nobodys(), said[: LONGEST + 1])
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


@cache
def _hasher() -> "PasswordHasher":
    try:
        from argon2 import PasswordHasher  # of the extra `auth`: who has no passwords needs none
    except ImportError:
        raise Misuse("passwords need argon2, which is not installed", hint="pip install 'stratal[auth]'") from None
    return PasswordHasher(time_cost=2, memory_cost=19 << 10, parallelism=1)  # OWASP's costs for servers that sign many in


@cache
def _nobodys() -> str:
    return _hasher().hash(secrets.token_urlsafe(16))
