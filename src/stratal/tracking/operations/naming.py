"""Naming: the whole id of a run by its id, short form or ref."""

from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import RunId
from stratal.store.database import Transaction
from stratal.tracking.store import runs as rows


def id_of(tx: Transaction, text: str) -> RunId:
    """Give the whole id. Raises NotFound, or Misuse if several match."""
    text = text.removeprefix("run:").lower()
    if ":" in text:
        raise Misuse(f"{text!r} is no run", hint="name a run, by its id or short form; list runs with `stratal runs`")
    if len(text) == 32:
        return rows.get_record(tx, text).id
    found = rows.ids_ending_with(tx, text) if len(text) >= 6 and all(c in "0123456789abcdef" for c in text) else []
    if not found:
        raise NotFound(f"there is no run {text!r} in this store", hint=_where_runs_are(text))
    if len(found) > 1:
        raise Misuse(f"run {text!r} is ambiguous: {', '.join(found)}", hint="use the whole id")
    return found[0]


def _where_runs_are(text: str) -> str:
    """Say how to find a run; that ids are shortened at their end, to whom it may concern: their beginnings are times."""
    is_short = 4 <= len(text) < 32 and all(c in "0123456789abcdef" for c in text)
    return f"{'the short form of an id is its last 8 digits; ' if is_short else ''}list runs with `stratal runs`"
