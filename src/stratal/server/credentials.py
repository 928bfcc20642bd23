"""Credentials: what a request's headers say of who sends it. Rules only: nothing is looked up, and no secret gets into a message."""

import base64
import hmac
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlsplit

from stratal.core.records import Record
from stratal.server.guards import Unauthenticated
from stratal.server.peers import Peer
from stratal.store.access.secrets import SECRET_LENGTH, SESSION, TOKEN, is_secret

COOKIE, CSRF = "stratal_session", "x-stratal-csrf"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_HINT = (
    "send `Authorization: Bearer TOKEN` (STRATAL_TOKEN; of MLflow's clients MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD), "
    "or sign in at /auth/login"
)


class Said(Record, frozen=True, kw_only=True):
    """Who somebody says they are, and how they show it. kind: token, password or session. name: '' where the secret says it."""

    kind: str
    name: str
    secret: str

    def __repr__(self) -> str:
        return f"Said(kind={self.kind!r}, name={self.name!r})"


def read_credentials(headers: Mapping[str, str], peer: Peer) -> Said:
    """Read the one way in which a request says who sends it. Raises Unauthenticated if it has none, or one that cannot be."""
    if said := headers.get("authorization", ""):
        scheme, _, value = said.partition(" ")
        match scheme.lower():
            case "bearer":
                return _token("", value.strip())
            case "basic":
                return _basic(value.strip())
            case _:
                raise Unauthenticated("this way of signing in is not known here", hint=_HINT)
    if secret := session_secret(headers):
        _check_origin(headers, peer, secret)
        return Said(kind="session", name="", secret=secret)
    raise Unauthenticated("this server asks who you are", hint=_HINT)


def cookies(headers: Mapping[str, str], wanted: str = COOKIE) -> list[str]:
    """Give the values of a cookie."""
    pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
    return [value for name, _, value in pairs if name == wanted]


def session_secret(headers: Mapping[str, str]) -> str:
    """Give the secret of a session that a browser sends, '' for none."""
    return next((value for value in cookies(headers) if is_secret(value, SESSION)), "")


def csrf_of(secret: str) -> str:
    """Give what a page must send back with every change: only who may read our answers knows it."""
    return sha256(b"csrf of " + secret.encode()).hexdigest()


def is_from_here(headers: Mapping[str, str]) -> bool:
    """Tell whether the page that asks is one of ours; a request that says nothing of a page is taken for one."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False


def _check_origin(headers: Mapping[str, str], peer: Peer, secret: str) -> None:
    """Refuse changes that a page of others, or a form, makes with the cookie that the browser adds by itself."""
    if peer.method in SAFE_METHODS:
        return
    if not is_from_here(headers):
        raise Unauthenticated("a page of another site may change nothing here")
    if not hmac.compare_digest(headers.get(CSRF, "").encode(), csrf_of(secret).encode()):
        raise Unauthenticated(f"the header {CSRF} is missing, or not the one of this session", hint="GET /auth/me says it")


def _basic(value: str) -> Said:
    try:
        name, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:  # of base64, and of what is no UTF-8
        name, colon, secret = "", "", ""
    if not colon or not secret:
        raise Unauthenticated("the header authorization holds no name and password", hint=_HINT)
    if secret.startswith(TOKEN):
        return _token(name, secret)
    return Said(kind="password", name=name[:200], secret=secret)


def _token(name: str, secret: str) -> Said:
    if not is_secret(secret, TOKEN):
        whole = f"one is {TOKEN} and {SECRET_LENGTH} characters; perhaps it was not copied whole"
        raise Unauthenticated("the token has not the form of one", hint=whole)
    return Said(kind="token", name=name[:200], secret=secret)
