"""`stratal export`: runs out of the store, into files that other programs read."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from stratal.cli.options import Experiments, Json, Query, StoreUrl, use
from stratal.cli.printing import print_json, print_out, table
from stratal.interop.exporting.exports import FORMATS, Export, export_runs


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(export)


def export(
    path: Annotated[str, typer.Argument(help="The folder to make.")],
    format: Annotated[str, typer.Option("--format", "-f", help=f"One of: {', '.join(FORMATS)}.")] = "parquet",
    query: Query = "",
    experiment: Experiments = None,
    artifacts: Annotated[bool, typer.Option("--artifacts", help="Copy the files of artifacts too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an older export at that place.")] = False,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Export runs into a folder, as tables or as a store of MLflow."""
    use(store)
    columns = (TextColumn("exporting"), BarColumn(), MofNCompleteColumn(), TextColumn("runs"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None)
        done = export_runs(
            path, query, experiment=experiment or None, format=format, artifacts=artifacts, force=force,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    if json:
        print_json(done)
    else:
        _print(done)


def _print(done: Export) -> None:
    shown = table("table", "rows", numbers=("rows",))
    for name, rows in done.tables.items():
        shown.add_row(name, f"{rows:,}")
    if done.artifact_files is not None:
        shown.add_row("files of artifacts", f"{done.artifact_files:,}")
    for what, how_often in done.losses.items():
        shown.add_row(Text(f"left out or changed: {what}", style="yellow"), f"{how_often:,}")
    print_out(f"{done.runs:,} {'run' if done.runs == 1 else 'runs'} in {done.path}, as {done.format}", shown)
