"""Time as an argument. Rules take a `Clock`; only the edges say which one."""

import time
from datetime import UTC, datetime
from typing import Protocol

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
