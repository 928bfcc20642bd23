"""Numbers and sentences as people read them."""

from datetime import datetime

from stratal.evaluation.estimates import Estimate


def number(value: float | None, unit: str = "") -> str:
    """Write a number as short as it may be; a missing one is a dash."""
    if value is None:
        return "–"
    if value == 0:
        return f"0 {unit}".rstrip()
    size = abs(value)
    if size >= 1e7:
        shown = f"{value:,.4g}" if size < 1e15 else f"{value:.3g}"
    elif size >= 100:
        shown = f"{value:,.0f}"
    elif size >= 10:
        shown = f"{value:.1f}"
    else:
        shown = f"{value:.3f}"
    # A rounded zero has no sign.
    shown = shown.lstrip("-") if not shown.strip("-0.,") else shown
    return f"{shown.replace('-', '−')} {unit}".rstrip()


def signed(value: float | None, unit: str = "") -> str:
    """Write a difference with its sign."""
    shown = number(value, unit)
    return shown if value is None or value <= 0 or not shown.strip("0.,").split(" ")[0] else f"+{shown}"


def percent(value: float | None) -> str:
    """Write a share; small ones keep a decimal."""
    if value is None:
        return "–"
    return f"{value * 100:.0f} %" if value == 0 or value >= 0.1 else f"{value * 100:.1f} %"


def count(value: int) -> str:
    """Write a whole number."""
    return f"{value:,}"


def interval(low: float | None, high: float | None) -> str:
    """Write an interval."""
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def of_hundred(value: float) -> str:
    """Say a share as so many of 100."""
    return f"{value * 100:.0f} of 100"


def date(at_utc: datetime) -> str:
    """Write a day and minute."""
    return f"{at_utc:%d %B %Y, %H:%M} UTC".lstrip("0")


def why(estimate: Estimate) -> str:
    """Give the reason of what is missing, as a sentence."""
    return "" if not estimate.reason else estimate.reason[0].upper() + estimate.reason[1:] + "."
