"""Failures: what each error of ours is in HTTP."""

import math

from stratal.core.errors import Bug, Conflict, Damaged, Forbidden, Misuse, NotFound, Refused, StoreDown, StratalError
from stratal.server.asgi import Failed, refusal
from stratal.server.guards import TooManyTries, Unauthenticated
from stratal.store.shipments import OtherBytes, OtherOffset

# Seconds after which a sender tries again: what somebody else was faster at, and a store that cannot be reached.
CONFLICT_S, DOWN_S = 1, 5


def in_http(error: StratalError) -> Failed:
    """Give an error of ours as an answer: what the caller did is 4xx, only what we or the store did is 5xx."""
    hint = error.hint
    match error:
        case TooManyTries():
            return refusal(429, "too-many-tries", error.message, hint, retry_after_s=math.ceil(error.wait_s))
        case Unauthenticated():
            return refusal(401, "unauthenticated", error.message, hint)
        case Forbidden():
            return refusal(403, "forbidden", error.message, hint)
        case OtherOffset():
            return refusal(409, "offset", error.message, hint, offset=error.offset)
        case OtherBytes():
            return refusal(409, "other-bytes", error.message, hint)
        case Conflict():
            return refusal(409, "conflict", error.message, hint, retry_after_s=CONFLICT_S)
        case NotFound():
            return refusal(404, "not-found", error.message, hint)
        case StoreDown():
            return refusal(503, "store-down", error.message, hint, retry_after_s=DOWN_S)
        case Misuse() | Refused():
            return refusal(422, "refused", error.message, hint)
        case Damaged():
            return refusal(422, "damaged", error.message, hint)
        case Bug():
            return refusal(500, "bug", error.message, hint or "please report it")
        case _:
            return refusal(422, "refused", error.message, hint)
