"""Alerts as they are stored: statements of the kind `alert`."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select

from stratal.core.clock import to_utc
from stratal.core.ids import to_bytes
from stratal.core.records import Record, from_json
from stratal.store.database import Transaction
from stratal.store.tables import deletion, run
from stratal.tracking.facts import ALERT, Alert
from stratal.tracking.store.dialects import json_text
from stratal.tracking.store.seeing import seen
from stratal.tracking.tables import statement


class ToldAlert(Record, frozen=True, kw_only=True):
    """An alert, and the run that gave it."""

    run: str
    experiment: str
    name: str
    level: str
    title: str
    text: str
    author: str
    at_ns: int

    @property
    def time(self) -> datetime:
        """When it was given, in UTC."""
        return to_utc(self.at_ns)


def alerts_of(tx: Transaction, *, levels: Collection[str], experiment: str | None, run_id: str | None, limit: int) -> list[ToldAlert]:
    """List at most `limit` alerts of some levels, the newest first; without a run, none of runs that were deleted."""
    found = seen(
        tx,
        select(run.c.id, run.c.experiment, json_text(run.c.doc, "name"), statement.c.at_ns, statement.c.body)
        .join_from(statement, run, run.c.no == statement.c.run)
        .where(statement.c.kind == ALERT, json_text(statement.c.body, "level").in_(sorted(levels)))
        .order_by(statement.c.at_ns.desc(), statement.c.id.desc())
        .limit(limit),
    )
    if experiment is not None:
        found = found.where(run.c.experiment == experiment)
    if run_id is not None:
        found = found.where(run.c.id == to_bytes(run_id))
    else:
        found = found.where(run.c.no.not_in(select(deletion.c.run)))
    return [_alert(bytes(id).hex(), of, name or "", at_ns, from_json(body, Alert)) for id, of, name, at_ns, body in tx.rows(found)]


def _alert(id: str, experiment: str, name: str, at_ns: int, said: Alert) -> ToldAlert:
    return ToldAlert(
        run=id, experiment=experiment, name=name, level=said.level, title=said.title, text=said.text, author=said.author, at_ns=at_ns
    )
