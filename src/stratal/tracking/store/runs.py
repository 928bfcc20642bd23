"""Rows of runs: reading one, making a leased one, ending it, resuming it."""

from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy import bindparam, select, update

from stratal.core.errors import NotFound
from stratal.core.ids import SHORT, RunId, new_id, short, to_bytes
from stratal.core.records import Record, from_json, to_json
from stratal.store import leases
from stratal.store.arriving import greet
from stratal.store.callers import current_caller
from stratal.store.database import Row, Transaction
from stratal.store.names import add_run, ensure_run
from stratal.store.relays import SILENT_NS
from stratal.store.store import Store
from stratal.store.tables import deletion, key, metric, participant, run
from stratal.tracking.facts import Start
from stratal.tracking.former_ids import is_named, shorts_of
from stratal.tracking.store.dialects import among_listed
from stratal.tracking.store.seeing import seen
from stratal.tracking.store.settling import TrunkFacts, say_error, tell_end
from stratal.tracking.tables import artifact, edge, note, statement

_COLUMNS = (
    run.c.no, run.c.id, run.c.experiment, run.c.kind, run.c.status, run.c.parent, run.c.started_ns, run.c.ended_ns, run.c.epoch,
    run.c.holder, run.c.expires_ns, run.c.doc, run.c.metrics, run.c.fork_of, run.c.fork_step,
    select(deletion.c.at_ns).where(deletion.c.run == run.c.no).scalar_subquery(),
)  # fmt: skip
SELECT_RUNS = select(*_COLUMNS)
_RUN = SELECT_RUNS.where(run.c.id == bindparam("run_id"))
_BY_SHORT = select(run.c.id).where(run.c.short == bindparam("short_id")).order_by(run.c.no.desc()).limit(9)
_BY_SHORTS = select(run.c.id).where(among_listed(run.c.short, bindparam("shorts"))).order_by(run.c.no)
_LIKE_SHORT = select(run.c.id).where(run.c.short.like(bindparam("pattern"))).order_by(run.c.no.desc()).limit(9)
_CHILDREN = select(run.c.id).where(run.c.parent == bindparam("run_id")).order_by(run.c.no)
_WRITERS = select(participant.c.writer, participant.c.heard_ns).where(participant.c.run == bindparam("run_id"))
_RESUME = update(run).where(run.c.id == bindparam("run_id")).values(status="running", ended_ns=None, holder=None, expires_ns=None)
_REOPEN = update(run).where(run.c.id == bindparam("run_id")).values(status="running", ended_ns=None)
_END = (
    update(run)
    .where(run.c.id == bindparam("run_id"), run.c.epoch == bindparam("token"))
    .values(status=bindparam("new_status"), ended_ns=bindparam("at"), holder=None, expires_ns=None)
    .returning(run.c.no)
)
_METRICS = (
    select(key.c.name, metric.c.value, metric.c.is_nan, metric.c.step, metric.c.time_ns, metric.c.low, metric.c.high, metric.c.points)
    .join_from(metric, key, key.c.id == metric.c.key)
    .where(metric.c.run == bindparam("run_no"))
    .order_by(key.c.name)
)
_ARTIFACTS = (
    select(artifact.c.path, artifact.c.digest, artifact.c.size_bytes, artifact.c.at_ns)
    .where(artifact.c.run == bindparam("run_no"))
    .order_by(artifact.c.path)
)
_EDGES = (
    select(edge.c.verb, edge.c.target, edge.c.role, edge.c.at_ns)
    .where(edge.c.run == bindparam("run_no"))
    .order_by(edge.c.at_ns, edge.c.target)
)
_NOTES = select(note.c.author, note.c.at_ns, note.c.text).where(note.c.run == bindparam("run_no")).order_by(note.c.id)
_RUNS_AT = (
    select(run.c.id, edge.c.verb, edge.c.role)
    .join_from(edge, run, run.c.no == edge.c.run)
    .where(edge.c.target == bindparam("target"))
    .order_by(edge.c.at_ns)
)
_STATEMENTS = (
    select(run.c.id, statement.c.kind, statement.c.subject, statement.c.author, statement.c.at_ns, statement.c.body)
    .join_from(statement, run, run.c.no == statement.c.run)
    .order_by(statement.c.id)
)
_STATED_BY_KIND = _STATEMENTS.where(statement.c.kind == bindparam("of_kind"))
_STATED_ABOUT = _STATED_BY_KIND.where(statement.c.subject == bindparam("about"))
_STATED_IN = _STATEMENTS.where(run.c.id == bindparam("run_id"))


class RunRecord(Record, frozen=True, kw_only=True):
    """A run's row: doc and metrics are its JSON documents, decoded."""

    no: int
    id: RunId
    experiment: str
    kind: str
    status: str
    parent: RunId | None
    started_ns: int | None
    ended_ns: int | None
    epoch: int
    holder: str | None
    expires_ns: int | None
    doc: dict[str, object]
    metrics: dict[str, float | str]
    fork_of: RunId | None = None
    fork_step: int | None = None
    deleted_ns: int | None = None


