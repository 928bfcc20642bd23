"""Times and durations in filters: `'2026-11-01'`, `'2026-11-01T08:30Z'`, `'-7d'`, `'2 hours ago'`, `'today'`, `'1h30m'`."""

import re
from datetime import UTC, datetime, timedelta

from stratal.core.clock import SECOND_NS, to_ns, to_utc

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNIT = r"(?P<unit>s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)(?![a-z])"
_AGO = re.compile(
    rf"(?:-\s*(?P<minus>\d+(?:\.\d+)?)\s*{_UNIT}|(?P<plain>\d+(?:\.\d+)?)\s*{_UNIT.replace('unit', 'unit2')}\s+ago)", re.IGNORECASE
)
_PART = re.compile(rf"\s*(?P<number>\d+(?:\.\d+)?)\s*{_UNIT}", re.IGNORECASE)
# More than a century: before it there is nothing.
_LONGEST_S = 4e9


def parse_time(text: str, now_ns: int) -> int | None:
    """Give nanoseconds since 1970, or None if the text is no time. A time without a zone is in UTC; a date is its midnight."""
    word = text.strip().lower()
    if word == "now":
        return now_ns
    if word in ("today", "yesterday"):
        midnight = to_utc(now_ns).replace(hour=0, minute=0, second=0, microsecond=0)
        return to_ns(midnight - timedelta(days=1 if word == "yesterday" else 0))
    ago = _AGO.fullmatch(word)
    if ago is not None:
        number, unit = ago["minus"] or ago["plain"], ago["unit"] or ago["unit2"]
        return now_ns - round(min(float(number) * _UNITS[unit[0]], _LONGEST_S) * SECOND_NS)
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return to_ns(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


def parse_duration(text: str) -> float | None:
    """Give seconds: `'90'`, `'5m'`, `'1h30m'`, `'2 days'`; None if the text is no duration."""
    total, at = 0.0, 0
    stripped = text.strip()
    while at < len(stripped):
        part = _PART.match(stripped, at)
        if part is None:
            return None
        total += float(part["number"]) * _UNITS[part["unit"][0].lower()]
        at = part.end()
    return total if stripped else None
