"""All SQL of the room. What a coordinator writes is guarded by the lease of its run: a zombie's command changes nothing."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import msgspec
from sqlalchemy import bindparam, select, update

from stratal.core.errors import Bug, NotFound
from stratal.core.ids import RunId, is_id, to_bytes
from stratal.core.people import Role
from stratal.core.records import from_json, to_json
from stratal.pipelines.cache import Key, KeyPart
from stratal.pipelines.payloads import Payload, blobs_in
from stratal.pipelines.rows import Beginning, Ending, Entry, Found, NodeRow, PipelineRow, Result, StepError, StepRow
from stratal.pipelines.states import LOST, RUNNING, check_transition
from stratal.pipelines.tables import pipeline_key, pipeline_result, pipeline_run, pipeline_step
from stratal.store import leases
from stratal.store.database import Row, Transaction, insert
from stratal.store.names import find_run
from stratal.store.operations import operation
from stratal.store.quotas.counting import count_file
from stratal.store.store import Store
from stratal.store.uses import blob_use, may_name
from stratal.tracking.facts import Start
from stratal.tracking.store import runs
from stratal.tracking.values import Scalar

T = TypeVar("T")

# Attempts at a step that are looked at for one that may be viewed. A guess.
_MOST = 20

_ADD_RUN = insert(pipeline_run).on_conflict_do_nothing()
_RUN = select(pipeline_run).where(pipeline_run.c.run == bindparam("run_id"))
_RECENT = select(pipeline_run.c.run).order_by(pipeline_run.c.run.desc()).limit(bindparam("at_most"))
_RECENT_OF = _RECENT.where(pipeline_run.c.pipeline == bindparam("of_pipeline"))
_SET_NODES = update(pipeline_run).where(pipeline_run.c.run == bindparam("of_run")).values(nodes=bindparam("new_nodes"))
_ADD_STEP = insert(pipeline_step)
_END_STEP = (
    update(pipeline_step)
    .where(
        pipeline_step.c.run == bindparam("of_run"),
        pipeline_step.c.path == bindparam("of_path"),
        pipeline_step.c.attempt == bindparam("of_attempt"),
        pipeline_step.c.state == RUNNING,
    )
    .values({name: bindparam(f"new_{name}") for name in ("state", "output", "refs", "error", "started_ns", "ended_ns")})
)
_STEPS = (
    select(pipeline_step)
    .where(pipeline_step.c.run == bindparam("run_id"))
    .order_by(pipeline_step.c.started_ns, pipeline_step.c.path, pipeline_step.c.attempt)
)
_STEP = select(pipeline_step).where(
    pipeline_step.c.run == bindparam("of_run"),
    pipeline_step.c.path == bindparam("of_path"),
    pipeline_step.c.attempt == bindparam("of_attempt"),
)
_BEFORE = (
    select(pipeline_step)
    .where(
        pipeline_step.c.pipeline == bindparam("of_pipeline"),
        pipeline_step.c.path == bindparam("of_path"),
        pipeline_step.c.run != bindparam("not_run"),
        pipeline_step.c.key != "",
    )
    .order_by(pipeline_step.c.started_ns.desc(), pipeline_step.c.attempt.desc())
    .limit(bindparam("at_most"))
)
_ADD_KEY = insert(pipeline_key).on_conflict_do_nothing()
_KEY = select(pipeline_key.c.parts).where(pipeline_key.c.key == bindparam("of_key"))
_new_result = insert(pipeline_result).excluded
_ADD_RESULT = insert(pipeline_result).on_conflict_do_update(
    index_elements=["key", "refs_digest"], set_={name: _new_result[name] for name in ("output", "step_run", "at_ns")}
)
_RESULTS = (
    select(
        pipeline_result.c.key, pipeline_result.c.refs, pipeline_result.c.output, pipeline_result.c.step_run, pipeline_result.c.at_ns
    )
    .where(pipeline_result.c.key == bindparam("of_key"))
    .order_by(pipeline_result.c.at_ns.desc())
)  # fmt: skip


class PipelineStore:
    """The room's queries and commands."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR)
    def begin(self, *, row: PipelineRow, experiment: str, params: dict[str, Scalar], lease_s: float) -> int:
        """Start a run of a pipeline with a lease, and give its token. Idempotent by run id: a second start is a Conflict."""
        with self._store.command() as tx:
            start = Start(experiment=experiment, name=row.pipeline, kind="pipeline", params=params, user=tx.actor.name)
            _, token = runs.insert_leased(tx, self._store, start, ttl_s=lease_s, run_id=RunId(row.run))
            tx.run(
                _ADD_RUN, run=row.run, pipeline=row.pipeline, entry=to_json(row.entry), params=to_json(row.params),
                nodes=to_json(row.nodes),
            )  # fmt: skip
            _hold_blobs(tx, row.params.values(), row.run)
            return token

    @operation(needs=Role.CONTRIBUTOR)
    def take_over(self, *, run: str, nodes: tuple[NodeRow, ...], dead_holder: str | None, lease_s: float) -> int:
        """Take a run over whose coordinator is gone, and give the new token: what it had in flight is lost now.

        Gone: its lease is free or has run out, or is signed by `dead_holder`. Raises Conflict while it lives."""
        with self._store.command(runs=[run]) as tx:
            lease = leases.read_lease(tx, run)
            if dead_holder is not None and lease.holder == dead_holder:
                leases.release(tx, run, lease.token)
            token = runs.take_over(tx, self._store, run, ttl_s=lease_s, from_step=None)
            tx.run(_SET_NODES, of_run=run, new_nodes=to_json(nodes))
            for row in _steps(tx, run):
                if row.state == RUNNING:
                    _lose(tx, self._store, row, "the coordinator of its run ended before it did")
            return token

    @operation(needs=Role.CONTRIBUTOR, is_repeatable=True)
    def record(
        self,
        *,
        run: str,
        token: int,
        lease_s: float,
        ended: tuple[Ending, ...] = (),
        begun: tuple[Beginning, ...] = (),
        keys: tuple[Key, ...] = (),
        results: tuple[Result, ...] = (),
    ) -> tuple[StepRow, ...]:
        """Write what has happened to steps since the last time, with the start and end of their own runs, in one transaction.

        ended: attempts that were running. begun: new attempts, also hits and skipped ones, which are over at once; gives their rows.
        Raises StaleLease; nothing has changed then. An attempt ends once: a second end is a Bug, but for the whole of this again, of
        which the answer was lost: that gives the same, and changes nothing."""
        with self._store.command(runs=[run]) as tx:
            leases.guard(tx, run, token)
            if _was_recorded(tx, ended, begun):
                return tuple(_step_at(tx, one.row) or one.row for one in begun)
            for ending in ended:
                _end(tx, ending.row)
                if ending.writer:
                    leases.join(tx, ending.row.step_run, ending.writer)
                runs.end_leased(tx, ending.row.step_run, ending.row.step_epoch, ending.run_status)
            tx.many(_ADD_KEY, [{"key": key.digest, "parts": to_json(key.parts)} for key in keys])
            rows = tuple(_begin(tx, self._store, one, lease_s) for one in begun)
            for result in results:
                _keep(tx, result)
            return rows

    @operation(needs=Role.CONTRIBUTOR, is_repeatable=True)
    def renew(self, *, run: str, token: int, lease_s: float, steps: tuple[StepRow, ...]) -> int:
        """Hold the leases of the run and of its running steps for another `lease_s`; gives their number. Raises StaleLease."""
        with self._store.command() as tx:
            leases.renew(tx, run, token, lease_s)
            for row in steps:
                leases.renew(tx, row.step_run, row.step_epoch, lease_s)
            return 1 + len(steps)

    @operation(needs=Role.CONTRIBUTOR, is_repeatable=True)
    def end(self, *, run: str, token: int, status: str) -> int:
        """End the run and give its lease back; what it still has in flight is lost. Gives the last epoch. Raises StaleLease."""
        with self._store.command(runs=[run]) as tx:
            leases.guard(tx, run, token)
            for row in _steps(tx, run):
                if row.state == RUNNING:
                    _lose(tx, self._store, row, "its run ended before it did")
            runs.end_leased(tx, run, token, status)
            return token

    @operation(needs=Role.VIEWER)
    def pipeline_run(self, *, run: str) -> PipelineRow:
        """Give the graph and parameters of a run. Raises NotFound if it is no run of a pipeline."""
        with self._read() as tx:
            row = tx.row(_RUN, run_id=run)
        if row is None:
            raise NotFound(f"run {run} is no run of a pipeline", hint="`stratal runs` lists runs and their kinds")
        return PipelineRow(
            run=str(row[0]),
            pipeline=str(row[1]),
            entry=from_json(str(row[2]), Entry),
            params=_decode(str(row[3]), dict[str, Payload]),
            nodes=_decode(str(row[4]), tuple[NodeRow, ...]),
        )

    @operation(needs=Role.VIEWER)
    def holder(self, *, run: str) -> str | None:
        """Say who holds a run's lease, if somebody does."""
        with self._read() as tx:
            return leases.read_lease(tx, run).holder

    @operation(needs=Role.VIEWER)
    def recent(self, *, pipeline: str = "", limit: int = 20) -> tuple[str, ...]:
        """Give the ids of the newest runs, newest first, of one pipeline if named."""
        with self._read() as tx:
            found = tx.rows(_RECENT_OF, of_pipeline=pipeline, at_most=limit) if pipeline else tx.rows(_RECENT, at_most=limit)
        return tuple(str(run) for (run,) in found)

    @operation(needs=Role.VIEWER)
    def steps(self, *, run: str) -> tuple[StepRow, ...]:
        """Give all attempts of a run, oldest first."""
        with self._read() as tx:
            return tuple(_steps(tx, run))

    @operation(needs=Role.VIEWER)
    def look_up(self, *, run: str, pipeline: str, asked: dict[str, str]) -> dict[str, Found]:
        """Find for each step (path to key) the results under its key, or else what it was like the last time. One snapshot."""
        with self._read() as tx:
            return {path: _find(tx, run, pipeline, path, key) for path, key in asked.items()}

    @operation(needs=Role.VIEWER)
    def parts(self, *, key: str) -> tuple[KeyPart, ...]:
        """Give the parts of a key, none if it was never recorded."""
        with self._read() as tx:
            return _key_parts(tx, key)

    def _read(self) -> AbstractContextManager[Transaction]:
        # Not `query`, which settles all journals first: the rows of this room are written by commands only.
        return self._store.glance()


