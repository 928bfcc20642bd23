"""Signatures, as Standard Webhooks 1.0 has them, so that libraries of many languages verify ours.

webhook-signature: "v1," and base64 of HMAC-SHA256 over "ID.TIMESTAMP.BODY", keyed by what follows "whsec_" in the secret, out of base64.
"""

import binascii
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256

from stratal.core.errors import Misuse, Refused

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
# How old, or how far ahead, a request may be: what was overheard is worth nothing later.
TOLERANCE_S = 300
_PREFIX = "whsec_"


def new_secret() -> str:
    """Make a secret of 256 random bits."""
    return _PREFIX + b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, id: str, timestamp_s: int, body: bytes) -> str:
    """Give the signature of a request."""
    digest = hmac.new(_key(secret), b"%s.%d.%s" % (id.encode(), timestamp_s, body), sha256).digest()
    return "v1," + b64encode(digest).decode()


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now_s: float) -> str:
    """Give the id of a delivery whose request is genuine and fresh; keep it, since one delivery may come twice.

    body: the bytes as they came, before anything reads them. Raises Refused.
    """
    found = {name.lower(): value for name, value in headers.items()}
    id, said, signatures = found.get(ID, ""), found.get(TIMESTAMP, ""), found.get(SIGNATURE, "")
    if not (said.isascii() and said.isdigit() and len(said) < 15) or abs(now_s - int(said)) > TOLERANCE_S:
        raise Refused("this request is not of now", hint="is the clock right? a repeat of an old request is refused, too")
    wanted = sign(secret, id, int(said), body)
    if not any(hmac.compare_digest(wanted.encode(), each.encode()) for each in signatures.split(" ")):
        raise Refused("this request was not signed with the secret", hint="compare the secret; verify the bytes before they are parsed")
    return id


def _key(secret: str) -> bytes:
    try:
        return b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise Misuse("this is no secret of a webhook", hint="it begins with whsec_, and was shown when the webhook was added") from None
