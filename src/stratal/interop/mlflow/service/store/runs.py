"""Rows of runs, as MLflow's protocol needs them: heads to check a call by, last points, what was stated of datasets and models."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import and_, bindparam, exists, func, or_, select, update

from stratal.core.ids import RunId, short, to_bytes
from stratal.core.records import from_json, to_json
from stratal.store.database import Transaction, insert
from stratal.store.tables import deletion, key, metric, run
from stratal.tracking.former_ids import MLFLOW_KINDS, endings_of, is_named, shorts_of
from stratal.tracking.store.dialects import among, among_listed, json_text
from stratal.tracking.store.runs import SELECT_RUNS, RunRecord, to_record
from stratal.tracking.tables import edge, note, statement

# Kinds of statements that a run makes for a client. Of a dataset, the subject is NAME@DIGEST; of a logged model, its id.
DATASET, MODEL_INPUT, MODEL_OUTPUT, MODEL_METRICS = "mlflow.dataset", "mlflow.model_input", "mlflow.model_output", "mlflow.logged_metrics"

_PLACES = [f"short_{n}" for n in range(1 + len(MLFLOW_KINDS))]
_HEADS = select(
    run.c.no, run.c.id, run.c.epoch, run.c.experiment, run.c.status, run.c.holder, run.c.expires_ns,
    exists().where(deletion.c.run == run.c.no),
).where(run.c.short.in_([bindparam(place) for place in _PLACES]))  # fmt: skip
_TAGS = select(run.c.id, json_text(run.c.doc, "tags")).where(among_listed(run.c.short, bindparam("shorts")))
_NUMBERS = select(run.c.no, run.c.id).where(among_listed(run.c.short, bindparam("shorts")))
_DOC = select(run.c.doc).where(run.c.no == bindparam("run_no"))
_SET_STATUS = update(run).where(run.c.no == bindparam("run_no")).values(status=bindparam("new_status"), ended_ns=bindparam("at"))
_SET_PARENT = update(run).where(run.c.no == bindparam("run_no"), run.c.parent.is_(None)).values(parent=bindparam("parent_id"))
_READ = SELECT_RUNS.where(among(run.c.no, bindparam("numbers")))
_LAST = (
    select(metric.c.run, key.c.name, metric.c.value, metric.c.is_nan, metric.c.step, metric.c.time_ns)
    .join_from(metric, key, key.c.id == metric.c.key)
    .where(among(metric.c.run, bindparam("numbers")))
)
_ENDS = select(key.c.name, metric.c.step, metric.c.time_ns).join_from(metric, key, key.c.id == metric.c.key).where(
    metric.c.run == bindparam("run_no")
)  # fmt: skip
_STATED = (
    select(statement.c.run, statement.c.kind, statement.c.subject, statement.c.body)
    .where(among(statement.c.run, bindparam("numbers")), or_(*(statement.c.kind == kind for kind in (DATASET, MODEL_INPUT, MODEL_OUTPUT))))
    .order_by(statement.c.id)
)
_newest = select(func.max(note.c.id)).where(among(note.c.run, bindparam("numbers"))).group_by(note.c.run)
_NOTES = select(note.c.run, note.c.text).where(note.c.id.in_(_newest))
_USED = (
    select(edge.c.run, edge.c.target, edge.c.role)
    .where(and_(among(edge.c.run, bindparam("numbers")), edge.c.verb == "used"))
    .order_by(edge.c.at_ns, edge.c.target)
)
_said = [json_text(statement.c.body, name) for name in ("name", "digest", "context")]
_DATASETS = (
    select(*_said)
    .join_from(statement, run, run.c.no == statement.c.run)
    .where(statement.c.kind == DATASET, run.c.experiment == bindparam("of_experiment"), ~exists().where(deletion.c.run == run.c.no))
    .distinct()
    .order_by(*_said)
    .limit(bindparam("most"))
)
_HAS_STATED = select(statement.c.id).where(
    statement.c.run == bindparam("run_no"), statement.c.kind == bindparam("of_kind"), statement.c.subject == bindparam("about")
)
_STATE = insert(statement)


class Head(NamedTuple):
    """What a call about a run is checked by."""

    no: int
    id: RunId
    epoch: int
    experiment: str
    status: str
    holder: str | None
    expires_ns: int | None
    is_deleted: bool

    @property
    def bytes(self) -> bytes:
        return to_bytes(self.id)


class LastPoint(NamedTuple):
    """The last point of a series. value: None for NaN."""

    key: str
    value: float | None
    step: int
    time_ns: int


class Stated(NamedTuple):
    """A statement of a run about a dataset or logged model."""

    kind: str
    subject: str
    body: dict[str, object]


def find_head(tx: Transaction, id: str) -> Head | None:
    """Give a run's head by its whole id, or by the one that it had in MLflow; of several the first that came. None if there is none."""
    shorts = dict(zip(_PLACES, shorts_of(id), strict=False))
    found = [row for row in tx.rows(_HEADS, **shorts) if is_named(bytes(row[1]).hex(), id)] if shorts else []
    if not found:
        return None
    no, run_id, epoch, experiment, status, holder, expires_ns, is_deleted = min(found)
    return Head(no, RunId(bytes(run_id).hex()), epoch, experiment, status, holder, expires_ns, bool(is_deleted))


