"""Commands of training: start a script on several ranks, list a job's checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import moment, print_json, print_out, table
from stratal.tracking.opening import current_store
from stratal.tracking.runs import find_id
from stratal.training.failures import JobFailed
from stratal.training.launch import RESTARTS, run_script
from stratal.training.store import CheckpointStore

Script = Annotated[Path, typer.Argument(help="A Python file; each rank runs it as __main__.")]
Arguments = Annotated[list[str] | None, typer.Argument(help="What the script gets as its arguments, behind --.")]
Workers = Annotated[int, typer.Option("--workers", "-w", help="How many ranks.")]
Restarts = Annotated[int, typer.Option(help="How often to start again from the last checkpoint when a rank dies.")]
RunRef = Annotated[str, typer.Argument(help="A job's run: run:7c41e09b, or its id.")]


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command("train")(train)
    app.command("checkpoints")(checkpoints)


def train(script: Script, arguments: Arguments = None, workers: Workers = 2, restarts: Restarts = RESTARTS) -> None:
    """Run a training script on several ranks of this machine: stratal train SCRIPT --workers 2 -- --lr 0.1"""
    try:
        run_script(script, tuple(arguments or ()), workers=workers, restarts=restarts)
    except JobFailed as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None


def checkpoints(run: RunRef, json: Json = False, url: StoreUrl = None) -> None:
    """List the checkpoints of a job's run, the last first."""
    use(url)
    store = current_store()
    found = CheckpointStore(store).checkpoints(run=find_id(store, run))
    if json:
        print_json(found)
    elif not found:
        print_out("this run has no checkpoint")
    else:
        page = table("step", "samples", "mesh", "bytes", "made (UTC)", "digest", numbers=("step", "samples", "bytes"))
        for checkpoint in found:
            page.add_row(
                f"{checkpoint.step:,}",
                f"{checkpoint.samples:,}",
                checkpoint.mesh,
                f"{checkpoint.size_bytes:,}",
                moment(checkpoint.at_ns),
                checkpoint.digest[:12],
            )
        print_out(page)
