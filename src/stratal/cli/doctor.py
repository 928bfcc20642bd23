"""`stratal doctor`: what may be wrong with a store, and what to do."""

from typing import Annotated

import typer

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, print_json, print_out, table
from stratal.tracking.doctor import BAD, doctor

_COLOURS = {"good": "green", "note": "yellow", "bad": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(_doctor)


def _doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Read each file of the store, and compare it with its digest.")] = False,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Examine the store: database, journals, files, disk, clock, lost runs. Mends nothing. Exits with 1 if something is bad."""
    use(store)
    found = doctor(deep=deep)
    if json:
        print_json(found)
    else:
        page = table("", "", "", "")
        page.show_header = False
        for check in found:
            page.add_row(cell(check.state, _COLOURS[check.state]), cell(check.name, "bold"), cell(check.says), cell(check.hint, "dim"))
            for detail in check.details:
                page.add_row("", "", cell(f"  {detail}"), "")
        print_out(page)
    if any(check.state == BAD for check in found):
        raise typer.Exit(1)
