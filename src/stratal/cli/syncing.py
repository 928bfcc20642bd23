"""`stratal sync`: ship what was logged here to a server."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from stratal.cli.options import Json, use
from stratal.cli.printing import print_json, print_out
from stratal.tracking.opening import current_store
from stratal.tracking.syncing import Progress, Synced, sync

To = Annotated[str | None, typer.Option("--to", help="The server, http://HOST:PORT; needed once for a store in a folder.")]
Watch = Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C, also while the server is away.")]
StoreUrl = Annotated[
    str | None, typer.Option("--store", help="The store or spool; default: STRATAL_STORE, stratal.toml, or the nearest .stratal.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sync")(sync_command)


def sync_command(to: To = None, watch: Watch = False, store: StoreUrl = None, json: Json = False) -> None:
    """Ship what was logged here to a server. Goes on where it was broken off; exits with 1 if something was refused.

    Runs that were logged with STRATAL_STORE=http://... wait in a spool on this machine until the server has them.

    A store in a folder can be shipped, too: from the first `--to` on it keeps its journals until the server has them.
    """
    use(store)
    opened = current_store()
    console = Console(stderr=True)
    columns = (TextColumn("shipping"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TextColumn("[yellow]{task.fields[problem]}"))
    with Bar(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("shipping", total=None, problem="")

        def show(progress: Progress) -> None:
            total = max(progress.sent_bytes, progress.waiting_bytes)
            bar.update(task, completed=progress.sent_bytes, total=total, problem=progress.problem)

        done = sync(to, store=opened, watch=watch, progress=show)
    if json:
        print_json(done)
    else:
        _print(done)
    if done.refused:
        raise typer.Exit(1)


def _print(done: Synced) -> None:
    if done.frames or done.blobs or done.segments:
        blobs = f" and {done.blobs:,} blobs ({_size(done.blob_bytes)})" if done.blobs else ""
        print_out(f"shipped {done.frames:,} frames ({_size(done.size_bytes)}){blobs} to {done.url}")
    elif not done.refused:
        print_out(f"nothing to ship: {done.url} has it all")
    for why in done.refused:
        print_out(f"refused: {why}")
    for left in done.left:
        print_out(f"not whole there: {len(left.runs):,} runs (the last: {left.runs[-1]}): {left.why}")


def _size(size_bytes: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024  # type: ignore[assignment]  # a number to print
    return f"{size_bytes:.1f} GiB"
