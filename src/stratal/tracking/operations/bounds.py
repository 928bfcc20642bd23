"""Bounds of arguments. A call from elsewhere is held to them where it is read, before anything is done."""

from typing import Annotated

from msgspec import Meta

from stratal.core.errors import Misuse
from stratal.core.ids import to_bytes
from stratal.tracking.facts import KINDS, STATUSES, Start, check_name

# What both databases hold. The lowest whole number stands for "no step".
Whole = Annotated[int, Meta(ge=-(2**63) + 1, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
# Parts of one answer that are each made anew.
Few = Annotated[int, Meta(ge=0, le=1000)]
# More than a century, and no number that overflows when it becomes nanoseconds. Below zero: it is over already.
Seconds = Annotated[float, Meta(ge=-4e9, le=4e9)]
Days = Annotated[float, Meta(ge=0, le=40_000)]


def check_start(start: Start) -> None:
    """Raise Misuse for a start that no program of ours says."""
    check_name("experiment", start.experiment)
    if start.kind not in KINDS:
        raise Misuse(f"{start.kind!r:.80} is no kind of run", hint=f"choose one of: {', '.join(KINDS)}")
    if start.parent is not None:
        to_bytes(start.parent)


def check_end(status: str) -> None:
    """Raise Misuse for what is no end."""
    if status not in STATUSES[1:4]:
        raise Misuse(f"a run cannot end as {status!r:.80}", hint=f"choose one of: {', '.join(STATUSES[1:4])}")