def _was_recorded(tx: Transaction, ended: Sequence[Ending], begun: Sequence[Beginning]) -> bool:
    """Tell whether this very record is there already: all of it is, or nothing, so the first that it holds decides."""
    if begun:
        there = _step_at(tx, begun[0].row)
        return there is not None and (there.step_run, there.started_ns) == (begun[0].row.step_run, begun[0].row.started_ns)
    if ended:
        there = _step_at(tx, ended[0].row)
        return there is not None and (there.state, there.ended_ns) == (ended[0].row.state, ended[0].row.ended_ns)
    return False  # what is left may be written again


def _lose(tx: Transaction, store: Store, row: StepRow, message: str) -> None:
    error = StepError(kind="lost", type="Lost", message=message)
    _end(tx, msgspec.structs.replace(row, state=LOST, error=error, ended_ns=tx.now_ns))
    token = leases.take_over(tx, row.step_run, store.holder, from_step=None)
    runs.end_leased(tx, row.step_run, token, LOST)


def _begin(tx: Transaction, store: Store, beginning: Beginning, lease_s: float) -> StepRow:
    row = beginning.row
    check_transition(None, row.state)
    if row.state == RUNNING:
        start = Start(
            experiment=beginning.experiment, name=row.path, kind="step", parent=row.run, params=beginning.params,
            tags={"pipeline": row.pipeline, "attempt": str(row.attempt)}, user=tx.actor.name,
        )  # fmt: skip
        _, epoch = runs.insert_leased(tx, store, start, ttl_s=lease_s, run_id=RunId(row.step_run))
        row = msgspec.structs.replace(row, step_epoch=epoch)
    tx.run(
        _ADD_STEP, run=row.run, path=row.path, attempt=row.attempt, pipeline=row.pipeline, state=row.state, step_run=row.step_run,
        step_epoch=row.step_epoch, key=row.key, why=to_json(row.why), output=_maybe(row.output), refs=to_json(row.refs),
        error=_maybe(row.error), started_ns=row.started_ns, ended_ns=row.ended_ns,
    )  # fmt: skip
    if row.output is not None:
        _hold_blobs(tx, [row.output], row.run)
    return row