class MetricRecord(Record, frozen=True, kw_only=True):
    """What is known of one series without reading it. low, high: of finite values."""

    name: str
    last: float
    step: int
    time_ns: int
    low: float | None
    high: float | None
    points: int


class Artifact(Record, frozen=True, kw_only=True):
    """A file of a run: `path` inside the run, `digest` of its bytes."""

    path: str
    digest: str
    size_bytes: int
    at_ns: int = 0


class Edge(Record, frozen=True, kw_only=True):
    """A lineage edge of a run."""

    verb: str
    target: str
    role: str
    at_ns: int = 0


class NoteRecord(Record, frozen=True, kw_only=True):
    """A note on a run."""

    author: str
    at_ns: int
    text: str


class Statement(Record, frozen=True, kw_only=True):
    """An immutable statement of a run about a subject."""

    run: RunId
    kind: str
    subject: str
    author: str
    at_ns: int
    body: dict[str, object]


def to_record(row: Row) -> RunRecord:
    """Turn a row of SELECT_RUNS into a record."""
    no, id, experiment, kind, status, parent, started, ended, epoch, holder, expires, doc, metrics, of, step, deleted = row
    return RunRecord(
        no=no, id=RunId(bytes(id).hex()), experiment=experiment, kind=kind, status=status,
        parent=RunId(bytes(parent).hex()) if parent else None, started_ns=started, ended_ns=ended, epoch=epoch, holder=holder,
        expires_ns=expires, doc=from_json(doc, dict[str, object]), metrics=msgspec.json.decode(metrics),
        fork_of=RunId(bytes(of).hex()) if of else None, fork_step=step, deleted_ns=deleted,
    )  # fmt: skip


def find_record(tx: Transaction, run_id: str) -> RunRecord | None:
    """Give a run by whole id, None if it was never seen."""
    row = tx.row(seen(tx, _RUN), run_id=to_bytes(run_id))
    return to_record(row) if row else None


def get_record(tx: Transaction, run_id: str) -> RunRecord:
    """Give a run by whole id. Raises NotFound."""
    found = find_record(tx, run_id)
    if found is None:
        raise NotFound(f"there is no run {short(run_id)} in this store", hint="list runs with `stratal runs`")
    return found


def may_be_lost(record: RunRecord, now_ns: int) -> bool:
    """Tell whether a run's process may be gone: it never ended, and nobody holds a lease that runs."""
    return record.status == "running" and (record.expires_ns or 0) <= now_ns


def ids_ending_with(tx: Transaction, suffix: str) -> list[RunId]:
    """List at most nine ids that end with a short form, newest first. suffix: hex digits."""
    if len(suffix) >= SHORT:
        rows = tx.rows(seen(tx, _BY_SHORT), short_id=suffix[-SHORT:])
    else:
        rows = tx.rows(seen(tx, _LIKE_SHORT), pattern=f"%{suffix}")
    return [id for id in (RunId(bytes(row[0]).hex()) for row in rows) if id.endswith(suffix)]


def find_named(tx: Transaction, id: str) -> RunId | None:
    """Give the run of a whole id, of here or of MLflow before it was imported. Of several the first that came: nobody takes an id over."""
    found = (RunId(bytes(row[0]).hex()) for row in tx.rows(seen(tx, _BY_SHORTS), shorts=to_json(shorts_of(id))))
    return next((run for run in found if is_named(run, id)), None)


def children_of(tx: Transaction, run_id: str) -> list[RunId]:
    """List the runs that are part of this one, in order of birth."""
    return [RunId(bytes(id).hex()) for (id,) in tx.rows(seen(tx, _CHILDREN), run_id=to_bytes(run_id))]


def writers_of(tx: Transaction, run_id: str) -> list[str]:
    """List the writers that have written to a run."""
    return [writer for writer, _ in tx.rows(_WRITERS, run_id=to_bytes(run_id))]


def is_attended(tx: Transaction, run_id: str, living: Collection[str]) -> bool:
    """Tell whether somebody goes on with a run: one of its writers lives, or a client of one said something not long ago."""
    for writer, heard_ns in tx.rows(_WRITERS, run_id=to_bytes(run_id)):
        if writer in living if heard_ns is None else heard_ns > tx.now_ns - SILENT_NS:
            return True
    return False


def metrics_of(tx: Transaction, record: RunRecord) -> list[MetricRecord]:
    """List what is known of each series of a run."""
    return [
        MetricRecord(name=name, last=float("nan") if nan else value, step=step, time_ns=time, low=low, high=high, points=points)
        for name, value, nan, step, time, low, high, points in tx.rows(_METRICS, run_no=record.no)
    ]


