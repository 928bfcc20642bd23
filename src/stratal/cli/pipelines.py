"""`stratal pipeline show | why | resume`: how a run of a pipeline stands, why a step ran, and going on with it."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import STATUS_COLOURS, cell, moment, print_json, print_out, span, table
from stratal.core.ids import short
from stratal.pipelines.progress import LinePrinter, StepEvent
from stratal.pipelines.reading import explain_step, find_pipeline_run, ranks, read_pipeline
from stratal.pipelines.reopening import find_pipeline
from stratal.pipelines.rows import Explanation, PipelineRow, StepRow
from stratal.pipelines.store import PipelineStore
from stratal.tracking.opening import current_store

COLOURS = {**STATUS_COLOURS, "hit": "blue", "skipped": "dim", "waiting": "dim"}
RunName = Annotated[
    str, typer.Argument(help="The run: its id, short form or ref, as run:7c41e09b or pipeline:churn@latest.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(no_args_is_help=True, help="Show, explain and resume runs of pipelines.")
    group.command("show")(show)
    group.command("why")(why)
    group.command("resume")(resume)
    app.add_typer(group, name="pipeline")


def show(run: RunName, as_json: Json = False, url: StoreUrl = None) -> None:
    """Show a run's steps as a tree: state, duration, and what came from the cache."""
    use(url)
    row, last = read_pipeline(run, current_store())
    if as_json:
        print_json({"run": row.run, "pipeline": row.pipeline, "steps": _steps_document(row, last)})
        return
    print_out(_tree(row, last))


def why(
    run: RunName,
    step: Annotated[str, typer.Argument(help="The step's path, as `stratal pipeline show` prints it.", show_default=False)],
    parts: Annotated[bool, typer.Option("--parts", help="List all that its result depends on.")] = False,
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Explain why a step was run, or why its result came from the cache."""
    use(url)
    found = explain_step(run, step, current_store())
    if as_json:
        print_json(found)
        return
    print_out(
        f"[bold]{escape(found.path)}[/] [{COLOURS.get(found.state, 'default')}]{found.state}[/]",
        *(f"  {escape(line)}" for line in found.why),
    )
    if len(found.attempts) > 1 or any(one.error for one in found.attempts):
        print_out(_attempts(found))
    if parts:
        print_out(_parts(found))


def resume(
    run: RunName, workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None, as_json: Json = False, url: StoreUrl = None
) -> None:
    """Go on with a run that was killed, stopped or failed: what it finished and is unchanged is not run again."""
    use(url)
    store = current_store()
    row = PipelineStore(store).pipeline_run(run=find_pipeline_run(run, store))
    found = find_pipeline(row.entry)
    if sys.stderr.isatty():
        with LiveTable(row) as live:
            done = found.with_options(workers=workers, on_event=live).resume(row.run)
    else:
        done = found.with_options(workers=workers, on_event=LinePrinter()).resume(row.run)
    if as_json:
        print_json({"run": done.id, "steps": done.states()})


class LiveTable:
    """A table of steps on standard error that follows events; pass it as `on_event`."""

    def __init__(self, row: PipelineRow, console: Console | None = None) -> None:
        self._row = row
        self._events: dict[str, StepEvent] = {}
        self._live = Live(self._drawn(), console=console or Console(stderr=True), refresh_per_second=8)

    def __enter__(self) -> "LiveTable":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.update(self._drawn())
        self._live.stop()

    def __call__(self, event: StepEvent) -> None:
        self._events[event.path] = event
        self._live.update(self._drawn())

    def _drawn(self) -> Table:
        drawn = table("step", "state", "time", "", title=self._row.pipeline)
        for node in self._row.nodes:
            event = self._events.get(node.path)
            state = event.state if event else "waiting"
            says = event.error or (event.why[0] if event.why else "") if event else ""
            drawn.add_row(
                cell(node.path), cell(state, COLOURS.get(state, "")), span(event.duration_s if event else None), cell(says[:80], "dim")
            )
        return drawn


def _tree(row: PipelineRow, last: dict[str, StepRow]) -> Table:
    drawn = table("step", "state", "time", "attempt", "run", "why", title=f"{row.pipeline} {short(row.run)}", numbers=["time", "attempt"])
    depth = ranks(row)
    for node in row.nodes:
        step = last.get(node.path)
        state = step.state if step else "waiting"
        name = f"{'  ' * depth[node.path]}{node.path}"
        says = _says(step)
        attempt = str(step.attempt) if step and step.attempt > 1 else ""
        time = "" if step is None or step.state in ("hit", "skipped") else span(step.duration_s)
        its_run = short(step.step_run) if step and step.step_run else ""
        drawn.add_row(cell(name), cell(state, COLOURS.get(state, "")), time, attempt, its_run, cell(says, "dim"))
    return drawn


def _says(step: StepRow | None) -> str:
    if step is None:
        return ""
    if step.error is not None and step.state != "finished":
        return f"{step.error.type}: {step.error.message.splitlines()[0] if step.error.message else ''}"
    more = f" (and {len(step.why) - 1} more)" if len(step.why) > 1 else ""
    return f"{step.why[0]}{more}" if step.why else ""


def _attempts(found: Explanation) -> Table:
    drawn = table("attempt", "state", "began", "time", "error")
    for one in found.attempts:
        error = f"{one.error.type}: {one.error.message}\n{one.error.trace}".rstrip() if one.error else ""
        drawn.add_row(
            str(one.attempt), cell(one.state, COLOURS.get(one.state, "")), moment(one.started_ns), span(one.duration_s), cell(error)
        )
    return drawn


def _parts(found: Explanation) -> Table:
    drawn = table("kind", "name", "digest", "value")
    for part in found.parts:
        source = f" (from {part.source})" if part.source else ""
        drawn.add_row(part.kind, cell(part.name + source), cell(part.digest[:12]), cell(part.shown))
    return drawn


def _steps_document(row: PipelineRow, last: dict[str, StepRow]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for node in row.nodes:
        step = last.get(node.path)
        found.append(
            {
                "path": node.path,
                "after": node.depends_on,
                "state": step.state if step else "waiting",
                "attempt": step.attempt if step else 0,
                "run": step.step_run if step else "",
                "duration_s": step.duration_s if step else None,
                "why": step.why if step else (),
                "error": step.error if step else None,
            }
        )
    return found
