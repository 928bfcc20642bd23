"""Commands that draw: plot a metric over runs, watch runs while they go on."""

import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, page_width, plain, print_json, print_out, shown, sparkline, status_cell, table
from stratal.core.errors import Misuse, NotFound
from stratal.tracking.drawing.axes import tick
from stratal.tracking.drawing.characters import dotted
from stratal.tracking.finding import find_runs
from stratal.tracking.plotting import Plot, duration_tick, plot
from stratal.tracking.reading import ReadRun, get_run

_COLOURS = ("cyan", "yellow", "magenta", "green", "red", "blue", "bright_cyan", "bright_yellow", "bright_magenta", "bright_green")
_MOST = 20  # runs that are watched or drawn at once, unless they are named
Runs = Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs, by id, short form or ref.")]
Query = Annotated[str, typer.Option("--query", "-q", help="Runs that pass this filter, started last first, instead of naming them.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("plot")(_plot)
    app.command("watch")(_watch)


def _plot(
    metric: Annotated[str, typer.Option("--metric", "-m", help="The metric: loss, val/auc")],
    runs: Runs = None,
    query: Query = "",
    x: Annotated[str, typer.Option(help="The other axis: step, time, or another metric.")] = "step",
    smooth: Annotated[float, typer.Option(help="Weight of an exponential mean: 0 to below 1.")] = 0.0,
    out: Annotated[Path | None, typer.Option("--out", help="A file: .svg, .html, or .png (which needs matplotlib).")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Plot a metric over runs: in the terminal, or into a file."""
    use(store)
    picked = _named(runs, query) if runs or query else list(find_runs(limit=_MOST))
    if not picked:
        raise NotFound("no run passes the filter" if query else "there is no run to plot", hint="see what is there with `stratal runs`")
    drawn = plot(picked, metric, x=x, smooth=smooth)
    if out is not None:
        drawn.save(out)
    if json:
        print_json({"metric": metric, "x": x, "file": str(out) if out else None, "curves": [_curve(curve) for curve in drawn.curves]})
    elif out is not None:
        print_out(f"Drawn: {out}")
    else:
        print_out(*_page(drawn, page_width()))


def _watch(
    runs: Runs = None,
    query: Query = "",
    metric: Annotated[list[str] | None, typer.Option("--metric", "-m", help="A metric to show; may be given again.")] = None,
    every: Annotated[float, typer.Option(help="Seconds between looks.")] = 1.0,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Watch runs go on, until all have ended or Ctrl-C. Without a terminal, or with --json: a line for each change."""
    use(store)
    if every <= 0:
        raise Misuse(f"--every {every:g} is not possible", hint="give seconds above 0")
    looks = _looks(runs, query, every)
    if json or not sys.stdout.isatty():
        found = _watch_in_lines(looks, metric or [], json)
    else:
        found = []
        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            for found in looks:
                live.update(_watched(found, metric or []), refresh=True)
    logged = sorted({name for each in found for name in each.metrics})
    for name in metric or []:
        if name not in logged:
            print(f"none of these runs has the metric {name!r}; they have: {', '.join(logged[:12]) or 'none'}", file=sys.stderr)


def _looks(runs: Sequence[str] | None, query: str, every_s: float) -> Iterator[list[ReadRun]]:
    """Give the runs as they are now, again and again, until all that were seen have ended. A filter may bring new ones."""
    seen: list[str] = [run.id for run in _named(runs, "")] if runs else []
    pause = threading.Event()
    while True:
        if not runs:
            newcomers = [run.id for run in find_runs(query or "status = 'running'", limit=_MOST)]
            seen += [id for id in reversed(newcomers) if id not in seen]
        if not seen:
            hint = "start one, name runs, or give a filter: stratal watch -q \"started > '-1h'\""
            raise NotFound("no run passes the filter" if query else "no run is running", hint=hint)
        named = f"id in ({', '.join(repr(id) for id in seen)}) and (deleted is null or deleted is not null)"
        found = {run.id: run for run in find_runs(named)}
        looked = [found[id] for id in seen if id in found]  # type: ignore[index]  # ids are texts
        yield looked
        if all(run.status != "running" for run in looked):
            return
        pause.wait(every_s)


def _watch_in_lines(looks: Iterator[list[ReadRun]], metrics: Sequence[str], json: bool) -> list[ReadRun]:
    """Print changes as they come; gives the runs as they were seen last."""
    found: list[ReadRun] = []
    said: dict[str, object] = {}
    for found in looks:
        for run in found:
            names = metrics or _common(found)
            state = {name: run.metrics[name] for name in names if name in run.metrics}
            if said.get(run.id) == (run.status, repr(state)):
                continue
            said[run.id] = (run.status, repr(state))
            if json:
                document = {"id": run.id, "name": run.name, "status": run.status, "metrics": plain(state)}
                print(msgspec.json.encode(document).decode(), flush=True)
            else:
                values = "  ".join(f"{name} {shown(value)}" for name, value in state.items())
                print(f"{run.short}  {run.name or run.experiment}  {run.status}  {values}".rstrip(), flush=True)
    return found


def _watched(found: Sequence[ReadRun], metrics: Sequence[str]) -> RenderableType:
    names = metrics or _common(found)
    heads = [head for name in names for head in (name, "")]
    page = table("run", "name", "status", "step", *heads, numbers=["step", *names])
    for run in found:
        steps = [summary.step for summary in run.summaries if summary.name in names]
        cells: list[Text] = []
        for name in names:
            line = sparkline(run.envelope(name, 40).last.tolist(), 30) if name in run.metrics else ""
            cells += [cell(run.metrics.get(name), "bold"), cell(line, "cyan")]
        step = max(steps, default=None)
        page.add_row(cell(run.short, "bold"), cell(run.name or run.experiment), status_cell(run.status), cell(step), *cells)
    return page


def _common(found: Sequence[ReadRun]) -> list[str]:
    """Name the two metrics that most runs have."""
    counts: dict[str, int] = {}
    for run in found:
        for name in run.metrics:
            if not name.startswith("system/"):
                counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: (-counts[name], name))[:2]


def _named(runs: Sequence[str] | None, query: str) -> list[ReadRun]:
    if runs and query:
        raise Misuse("runs are named and a filter is given", hint="do one of the two")
    if runs:
        return [get_run(run) for run in dict.fromkeys(runs)]
    return list(find_runs(query, limit=_MOST))


def _page(drawn: Plot, width: int) -> list[RenderableType]:
    lines = []
    for pieces in dotted(drawn.curves, min(width, 120), 16):
        lines.append(Text.assemble(*((text, "dim" if owner < 0 else _COLOURS[owner % len(_COLOURS)]) for text, owner in pieces)))
    reach = [float(value) for curve in drawn.curves for value in (curve.x[:1].tolist() + curve.x[-1:].tolist())]
    parts: list[RenderableType] = [Text(drawn.metric, style="bold"), *lines]
    words = duration_tick if drawn.x == "time" else tick
    parts.append(Text(f"{drawn.x}: {words(min(reach))} to {words(max(reach))}", style="dim"))
    for number, curve in enumerate(drawn.curves):
        odd = f"  {len(curve.nans):,} not finite" if len(curve.nans) else ""
        parts.append(Text.assemble(("⣿ ", _COLOURS[number % len(_COLOURS)]), curve.label, (odd, "yellow")))
    return parts


def _curve(curve: object) -> dict[str, object]:
    return {name: getattr(curve, name) for name in ("label", "x", "low", "high", "last")}
