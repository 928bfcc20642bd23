"""What runs logged beside numbers: `stratal alerts`, and the media of `stratal show`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, moment, print_json, print_out, section, table
from stratal.core.ids import short
from stratal.tracking.alerts import find_alerts
from stratal.tracking.media.reading import MediaItem
from stratal.tracking.reading import ReadRun
from stratal.tracking.store.alerts import ToldAlert

_MOST_ROWS = 40  # --json gives all
_COLOURS = {"warning": "yellow", "error": "red"}
_FEW = 3  # details of an item that are shown


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(alerts)


def alerts(
    run: Annotated[str | None, typer.Argument(help="Only of this run, by its id or short form.")] = None,
    experiment: Annotated[str | None, typer.Option("--experiment", "-e", help="Only of this experiment.")] = None,
    level: Annotated[str, typer.Option("--level", help="The least level: info, warning, error.")] = "info",
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.")] = 50,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """List what runs told people to look at, the newest first."""
    use(store)
    found = find_alerts(experiment=experiment, level=level, run=run, limit=limit)
    if json:
        print_json(found)
    else:
        print_out(_alerts_table(found, with_run=True) if found else "No alerts.")


def show_media(run: ReadRun, name: str, out: Path | None, *, json: bool) -> None:
    """Show, or save, all items of a name."""
    items = run.media(name)
    if out is not None:
        _say_saved([path for item in items for path in item.save(out)], json)
    elif json:
        print_json([item.to_document() for item in items])
    else:
        print_out(*_items_page(items))


def alerts_section(run: ReadRun) -> list[RenderableType]:
    """Give the part of a run's page that lists its alerts; nothing if there are none."""
    if not run.alerts:
        return []
    return [*section("alerts", _alerts_table(run.alerts[:_MOST_ROWS], with_run=False)), *_more(len(run.alerts))]


def media_section(run: ReadRun) -> list[RenderableType]:
    """Give the part of a run's page that lists its media; nothing if there are none."""
    if not run.media_summaries:
        return []
    page = table("media", "kind", "items", "steps", numbers=["items", "steps"])
    for each in run.media_summaries[:_MOST_ROWS]:
        steps = str(each.first_step) if each.first_step == each.last_step else f"{each.first_step} to {each.last_step}"
        page.add_row(cell(each.name), cell(", ".join(each.kinds)), cell(f"{each.items:,}"), cell(steps))
    return [*section("media", page), *_more(len(run.media_summaries))]


def _alerts_table(found: Sequence[ToldAlert], *, with_run: bool) -> Table:
    page = table("time (UTC)", "level", *(["run", "experiment"] if with_run else []), "title", "text")
    for each in found:
        run = [cell(short(each.run), "bold"), cell(each.experiment)] if with_run else []
        page.add_row(cell(moment(each.at_ns)), cell(each.level, _COLOURS.get(each.level, "")), *run, cell(each.title), cell(each.text))
    return page


def _items_page(items: Sequence[MediaItem]) -> list[RenderableType]:
    page: Table = table("step", "kind", "time (UTC)", "caption", "what", "bytes", "file", numbers=["step", "bytes"])
    for item in items[:_MOST_ROWS]:
        details = ", ".join(f"{name} {value}" for name, value in list(item.details.items())[:_FEW])
        page.add_row(
            cell(item.step), cell(item.kind), cell(moment(item.record.at_ns)), cell(item.caption[:200]), cell(details),
            cell(f"{item.size_bytes:,}"), cell(item.path or "(in the run itself)", "dim"),
        )  # fmt: skip
    return [page, *_more(len(items)), Text("--out FOLDER saves them.", style="dim")]


def _say_saved(paths: Sequence[Path], json: bool) -> None:
    if json:
        print_json([str(path) for path in paths])
    else:
        print_out(*(Text(str(path)) for path in paths), Text(f"{len(paths)} file{'' if len(paths) == 1 else 's'} saved.", style="dim"))


def _more(count: int) -> list[RenderableType]:
    return [Text(f"... and {count - _MOST_ROWS} more; --json gives all", style="dim")] if count > _MOST_ROWS else []