def _end(tx: Transaction, row: StepRow) -> None:
    check_transition(RUNNING, row.state)
    changed = tx.run(
        _END_STEP, of_run=row.run, of_path=row.path, of_attempt=row.attempt, new_state=row.state, new_output=_maybe(row.output),
        new_refs=to_json(row.refs), new_error=_maybe(row.error), new_started_ns=row.started_ns, new_ended_ns=row.ended_ns,
    )  # fmt: skip
    if changed != 1:
        raise Bug(f"attempt {row.attempt} at {row.path} is not running, and cannot become {row.state}")
    if row.output is not None:
        _hold_blobs(tx, [row.output], row.run)


def _keep(tx: Transaction, result: Result) -> None:
    refs = to_json(result.refs)
    tx.run(
        _ADD_RESULT, key=result.key, refs_digest=hashlib.sha256(refs.encode()).hexdigest(), refs=refs, output=to_json(result.output),
        step_run=result.step_run, at_ns=tx.now_ns,
    )  # fmt: skip
    for digest in blobs_in(result.output):
        blob_use(tx, digest, f"pipeline-result:{result.key}")


def _find(tx: Transaction, run: str, pipeline: str, path: str, key: str) -> Found:
    found = [_result(row) for row in tx.rows(_RESULTS, of_key=key)]
    # Of what others made that may not be viewed, or whose files may not be read, the step is run: to know a key is not to have the result.
    results = tuple(
        result for result in found if _is_seen(tx, result.step_run) and all(may_name(tx, digest) for digest in blobs_in(result.output))
    )
    rows = [] if results else tx.rows(_BEFORE, of_pipeline=pipeline, of_path=path, not_run=run, at_most=1 if tx.may_view is None else _MOST)
    before = next((row for row in rows if _is_seen(tx, _step(row).run)), None)
    if before is None:
        return Found(results=results)
    last = _step(before)
    return Found(results=results, before=last, parts=_key_parts(tx, last.key))


