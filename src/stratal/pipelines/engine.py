"""The engine: one coordinator per run. It decides, workers work, and every change is one command under the coordinator's lease.

A tick: take in what workers report; look ready steps up in the cache; commit ends, results and beginnings in one transaction; only
then hand the new attempts to workers. So each end is recorded exactly once, and an attempt that was running when the coordinator died
is run again: exactly-once recording, at-least-once execution.
"""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field

import msgspec

from stratal.compute import WorkerDied, Workers
from stratal.compute.travelling import pack
from stratal.core.errors import StaleLease
from stratal.core.ids import new_id, short
from stratal.pipelines.cache import Key, differences, key_of
from stratal.pipelines.code import StepCode, code_of
from stratal.pipelines.given import Given
from stratal.pipelines.graph import Graph, Node
from stratal.pipelines.lookup import check_result
from stratal.pipelines.payloads import Payload, blobs_in
from stratal.pipelines.policy import Failure, retry_delay_s
from stratal.pipelines.progress import StepEvent
from stratal.pipelines.rows import Beginning, Ending, Found, Result, StepError, StepRow
from stratal.pipelines.schedule import Schedule
from stratal.pipelines.sources import SourceReader
from stratal.pipelines.states import DONE, FAILED, FINISHED, HIT, LOST, RUNNING, SKIPPED
from stratal.pipelines.store import PipelineStore
from stratal.pipelines.working import Attempt, Report, error_of, perform
from stratal.store.patience import patient
from stratal.store.store import Store