def tags_of(tx: Transaction, ids: Collection[str]) -> dict[str, dict[str, object]]:
    """Give the tags of those of some runs that have any, by our ids."""
    wanted, found = set(ids), dict[str, dict[str, object]]()
    for run_id, tags in tx.rows(_TAGS, shorts=to_json([short(id) for id in wanted])):
        if tags and (id := bytes(run_id).hex()) in wanted:
            found[id] = from_json(tags, dict[str, object])
    return found


def first_named(tx: Transaction, ids: Collection[str]) -> dict[str, str]:
    """Give the run that each of some ids leads to, as `find_head` finds it."""
    shorts = to_json(list({each for id in ids for each in shorts_of(id)}))
    by_name: dict[str, tuple[int, str]] = {}
    for no, run_id in sorted(tx.rows(_NUMBERS, shorts=shorts)):
        for name in ((id := bytes(run_id).hex()), id[-20:]):
            by_name.setdefault(name, (no, id))
    found = {id: [by_name[name] for name in (id, *endings_of(id)) if name in by_name] for id in ids}
    return {id: min(runs)[1] for id, runs in found.items() if runs}


def document_of(tx: Transaction, no: int) -> dict[str, object]:
    """Give a run's document."""
    return from_json(str(tx.value(_DOC, run_no=no)), dict[str, object])


def set_status(tx: Transaction, no: int, status: str, ended_ns: int | None) -> None:
    """Say how a run stands."""
    tx.run(_SET_STATUS, run_no=no, new_status=status, at=ended_ns)


def set_parent(tx: Transaction, no: int, parent: str) -> None:
    """Make a run part of another, unless it is part of one."""
    tx.run(_SET_PARENT, run_no=no, parent_id=to_bytes(parent))


class Shown(NamedTuple):
    """All that clients see of a run. points: the last one of each series. stated: of datasets and logged models, each once, oldest
    first. used: (target, role) of edges."""

    record: RunRecord
    points: list[LastPoint]
    note: str | None
    stated: list[Stated]
    used: list[tuple[str, str]]


def read_shown(tx: Transaction, numbers: Sequence[int]) -> list[Shown]:
    """Read runs by their numbers, in that order."""
    if not numbers:
        return []
    asked = {"numbers": to_json(list(numbers))}
    runs, last, notes, stated, used = tx.together(*((each, asked) for each in (_READ, _LAST, _NOTES, _STATED, _USED)))
    found = {row[0]: Shown(to_record(row), [], None, [], []) for row in runs}
    for no, name, value, is_nan, step, time_ns in last:
        found[no].points.append(LastPoint(name, None if is_nan else value, step, time_ns))
    for no, text in notes:
        found[no] = found[no]._replace(note=text)
    seen = set[tuple[int, str, str]]()
    for no, kind, subject, body in stated:
        if (no, kind, subject) not in seen:
            seen.add((no, kind, subject))
            found[no].stated.append(Stated(kind, subject, from_json(body, dict[str, object])))
    for no, target, role in used:
        found[no].used.append((target, role))
    return [found[number] for number in numbers]


def ends_of(tx: Transaction, no: int) -> list[tuple[str, int, int]]:
    """Give (name, step, time) of the last point of each series of a run."""
    return [(name, step, time_ns) for name, step, time_ns in tx.rows(_ENDS, run_no=no)]


def state_once(tx: Transaction, no: int, kind: str, subject: str, body: dict[str, object]) -> bool:
    """State something about a subject, unless the run has; tell whether it is new."""
    if tx.row(_HAS_STATED, run_no=no, of_kind=kind, about=subject) is not None:
        return False
    tx.run(_STATE, run=no, kind=kind, subject=subject, author=tx.actor.name, at_ns=tx.now_ns, body=to_json(body))
    return True


def datasets_of(tx: Transaction, experiment: str, most: int) -> list[tuple[str, str, str]]:
    """List (name, digest, context) of the datasets that the runs of an experiment used, each once."""
    return [(name, digest, context) for name, digest, context in tx.rows(_DATASETS, of_experiment=experiment, most=most)]