def _is_seen(tx: Transaction, run: str) -> bool:
    """Tell whether who asks may view a run."""
    if tx.may_view is None:
        return True
    found = find_run(tx, to_bytes(run)) if is_id(run) else None
    return found is not None and tx.may_view(f"experiment:{found.experiment}")


def _key_parts(tx: Transaction, key: str) -> tuple[KeyPart, ...]:
    found = tx.value(_KEY, of_key=key)
    return _decode(str(found), tuple[KeyPart, ...]) if found is not None else ()


def _hold_blobs(tx: Transaction, payloads: Iterable[Payload], run: str) -> None:
    """Let a run of a pipeline hold the blobs of values, and count them, as of any run: without size, since it logged none."""
    for digest in (digest for payload in payloads for digest in blobs_in(payload)):
        if blob_use(tx, digest, f"run:{run}") and (found := find_run(tx, to_bytes(run))) is not None:
            count_file(tx, found.experiment, digest, 0)


def _steps(tx: Transaction, run: str) -> list[StepRow]:
    return [_step(row) for row in tx.rows(_STEPS, run_id=run)]


def _step_at(tx: Transaction, row: StepRow) -> StepRow | None:
    """Give an attempt as it is there now."""
    found = tx.row(_STEP, of_run=row.run, of_path=row.path, of_attempt=row.attempt)
    return None if found is None else _step(found)


def _step(row: Row) -> StepRow:
    values = dict(zip((column.name for column in pipeline_step.columns), row, strict=True))
    values["why"] = _decode(str(values["why"]), tuple[str, ...])
    values["refs"] = _decode(str(values["refs"]), tuple[tuple[str, str], ...])
    values["output"] = None if values["output"] is None else from_json(str(values["output"]), Payload)
    values["error"] = None if values["error"] is None else from_json(str(values["error"]), StepError)
    return StepRow(**values)


def _result(row: Row) -> Result:
    key, refs, output, step_run, at_ns = row
    return Result(
        key=str(key),
        refs=_decode(str(refs), tuple[tuple[str, str], ...]),
        output=from_json(str(output), Payload),
        step_run=str(step_run),
        at_ns=int(str(at_ns)),
    )


def _decode(text: str, kind: type[T]) -> T:
    return msgspec.json.decode(text, type=kind)


def _maybe(value: object) -> str | None:
    return None if value is None else to_json(value)
