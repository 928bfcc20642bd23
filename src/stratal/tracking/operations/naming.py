"""Naming: the whole ids of runs by what people write: an id, of MLflow too, a short form, a ref of a run or of an experiment."""

from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import RunId
from stratal.store.database import Transaction
from stratal.tracking.refs import parse_ref
from stratal.tracking.store import deleting as stored
from stratal.tracking.store import runs as rows

_ELSEWHERE = {
    "dataset": 'a version can: st.get("dataset:churn@3").delete(), stratal data delete dataset:churn@3',
    "model": "versions of models are archived: stratal promote model:churn@3 Archived",
}


def id_of(tx: Transaction, text: str) -> RunId:
    """Give the whole id. Raises NotFound, or Misuse if several match."""
    text = text.removeprefix("run:").lower()
    if ":" in text:
        raise Misuse(f"{text!r} is no run", hint="name a run, by its id or short form; list runs with `stratal runs`")
    if len(text) == 32:
        return rows.find_named(tx, text) or rows.get_record(tx, text).id
    found = rows.ids_ending_with(tx, text) if len(text) >= 6 and all(c in "0123456789abcdef" for c in text) else []
    if not found:
        raise NotFound(f"there is no run {text!r} in this store", hint=_where_runs_are(text))
    if len(found) > 1:
        raise Misuse(f"run {text!r} is ambiguous: {', '.join(found)}", hint="use the whole id")
    return found[0]


def ids_of(tx: Transaction, ref: str, *, children: bool) -> list[RunId]:
    """Give a run, or all runs that an experiment has now. children: also all that are part of them. Raises NotFound, Misuse."""
    parsed = parse_ref(ref, default_kind="run")
    if parsed.kind == "run":
        ids = [id_of(tx, parsed.name)]
    elif parsed.kind == "experiment":
        ids = stored.runs_of_experiment(tx, parsed.name)
        if not ids:
            raise NotFound(f"there is no experiment {parsed.name!r} in this store", hint="`stratal runs` shows the experiments of all runs")
    else:
        raise Misuse(f"a {parsed.kind} cannot be deleted", hint=_ELSEWHERE.get(parsed.kind, "runs and experiments can"))
    return stored.with_descendants(tx, ids) if children else ids


def _where_runs_are(text: str) -> str:
    """Say how to find a run; that ids are shortened at their end, to whom it may concern: their beginnings are times."""
    is_short = 4 <= len(text) < 32 and all(c in "0123456789abcdef" for c in text)
    return f"{'the short form of an id is its last 8 digits; ' if is_short else ''}list runs with `stratal runs`"