# A worker ends its own process at a step's timeout. If it cannot (it holds the interpreter's lock), it is killed from here that much later:
# longer than a cold worker needs to start.
BACKSTOP_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a coordinator was asked to do, and under which token."""

    run: str
    token: int
    experiment: str
    graph: Graph
    workers: int
    lease_s: float
    may_hit: bool
    earlier: tuple[StepRow, ...] = ()


@dataclass(kw_only=True)
class _Flight:
    row: StepRow
    began_s: float


@dataclass(kw_only=True)
class _Pending:
    """What the next commit will write."""

    ended: list[Ending] = field(default_factory=list)
    begun: list[Beginning] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    events: list[StepEvent] = field(default_factory=list)


class Coordinator:
    """Drives one run from where it stands to its end."""

    def __init__(self, store: Store, assignment: Assignment, workers: Workers, on_event: Callable[[StepEvent], None]) -> None:
        self.failed: dict[str, StepRow] = {}
        self._store = store
        self._rows = PipelineStore(store)
        self._assignment = assignment
        self._graph = assignment.graph
        self._workers = workers
        self._on_event = on_event
        self._schedule = Schedule(assignment.graph)
        self._given = Given(store.blobs)
        self._reader = SourceReader()
        self._packed: dict[int, bytes] = {}
        self._codes: dict[int, StepCode] = {}
        self._keys: dict[str, Key] = {}
        self._inputs: dict[str, dict[str, Payload]] = {}
        self._whys: dict[str, tuple[str, ...]] = {}
        self._attempts: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._earlier: dict[str, StepRow] = {}
        for row in assignment.earlier:
            self._attempts[row.path] = max(row.attempt, self._attempts.get(row.path, 0))
            if row.state in DONE:
                self._earlier[row.path] = row
        self._flights: dict[Future[bytes], _Flight] = {}
        self._pending = _Pending()
        self._renewed_s = self._now_s()

    def drive(self) -> None:
        """Run until nothing runs and nothing can begin. Raises StaleLease if the run was taken over: nothing more is written then."""
        try:
            with patient(self._store.settings.patience_s):
                while True:
                    self._collect()
                    self._look_up()
                    self._prepare()
                    self._commit()
                    if self._schedule.is_over:
                        return
                    self._wait()
        except StaleLease:
            raise
        except BaseException:
            self._abandon()
            raise

    def result(self) -> Payload:
        """Give what the pipeline's function returned, once all of it is there."""
        return self._given.payload("return", self._graph.result, "what the pipeline returns")

    # -- what workers report

    def _collect(self) -> None:
        for future in [future for future in self._flights if future.done()]:
            flight = self._flights.pop(future)
            try:
                report = msgspec.msgpack.decode(future.result(), type=Report)
            except (Exception, CancelledError) as error:  # noqa: BLE001  whatever came instead of a report ends the attempt
                self._end_without_report(flight, error)
                continue
            row = msgspec.structs.replace(flight.row, started_ns=report.started_ns, ended_ns=report.ended_ns, refs=report.refs)
            if report.output is not None:
                self._finish(msgspec.structs.replace(row, state=FINISHED, output=report.output), report.writer)
            else:
                assert report.error is not None  # a report has one of the two
                self._fail(msgspec.structs.replace(row, state=FAILED, error=report.error), report.writer)

    def _end_without_report(self, flight: _Flight, error: BaseException) -> None:
        limit_s = self._graph.nodes[flight.row.path].options.timeout_s
        state = FAILED
        if not isinstance(error, WorkerDied):
            told = error_of(error)
        elif limit_s is not None and self._now_s() - flight.began_s >= limit_s:
            told = StepError(kind="timeout", type="Timeout", message=f"it ran longer than its timeout of {limit_s:g} s, and was ended")
        else:
            told, state = StepError(kind="lost", type="WorkerDied", message=error.message), LOST
        self._fail(msgspec.structs.replace(flight.row, state=state, error=told, ended_ns=self._store.clock.now_ns()), "")

    def _finish(self, row: StepRow, writer: str) -> None:
        assert row.output is not None  # the caller has it from the report
        self._pending.ended.append(Ending(row=row, run_status="finished", writer=writer))
        if self._graph.nodes[row.path].is_cached:
            self._pending.results.append(
                Result(key=row.key, refs=row.refs, output=row.output, step_run=row.step_run, at_ns=row.ended_ns or row.started_ns)
            )
        self._done(row)

    def _fail(self, row: StepRow, writer: str) -> None:
        assert row.error is not None  # the caller made it
        self._pending.ended.append(Ending(row=row, run_status=LOST if row.state == LOST else "failed", writer=writer))
        failed = self._failures[row.path] = self._failures.get(row.path, 0) + 1
        error = row.error
        failure = Failure(kind=error.kind, is_permanent=error.is_permanent, is_temporary=error.is_temporary, delay_s=error.delay_s)
        delay_s = retry_delay_s(failure, failed=failed, options=self._graph.nodes[row.path].options)
        if delay_s is not None:
            self._schedule.again(row.path, self._now_s() + delay_s)
            self._whys[row.path] = (f"attempt {row.attempt} ended with {error.type}: {_first_line(error.message)}",)
            self._tell(row, retry_s=delay_s)
            return
        self.failed[row.path] = row
        self._tell(row)
        for path in self._schedule.fail(row.path):
            self._skip(path, row.path)

    def _skip(self, path: str, because: str) -> None:
        row = self._row(path, SKIPPED, key="", step_run="", why=(f"{because} failed",))
        row = msgspec.structs.replace(row, ended_ns=row.started_ns)
        self._pending.begun.append(Beginning(row=row))
        self._tell(row)

    # -- the cache

    def _look_up(self) -> None:
        """Find what is there already, as deep into the graph as it reaches."""
        while fresh := [path for path in self._schedule.ready(self._now_s()) if path not in self._keys]:
            for path in fresh:
                self._make_key(self._graph.nodes[path])
            missing = [path for path in fresh if not self._take_earlier(path)]
            asked = {path: self._keys[path].digest for path in missing if self._may_hit(path)}
            found = self._rows.look_up(run=self._assignment.run, pipeline=self._graph.name, asked=asked) if asked else {}
            for path in missing:
                if not self._take_hit(path, found.get(path, Found())):
                    self._pending.keys.append(self._keys[path])

    def _make_key(self, node: Node) -> None:
        wrapped = getattr(node.function, "__wrapped__", node.function)
        if id(wrapped) not in self._codes:
            self._codes[id(wrapped)] = code_of(node.function, self._reader)
            # Here and not when it is sent: what cannot travel is refused before a row says that it runs.
            self._packed[id(wrapped)] = pack(node.function, what=f"the function of step {node.path!r}")
        self._inputs[node.path] = {
            name: self._given.payload(f"{node.path}:{name}", value, f"argument {name!r} of step {node.path!r}")
            for name, value in node.arguments.items()
        }
        sources = {name: self._given.source(value) for name, value in node.arguments.items()}
        self._keys[node.path] = key_of(self._codes[id(wrapped)], self._inputs[node.path], sources)

    def _may_hit(self, path: str) -> bool:
        return self._assignment.may_hit and self._graph.nodes[path].is_cached

    def _take_earlier(self, path: str) -> bool:
        """Keep what this run finished before it was resumed, if it would be asked for the same again."""
        row = self._earlier.get(path)
        if row is None or row.output is None or row.key != self._keys[path].digest:
            return False
        if missing := next((blob for blob in blobs_in(row.output) if not self._store.blobs.has(blob)), None):
            self._whys[path] = (f"its output was lost: blob {missing[:12]} is gone",)
            return False
        self._done(row)
        return True

    def _take_hit(self, path: str, found: Found) -> bool:
        refused = []
        for result in found.results:
            reason = check_result(result, self._store)
            if reason is None:
                row = self._row(
                    path, HIT, key=result.key, step_run=result.step_run, why=(f"its result is that of run {short(result.step_run)}",)
                )
                row = msgspec.structs.replace(row, output=result.output, refs=result.refs, ended_ns=row.started_ns)
                self._pending.begun.append(Beginning(row=row))
                self._done(row)
                return True
            refused.append(reason)
        self._whys.setdefault(path, tuple(refused) or self._explain(path, found))
        return False

    def _explain(self, path: str, found: Found) -> tuple[str, ...]:
        """Say why the cache had nothing."""
        if not self._graph.nodes[path].is_cached:
            return ("its results are not cached",)
        if not self._assignment.may_hit:
            return ("the pipeline was run with cache=False",)
        if (before := found.before) is None:
            return ("it was never run before",)
        return tuple(differences(self._keys[path].parts, found.parts)) or (
            f"the last time it {before.state if before.state != RUNNING else 'did not end'} (run {short(before.run)})",
        )

    # -- beginning

    def _prepare(self) -> None:
        free = self._assignment.workers - len(self._flights)
        for path in self._schedule.ready(self._now_s())[: max(0, free)]:
            row = self._row(path, RUNNING, key=self._keys[path].digest, step_run=new_id(self._store.clock), why=self._whys.get(path, ()))
            params = self._given.params(self._inputs[path])
            self._pending.begun.append(Beginning(row=row, experiment=self._assignment.experiment, params=params))
            self._schedule.begin(path)
            self._tell(row)

    def _commit(self) -> None:
        """Write what is pending, then tell about it, then hand new attempts to workers."""
        pending, self._pending = self._pending, _Pending()
        begun: tuple[StepRow, ...] = ()
        if pending.ended or pending.begun or pending.keys or pending.results:
            begun = self._rows.record(
                run=self._assignment.run,
                token=self._assignment.token,
                lease_s=self._assignment.lease_s,
                ended=tuple(pending.ended),
                begun=tuple(pending.begun),
                keys=tuple(pending.keys),
                results=tuple(pending.results),
            )
        for row in begun:
            if row.state == RUNNING:
                self._submit(row)
        for event in pending.events:
            self._on_event(event)

    def _submit(self, row: StepRow) -> None:
        node = self._graph.nodes[row.path]
        attempt = Attempt(
            store=self._store.url,
            run=row.run,
            experiment=self._assignment.experiment,
            path=row.path,
            step_run=row.step_run,
            step_epoch=row.step_epoch,
            inputs=self._inputs[row.path],
            timeout_s=node.options.timeout_s,
        )
        # The function is an argument of its own: large ones are sent once per worker.
        future = self._workers.submit(
            perform, msgspec.msgpack.encode(attempt), self._packed[id(getattr(node.function, "__wrapped__", node.function))]
        )
        self._flights[future] = _Flight(row=row, began_s=self._now_s())

    # -- waiting

    def _wait(self) -> None:
        now_s = self._now_s()
        if now_s - self._renewed_s >= self._assignment.lease_s / 3:
            running = tuple(flight.row for flight in self._flights.values())
            self._rows.renew(run=self._assignment.run, token=self._assignment.token, lease_s=self._assignment.lease_s, steps=running)
            self._renewed_s = now_s
        for future, flight in self._flights.items():
            if now_s >= self._killed_at_s(flight):
                self._workers.interrupt(future)
        until_s = min(
            self._schedule.next_s() if len(self._flights) < self._assignment.workers else math.inf,
            self._renewed_s + self._assignment.lease_s / 3,
            *(self._killed_at_s(flight) for flight in self._flights.values()),
        )
        pause_s = max(0.0, until_s - now_s)
        if self._flights:
            wait(self._flights, pause_s, FIRST_COMPLETED)
        else:
            time.sleep(pause_s)

    def _killed_at_s(self, flight: _Flight) -> float:
        limit_s = self._graph.nodes[flight.row.path].options.timeout_s
        return math.inf if limit_s is None else flight.began_s + limit_s + BACKSTOP_S

    def _abandon(self) -> None:
        """End the run as stopped: what is in flight is lost, what is finished stays. If the store is away, a resume does it later."""
        now_ns = self._store.clock.now_ns()
        told = StepError(kind="lost", type="Stopped", message="its run was stopped")
        for future, flight in self._flights.items():
            self._workers.interrupt(future)
            row = msgspec.structs.replace(flight.row, state=LOST, error=told, ended_ns=now_ns)
            self._pending.ended.append(Ending(row=row, run_status="stopped"))
        pending = self._pending
        self._rows.record(
            run=self._assignment.run,
            token=self._assignment.token,
            lease_s=self._assignment.lease_s,
            ended=tuple(pending.ended),
            results=tuple(pending.results),
        )

    # -- small things

    def _done(self, row: StepRow) -> None:
        assert row.output is not None  # the callers have looked
        self._given.outputs[row.path] = row.output
        self._schedule.done(row.path)
        self._tell(row)

    def _row(self, path: str, state: str, *, key: str, step_run: str, why: tuple[str, ...]) -> StepRow:
        attempt = self._attempts[path] = self._attempts.get(path, 0) + 1
        return StepRow(
            run=self._assignment.run,
            path=path,
            attempt=attempt,
            pipeline=self._graph.name,
            state=state,
            step_run=step_run,
            key=key,
            started_ns=self._store.clock.now_ns(),
            why=why,
        )

    def _tell(self, row: StepRow, *, retry_s: float | None = None) -> None:
        event = StepEvent(
            run=row.run,
            pipeline=row.pipeline,
            path=row.path,
            attempt=row.attempt,
            state=row.state,
            at_ns=row.ended_ns or row.started_ns,
            done=len(self._given.outputs),
            total=len(self._graph.nodes),
            duration_s=row.duration_s,
            why=row.why,
            error=f"{row.error.type}: {row.error.message}" if row.error else "",
            retry_s=retry_s,
        )
        self._pending.events.append(event)

    def _now_s(self) -> float:
        return self._store.clock.monotonic_s()


def failures_in_order(graph: Graph, failed: Mapping[str, StepRow]) -> list[StepRow]:
    """Give the failed steps in the order of their calls."""
    return [failed[path] for path in graph.nodes if path in failed]


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
