"""Time as an argument. Rules take a `Clock`; only the edges say which one."""

import math
import time
from datetime import UTC, datetime
from typing import Protocol

from stratal.core.errors import Misuse

SECOND_NS = 1_000_000_000


class Clock(Protocol):
    """Laws: 1 `now_ns` is nanoseconds since 1970 in UTC. 2 `monotonic_s` never goes back, and is for durations only."""

    def now_ns(self) -> int: ...

    def monotonic_s(self) -> float: ...


class SystemClock:
    """The clock of this machine."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()


def to_utc(at_ns: int) -> datetime:
    """Give the UTC time of nanoseconds since 1970, to the microsecond (datetime has no more)."""
    seconds, rest = divmod(at_ns, SECOND_NS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def to_ns(at_utc: datetime) -> int:
    """Give nanoseconds since 1970. A naive time is taken as UTC."""
    aware = at_utc if at_utc.tzinfo else at_utc.replace(tzinfo=UTC)
    delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * SECOND_NS + delta.microseconds * 1000


def said_ns(time: object) -> int:
    """Give nanoseconds since 1970 of a time that a user says: a datetime with its zone, or seconds since 1970. Raises Misuse."""
    if isinstance(time, datetime):
        if time.utcoffset() is None:
            raise Misuse(f"the time {time} has no zone", hint="datetime.now(UTC), or time.astimezone() for one of this machine")
        at_ns = to_ns(time)
    elif isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time):
        raise Misuse(f"{time!r:.60} is no time", hint="give a datetime with its zone, or seconds since 1970")
    else:
        at_ns = time * SECOND_NS if isinstance(time, int) else round(time * SECOND_NS)
    if not -(2**63) <= at_ns < 2**63:
        raise Misuse(f"the time {time!r} is too far away", hint="seconds since 1970; 9,223,372,036 of them is the last (year 2262)")
    return at_ns