def artifacts_of(tx: Transaction, record: RunRecord) -> list[Artifact]:
    """List a run's artifacts by path."""
    return [Artifact(path=p, digest=d, size_bytes=s, at_ns=t) for p, d, s, t in tx.rows(_ARTIFACTS, run_no=record.no)]


def edges_of(tx: Transaction, record: RunRecord) -> list[Edge]:
    """List what a run used and produced."""
    return [Edge(verb=v, target=g, role=r, at_ns=t) for v, g, r, t in tx.rows(_EDGES, run_no=record.no)]


def runs_at(tx: Transaction, target: str) -> list[tuple[RunId, str, str]]:
    """List (run, verb, role) of all edges to a target."""
    return [(RunId(bytes(id).hex()), verb, role) for id, verb, role in tx.rows(seen(tx, _RUNS_AT), target=target)]


def notes_of(tx: Transaction, record: RunRecord) -> list[NoteRecord]:
    """List a run's notes, oldest first."""
    return [NoteRecord(author=a, at_ns=t, text=x) for a, t, x in tx.rows(_NOTES, run_no=record.no)]


def find_statements(tx: Transaction, *, kind: str, subject: str | None = None) -> list[Statement]:
    """List statements of a kind, about one subject if given, oldest first."""
    if subject is None:
        return _statements(tx.rows(seen(tx, _STATED_BY_KIND), of_kind=kind))
    return _statements(tx.rows(seen(tx, _STATED_ABOUT), of_kind=kind, about=subject))


def statements_of(tx: Transaction, run_id: str) -> list[Statement]:
    """List what a run stated, oldest first."""
    return _statements(tx.rows(seen(tx, _STATED_IN), run_id=to_bytes(run_id)))


def insert_leased(tx: Transaction, store: Store, start: Start, *, ttl_s: float, run_id: RunId | None = None) -> tuple[RunId, int]:
    """Make a run with a lease held by this process, inside a room's command. Gives its id and token."""
    id = run_id or new_id(store.clock)
    row = ensure_run(tx, to_bytes(id)) if run_id else add_run(tx, to_bytes(id))  # an id that was given may have facts already
    if row.is_new:
        token = leases.claim_new(tx, row, store.holder, ttl_s=ttl_s)
    else:
        token = leases.claim(tx, id, store.holder, ttl_s=ttl_s)
    TrunkFacts().start(tx, row, start, at_ns=tx.now_ns, epoch=token, names=store.settler.names)
    join(tx, store, id)
    tx.emit("run", id)
    return id, token


def end_leased(tx: Transaction, run_id: str, token: int, status: str, *, error: str = "") -> None:
    """End a leased run and give the lease back. error: what a failed one died of. Raises StaleLease if it was taken over."""
    no = tx.value(_END, run_id=to_bytes(run_id), token=token, new_status=status, at=tx.now_ns)
    if no is None:
        raise leases.stale(run_id, token)
    say_error(tx, no, error)
    tell_end(tx, run_id, status, error)


def take_over(tx: Transaction, store: Store, run_id: str, *, ttl_s: float, from_step: int | None) -> int:
    """Take over a run whose lease is free or has run out, and give the new token. Raises Conflict if it is held."""
    token = leases.claim(tx, run_id, store.holder, ttl_s=ttl_s, from_step=from_step)
    join(tx, store, run_id)
    tx.run(_REOPEN, run_id=to_bytes(run_id))
    say_error(tx, ensure_run(tx, to_bytes(run_id)).no, "")
    tx.emit("run", run_id)
    return token


def renew(tx: Transaction, run_id: str, token: int, ttl_s: float) -> None:
    """Hold a lease for another ttl_s. Raises StaleLease if it was taken over."""
    leases.renew(tx, run_id, token, ttl_s)


def join(tx: Transaction, store: Store, run_id: str) -> None:
    """Write to a run beside others, in its present epoch."""
    leases.join(tx, run_id, store.writer_id)
    if current_caller() is not None:  # its frames come over the network, maybe only in a moment
        greet(tx, store.writer_id, tx.actor, store.settler.folder)


def resume(tx: Transaction, store: Store, run_id: str) -> int:
    """Go on with a run that has ended or lost its process: raises its epoch, hides nothing. Gives the epoch."""
    epoch = leases.take_over(tx, run_id, store.holder, from_step=None)
    join(tx, store, run_id)
    tx.run(_RESUME, run_id=to_bytes(run_id))
    say_error(tx, ensure_run(tx, to_bytes(run_id)).no, "")
    tx.emit("run", run_id)
    return epoch


def _statements(rows: Sequence[Row]) -> list[Statement]:
    return [
        Statement(run=RunId(bytes(id).hex()), kind=kind, subject=subject, author=author, at_ns=at, body=from_json(body, dict[str, object]))
        for id, kind, subject, author, at, body in rows
    ]
