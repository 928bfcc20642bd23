"""Failures: what each error of ours is in HTTP."""

import logging
import math

from stratal.core.errors import Bug, Conflict, Damaged, Forbidden, Misuse, NotFound, OutcomeUnknown, StoreDown, StratalError
from stratal.server.asgi import Failed, refusal
from stratal.server.guards import TooManyTries, Unauthenticated
from stratal.store.quotas.rules import OverQuota
from stratal.store.shipments import OtherBytes, OtherOffset, OtherOwner
from stratal.store.telling import tell

log = logging.getLogger(__name__)

# Seconds after which a sender tries again: what somebody else was faster at, and a store that cannot be reached.
CONFLICT_S, DOWN_S = 1, 5

# Status, word for programs, and seconds until another try can help, by class; the first that fits. What the caller did is 4xx,
# only what we or the store did is 5xx.
_ANSWERS: tuple[tuple[type[StratalError], int, str, int | None], ...] = (
    (TooManyTries, 429, "too-many-tries", None),
    (Unauthenticated, 401, "unauthenticated", None),
    (OtherOwner, 403, "other-owner", None),
    (Forbidden, 403, "forbidden", None),
    (OtherOffset, 409, "offset", None),
    (OtherBytes, 409, "other-bytes", None),
    (Conflict, 409, "conflict", CONFLICT_S),
    (OverQuota, 422, "quota", None),
    (NotFound, 404, "not-found", None),
    (OutcomeUnknown, 503, "outcome-unknown", DOWN_S),
    (StoreDown, 503, "store-down", DOWN_S),
    (Misuse, 422, "refused", None),
    (Damaged, 422, "damaged", None),
    (Bug, 500, "bug", None),
    (StratalError, 422, "refused", None),
)


def in_http(error: StratalError) -> Failed:
    """Give an error of ours as an answer, in words out of which our own client makes the same error."""
    status, word, retry_after_s = next(row[1:] for row in _ANSWERS if isinstance(error, row[0]))
    if isinstance(error, TooManyTries):
        retry_after_s = math.ceil(error.wait_s)
    if isinstance(error, Bug) and not error.hint:
        error.hint = "please report it"
    return Failed(status, tell(error, word), retry_after_s=retry_after_s)


def broken(path: str, error: Exception) -> Failed:
    """Give an error that nobody foresaw as an answer, which says nothing of it; the log says all."""
    log.error("request failed path=%s", path, exc_info=error)
    return refusal(500, "bug", "the server broke its own rule; its log says how", "please report it")
