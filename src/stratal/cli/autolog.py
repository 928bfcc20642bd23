"""Commands of autolog: what would be logged here, and what a run printed."""

import sys
from typing import Annotated

import typer

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, print_json, print_out, table
from stratal.core.errors import Misuse
from stratal.tracking.autologging import report
from stratal.tracking.reading import get_run


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(autolog)
    app.command()(output)


def autolog(json: Json = False) -> None:
    """Show which libraries autolog knows here, and what to write for each."""
    lines = report()
    if json:
        print_json([line._asdict() for line in lines])
        return
    page = table("library", "state", "how")
    for line in lines:
        page.add_row(*(cell(word) for word in line))
    print_out(page)


def output(
    run: Annotated[str, typer.Argument(help="A run, by its id, short form or ref.")],
    tail: Annotated[int | None, typer.Option("--tail", "-n", help="Only the last so many lines.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Print what a run printed, up to now; autolog keeps it."""
    use(store)
    if tail is not None and tail < 1:
        raise Misuse(f"--tail {tail} is no number of lines", hint="give 1 or more")
    text = get_run(run).output
    lines = text.splitlines(keepends=True)
    text = "".join(lines if tail is None else lines[-tail:])
    if json:
        print_json({"output": text})
    else:
        print(text, end="")
    if not text:
        print("nothing is kept of what it printed; st.autolog() in a program keeps that of its runs", file=sys.stderr)
