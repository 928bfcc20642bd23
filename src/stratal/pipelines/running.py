"""A run of a pipeline from its start or resumption to what it gives."""

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar, cast

from stratal.compute.local import LocalWorkers
from stratal.compute.port import Workers
from stratal.core.errors import Bug, Misuse, StaleLease, StratalError
from stratal.core.ids import RunId, new_id, short
from stratal.pipelines.engine import Assignment, Coordinator, failures_in_order
from stratal.pipelines.given import Given
from stratal.pipelines.graph import Graph
from stratal.pipelines.payloads import Payload, decode, encode
from stratal.pipelines.policy import PipelineOptions
from stratal.pipelines.progress import LinePrinter, StepEvent
from stratal.pipelines.rows import Entry, NodeRow, PipelineRow, StepRow
from stratal.pipelines.sources import display_module
from stratal.pipelines.store import PipelineStore
from stratal.store.patience import patient
from stratal.store.store import Store
from stratal.tracking.capturing import capture_leased
from stratal.tracking.opening import current_store, open_store
from stratal.tracking.runs import Run, find_id

R = TypeVar("R")


class StepFailed(StratalError):
    """A step failed for good, and what depends on it did not run. `run`, `step`, `attempt` and `type` say where and what."""

    def __init__(self, message: str, *, hint: str = "", run: str = "", step: str = "", attempt: int = 0, type: str = "") -> None:
        super().__init__(message, hint=hint)
        self.run, self.step, self.attempt, self.type = run, step, attempt, type


class PipelineRun(Generic[R]):
    """A finished run of a pipeline. `value` is what the pipeline's function returned, with outputs in the places of handles."""

    def __init__(self, store: Store, run: str, steps: tuple[StepRow, ...], result: Payload) -> None:
        self.id = run
        self.store = store
        self.steps = steps
        self._result = result

    @property
    def value(self) -> R:
        """Decode the value; each time afresh."""
        return cast("R", decode(self._result, self.store.blobs))

    def output(self, path: str) -> object:
        """Give the output of a step, by its path in the graph. Raises Misuse if there is no such step."""
        for row in self.steps:
            if row.path == path and row.output is not None:
                return decode(row.output, self.store.blobs)
        raise Misuse(
            f"run {short(self.id)} has no step {path!r}", hint=f"it has: {', '.join(dict.fromkeys(row.path for row in self.steps))}"
        )

    def states(self) -> dict[str, str]:
        """Give the last state of each step: finished or hit."""
        return {row.path: row.state for row in self.steps}

    def __repr__(self) -> str:
        return f"<pipeline run {short(self.id)}: {len(self.states())} steps>"


def start_run(function: Callable[..., object], graph: Graph, params: Mapping[str, object], options: PipelineOptions) -> PipelineRun[object]:
    """Run a graph. Raises StepFailed if a step failed; then what is independent of it has run nevertheless."""
    store = _store(options)
    payloads = {name: encode(value, store.blobs, what=f"parameter {name!r} of pipeline {graph.name!r}") for name, value in params.items()}
    row = PipelineRow(run=new_id(store.clock), pipeline=graph.name, entry=entry_of(function), params=payloads, nodes=_nodes(graph))
    experiment = options.experiment or graph.name
    _show_life(store, row.run, experiment, graph.name)
    token = PipelineStore(store).begin(row=row, experiment=experiment, params=Given(store.blobs).params(payloads), lease_s=options.lease_s)
    capture_leased(Run(store, RunId(row.run), experiment, epoch=token, kind="pipeline"))
    return _drive(store, row.run, token, experiment, graph, options, earlier=())


def resume_run(run: str, build: Callable[[dict[str, object]], Graph], name: str, options: PipelineOptions) -> PipelineRun[object]:
    """Go on with a run whose coordinator is gone or has stopped: what is finished and unchanged is kept.

    build: makes the graph from the run's parameters. Raises Conflict while another coordinator lives, Misuse if it is no run of `name`."""
    store = _store(options)
    rows = PipelineStore(store)
    id = find_id(store, run)
    row = rows.pipeline_run(run=id)
    if row.pipeline != name:
        raise Misuse(f"run {short(id)} is of pipeline {row.pipeline!r}, not {name!r}", hint=f"write {row.pipeline}.resume({short(id)!r})")
    graph = build({key: decode(payload, store.blobs) for key, payload in row.params.items()})
    _show_life(store, id, options.experiment or name, name)
    token = take_over(store, id, _nodes(graph), lease_s=options.lease_s)
    return _drive(store, id, token, options.experiment or graph.name, graph, options, earlier=rows.steps(run=id))


