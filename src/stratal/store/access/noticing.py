"""Noticing: rows of refusals and of uses, which requests make by the million and the store keeps by the hour and the minute."""

from collections.abc import Iterable, Mapping

from sqlalchemy import bindparam, delete, func, or_, select, update

from stratal.core.clock import SECOND_NS
from stratal.store.access.records import Refusal
from stratal.store.access.tables import refusal, token
from stratal.store.database import Transaction, insert

HOUR_NS, DAY_NS = 3600 * SECOND_NS, 86400 * SECOND_NS
# Rows of one hour: what comes above that is counted in one row without names. Days for which they are kept.
MOST_ROWS, KEEP_DAYS = 500, 90
# How exactly the last use of a token is known.
USE_NS = 60 * SECOND_NS

# Who, what, on what.
Refused = tuple[str, str, str]

_new = insert(refusal).excluded
_COUNT = insert(refusal).on_conflict_do_update(
    index_elements=["hour", "person", "action", "object"], set_={"count": refusal.c.count + _new.count, "last_ns": _new.last_ns}
)  # fmt: skip
_IS_THERE = select(refusal.c.count).where(
    refusal.c.hour == bindparam("of_hour"),
    refusal.c.person == bindparam("who"),
    refusal.c.action == bindparam("what"),
    refusal.c.object == bindparam("on"),
)
_ROWS = select(func.count()).select_from(refusal).where(refusal.c.hour == bindparam("of_hour"))
_DROP_OLD = delete(refusal).where(refusal.c.hour < bindparam("before"))
_REFUSALS = select(*refusal.columns).order_by(refusal.c.last_ns.desc()).limit(bindparam("most"))
_USED = (
    update(token)
    .where(token.c.id == bindparam("token_id"), or_(token.c.used_ns.is_(None), token.c.used_ns < bindparam("before")))
    .values(used_ns=bindparam("at"))
)


def note_refusals(tx: Transaction, counts: Mapping[Refused, int]) -> None:
    """Count refusals under the hour of now, at most MOST_ROWS different ones of it by name."""
    hour = tx.now_ns // HOUR_NS * HOUR_NS
    room = MOST_ROWS - int(tx.value(_ROWS, of_hour=hour) or 0)
    for (who, what, on), count in counts.items():
        place: Refused = (who, what, on)
        if tx.value(_IS_THERE, of_hour=hour, who=who, what=what, on=on) is None:
            room -= 1
            if room < 0:
                place = ("", "others", "")
        tx.run(_COUNT, hour=hour, person=place[0], action=place[1], object=place[2], count=count, last_ns=tx.now_ns)
    tx.run(_DROP_OLD, before=hour - KEEP_DAYS * DAY_NS)


def note_uses(tx: Transaction, ids: Iterable[str]) -> None:
    """Say that tokens were used just now."""
    for id in ids:
        tx.run(_USED, token_id=id, at=tx.now_ns, before=tx.now_ns - USE_NS)


def refusals(tx: Transaction, most: int) -> list[Refusal]:
    """List the last refusals, the newest first."""
    return [
        Refusal(hour_ns=hour, person=who, action=what, object=on, count=count, last_ns=last_ns)
        for hour, who, what, on, count, last_ns in tx.rows(_REFUSALS, most=most)
    ]
