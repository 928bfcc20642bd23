"""`stratal sync`: ship what was logged here to a server."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from stratal.cli.options import Json, use
from stratal.cli.printing import print_json, print_out
from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.syncing import Progress, Synced, sync
from stratal.tracking.unsynced import Unsynced, UnsyncedRun, bring_back, discard, set_aside, unsynced

To = Annotated[str | None, typer.Option("--to", help="The server, http://HOST:PORT; needed once for a store in a folder.")]
Watch = Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C, also while the server is away.")]
Status = Annotated[bool, typer.Option("--status", help="Send nothing; show what waits here, and what the server has refused.")]
SetAside = Annotated[
    str | None,
    typer.Option("--set-aside", help="Keep a refused run here (run:ID, or experiment:NAME for all of one), and go on without it."),
]
BringBack = Annotated[str | None, typer.Option("--bring-back", help="Undo --set-aside: the next sync sends it.")]
Discard = Annotated[
    str | None,
    typer.Option("--discard", help="Throw a run that is set aside away for good (run:ID, or experiment:NAME): what waits is never sent."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before --discard.")]
# Files that are named before a run is thrown away: enough to know it by, few enough for one line.
MOST_NAMED = 5
StoreUrl = Annotated[
    str | None, typer.Option("--store", help="The store or spool; default: STRATAL_STORE, stratal.toml, or the nearest .stratal.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sync")(sync_command)


def sync_command(
    to: To = None,
    watch: Watch = False,
    status: Status = False,
    aside: SetAside = None,
    back: BringBack = None,
    lost: Discard = None,
    yes: Yes = False,
    store: StoreUrl = None,
    json: Json = False,
) -> None:
    """Ship what was logged here to a server. Goes on where it was broken off; exits with 1 if something was refused.

    Runs that were logged with STRATAL_STORE=http://... wait in a spool on this machine until the server has them.

    A store in a folder can be shipped, too: from the first `--to` on it keeps its journals until the server has them.
    """
    use(store)
    if sum((bool(to or watch), status, aside is not None, back is not None, lost is not None)) > 1:
        raise Misuse("sync does one thing at a time", hint="ship (--to, --watch), look (--status), --set-aside, --bring-back or --discard")
    if yes and lost is None:
        raise Misuse("--yes answers what --discard asks", hint="write stratal sync --discard RUN --yes")
    if aside is not None:
        _say_moved(set_aside(aside), "set aside; it is kept here, and sent after `stratal sync --bring-back`", json)
    elif back is not None:
        _say_moved(bring_back(back), "is sent by the next `stratal sync`", json)
    elif lost is not None:
        _discard(lost, yes, json)
    elif status:
        found = unsynced()
        if json:
            print_json(found)
        else:
            _print_waiting(found)
    else:
        _sync(current_store(), to, watch, json)


def _sync(opened: Store, to: str | None, watch: bool, json: bool) -> None:
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


def _say_moved(runs: list[str], what: str, json: bool) -> None:
    if json:
        print_json({"runs": runs})
        return
    for run in runs:
        print_out(f"run:{run} {what}")


def _discard(what: str, is_sure: bool, json: bool) -> None:
    if not is_sure:
        would_be = discard(what, dry_run=True)
        if not json:
            _say_lost(would_be, "would be lost")
        if json or not sys.stdin.isatty():
            raise Misuse("nothing is thrown away without a yes", hint="add --yes")
        typer.confirm("Throw it away for good?", abort=True)
    runs = discard(what)
    if json:
        print_json({"runs": runs})
    else:
        _say_lost(runs, "thrown away; `stratal sync` deletes it")


def _say_lost(runs: list[UnsyncedRun], what: str) -> None:
    for each in runs:
        files = f", {_files(each)}" if each.files else ""
        print_out(f"run:{each.run}{_of(each)}: {each.rows:,} rows of metrics{files} and all else that it said {what}")


def _files(each: UnsyncedRun) -> str:
    names = ", ".join(list(each.files)[:MOST_NAMED]) + (", …" if len(each.files) > MOST_NAMED else "")
    return f"{len(each.files):,} file{'s' if len(each.files) > 1 else ''} ({names}: {_size(sum(each.files.values()))})"


def _print_waiting(found: Unsynced) -> None:
    if not found.is_reached:
        print_out(f"{found.url} is not reached, or refuses you: counted is what lies here, and some of it may be there already")
    if not found.runs and not found.files:
        print_out(f"nothing waits for {found.url}")
    for each in found.runs:
        print_out(f"run:{each.run}{_of(each)}: {each.frames:,} frames ({_size(each.size_bytes)}) {_state(each)}")
    for file in found.files:
        print_out(f"file {file.digest[:12]}… of run:{file.run}: {file.why}")


def _of(each: UnsyncedRun) -> str:
    return f" of {each.experiment}" if each.experiment else ""


def _state(each: UnsyncedRun) -> str:
    if each.is_aside:
        return f"set aside: {each.refused}"
    return f"refused: {each.refused}" if each.refused else "wait"


def _print(done: Synced) -> None:
    if done.frames or done.blobs or done.segments:
        blobs = f" and {done.blobs:,} blobs ({_size(done.blob_bytes)})" if done.blobs else ""
        print_out(f"shipped {done.frames:,} frames ({_size(done.size_bytes)}){blobs} to {done.url}")
    elif not done.refused and not done.waiting_bytes:
        print_out(f"nothing to ship: {done.url} has it all")
    elif not done.refused:
        print_out(f"nothing to ship now; {_size(done.waiting_bytes)} wait here: `stratal sync --status` shows what")
    for why in done.refused:
        print_out(f"refused: {why}")
    if done.refused:
        print_out("nothing of it is lost: `stratal sync --status` shows what waits, `stratal sync --set-aside RUN` goes on without it")
    for left in done.left:
        print_out(f"not whole there: {len(left.runs):,} runs (the last: {left.runs[-1]}): {left.why}")


def _size(size_bytes: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024  # type: ignore[assignment]  # a number to print
    return f"{size_bytes:.1f} GiB"