def take_over(store: Store, run: str, nodes: tuple[NodeRow, ...], *, lease_s: float) -> int:
    """Take a run over, and give the new token. Raises Conflict while its coordinator lives, or may live elsewhere."""
    rows = PipelineStore(store)
    holder = rows.holder(run=run)
    is_dead = holder is not None and store.is_dead(holder)
    return rows.take_over(run=run, nodes=nodes, dead_holder=holder if is_dead else None, lease_s=lease_s)


def entry_of(function: Callable[..., object]) -> Entry:
    """Say where a pipeline's function is found again."""
    try:
        file = inspect.getsourcefile(function) or ""
    except TypeError:
        file = ""
    return Entry(module=display_module(function.__module__), qualname=function.__qualname__, file=file)


def _drive(
    store: Store, run: str, token: int, experiment: str, graph: Graph, options: PipelineOptions, *, earlier: tuple[StepRow, ...]
) -> PipelineRun[object]:
    rows = PipelineStore(store)
    workers = min(options.workers, len(graph.nodes))
    assignment = Assignment(
        run=run,
        token=token,
        experiment=experiment,
        graph=graph,
        workers=workers,
        lease_s=options.lease_s,
        may_hit=options.cache,
        earlier=earlier,
    )
    try:
        with _workers(options, workers, store) as pool:
            coordinator = Coordinator(store, assignment, pool, options.on_event or _default_listener())
            coordinator.drive()
        result = None if coordinator.failed else coordinator.result()
    except StaleLease:
        raise
    except BaseException as error:
        rows.end(run=run, token=token, status="stopped" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    with patient(store.settings.patience_s):
        rows.end(run=run, token=token, status="failed" if result is None else "finished")
        if result is None:
            raise _failure(run, failures_in_order(graph, coordinator.failed))
        return PipelineRun(store, run, _last_rows(graph, rows.steps(run=run)), result)


def _show_life(store: Store, run: str, experiment: str, pipeline: str) -> None:
    """Log something, so that this process holds a segment of a journal for as long as it lives: that is how others see that it does."""
    Run(store, RunId(run), experiment, kind="pipeline").set_tags({"pipeline": pipeline})


def _failure(run: str, failed: list[StepRow]) -> StepFailed:
    row = failed[0]
    if row.error is None:
        raise Bug(f"step {row.path} failed without an error")
    message = f"step {row.path!r} failed in attempt {row.attempt}: {row.error.type}: {row.error.message}"
    if row.error.trace:
        message += f"\n{row.error.trace}"
    if len(failed) > 1:
        message += f"\nalso failed: {', '.join(other.path for other in failed[1:])}"
    hint = f"mend it and run again: finished steps come from the cache. `stratal pipeline show {short(run)}` shows the whole run"
    return StepFailed(message, hint=hint, run=run, step=row.path, attempt=row.attempt, type=row.error.type)


def _last_rows(graph: Graph, steps: tuple[StepRow, ...]) -> tuple[StepRow, ...]:
    last = {row.path: row for row in sorted(steps, key=lambda row: row.attempt)}
    return tuple(last[path] for path in graph.nodes if path in last)


def _nodes(graph: Graph) -> tuple[NodeRow, ...]:
    return tuple(NodeRow(path=node.path, depends_on=node.depends_on(), is_cached=node.is_cached) for node in graph.nodes.values())


def _workers(options: PipelineOptions, count: int, store: Store) -> Workers:
    return LocalWorkers(count, store=store.url) if options.compute is None else options.compute(count, store.url)


def _store(options: PipelineOptions) -> Store:
    return current_store() if options.store is None else open_store(options.store)


def _default_listener() -> Callable[[StepEvent], None]:
    return LinePrinter() if sys.stderr.isatty() else lambda event: None
