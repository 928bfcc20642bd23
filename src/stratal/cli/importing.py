"""`stratal import`: bring in what another tool has recorded."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from stratal.cli.bars import bar_of
from stratal.cli.options import Json, StoreUrl
from stratal.cli.printing import cell, print_json, print_out, table
from stratal.core.errors import Misuse
from stratal.core.ids import short
from stratal.interop.importing import READERS, import_runs
from stratal.interop.report import ImportReport
from stratal.tracking.opening import current_store, use_store

# Runs that are listed one by one; more of them are counted.
MOST_LISTED = 20


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("import")(import_from)


def import_from(
    tool: Annotated[str, typer.Argument(help=f"One of: {', '.join(sorted(READERS))}.", metavar="TOOL")],
    path: Annotated[Path, typer.Argument(help="The file or folder that the tool wrote.", metavar="PATH")],
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", help="Where the runs go, instead of where the tool had them.")
    ] = None,
    files: Annotated[Path | None, typer.Option("--files", help="The folder of artifacts, where it does not lie beside PATH.")] = None,
    artifact_root: Annotated[
        list[str] | None,
        typer.Option("--artifact-root", metavar="OLD=NEW", help="Where artifacts lie here that were at OLD there; may be given again."),
    ] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Import what another tool has recorded: stratal import tensorboard runs/

    Repeat it freely: only what is new is added. Exits with 1 if something was lost; what could be read is here all the same.
    """
    into = current_store() if store is None else use_store(store)
    with bar_of(json=json) as bar:
        report = import_runs(
            tool, path, experiment=experiment, files=files, artifact_roots=_roots(artifact_root or []), store=into, progress=bar
        )
    if json:
        print_json({"is_complete": report.is_complete, **{name: getattr(report, name) for name in report.__struct_fields__}})
    else:
        _print(report)
    if not report.is_complete:
        raise typer.Exit(1)


def _roots(rules: list[str]) -> dict[str, str]:
    for rule in rules:
        if not all(rule.partition("=")):
            raise Misuse(f"--artifact-root {rule!r} is no rule", hint="write OLD=NEW: --artifact-root s3://bucket/mlflow=/data/mlflow")
    return {old: new for old, _, new in (rule.partition("=") for rule in rules)}


def _print(report: ImportReport) -> None:
    runs = table("run", "there", "")
    for run in report.runs[:MOST_LISTED]:
        runs.add_row(cell(short(run.id)), cell(run.foreign), cell("new" if run.is_new else ""))
    counted = table("", "imported", "already here", "left out", "lost", "why", numbers=("imported", "already here", "left out", "lost"))
    for what, counts in report.counts.items():
        reasons = "; ".join((*counts.left_out, *counts.lost))
        figures = (counts.imported, counts.already, sum(counts.left_out.values()), sum(counts.lost.values()))
        counted.add_row(cell(what), *(cell(figure if figure else "") for figure in figures), cell(reasons, "dim"))
    if report.runs:
        print_out(runs)
    if len(report.runs) > MOST_LISTED:
        print_out(Text(f"and {len(report.runs) - MOST_LISTED} more runs", style="dim"))
    unchanged = f", {report.unchanged} of them unchanged since the last import" if report.unchanged else ""
    if report.counts:
        print_out("", counted, "")
    print_out(
        Text(
            f"{_count(len(report.runs), 'run')} from {_count(report.sources, 'source')}{unchanged}.",
            style="dim",
        )
    )
    for remark in report.remarks:
        print_out(Text(remark, style="dim"))
    for loss in report.losses:
        print_out(Text.assemble(("lost ", "red"), loss))
    if not report.is_complete:
        print_out(
            Text("Not everything was imported: see what is lost above. What is here stays; importing again adds what is new.", style="red")
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
