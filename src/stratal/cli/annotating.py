"""`stratal tag`, `stratal note`: what people say of runs that are there."""

from typing import Annotated

import typer

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, moment, pairs, print_json, print_out, table
from stratal.core.errors import Misuse
from stratal.tracking.annotating import note as add_note
from stratal.tracking.annotating import tag as set_tags
from stratal.tracking.reading import ReadRun, get_run

Noted = Annotated[str, typer.Argument(metavar="RUN", help="The run, by its id, short form or ref.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(tag)
    app.command()(note)


def tag(
    run: Noted,
    tags: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Tags to set: stage=done team=growth")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A tag to take away; may be given again.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Set tags of a run, or take some away, and show those that it has."""
    use(store)
    said: dict[str, str | None] = {**_said(tags or []), **dict.fromkeys(remove or [])}
    read = get_run(set_tags(run, said) if said else run)
    if json:
        print_json({"run": read.id, "tags": read.tags})
    else:
        _print_tags(read)


def note(
    run: Noted,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What to note; without it those that are there are shown.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Add a note to a run, with author and time, and show those that it has."""
    use(store)
    read = get_run(run if text is None else add_note(run, text))
    if json:
        print_json({"run": read.id, "notes": read.notes})
    else:
        _print_notes(read)


def _said(texts: list[str]) -> dict[str, str]:
    said = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Misuse(f"{text!r} is no tag", hint="write NAME=VALUE; --remove NAME takes one away")
        said[name] = value
    return said


def _print_tags(read: ReadRun) -> None:
    if not read.tags:
        return print_out(f"run {read.short} has no tags")
    page = pairs()
    for name, value in sorted(read.tags.items()):
        page.add_row(cell(name), cell(value))
    return print_out(page)


def _print_notes(read: ReadRun) -> None:
    if not read.notes:
        return print_out(f"run {read.short} has no notes")
    page = table("time (UTC)", "author", "note")
    for each in read.notes:
        page.add_row(cell(moment(each.at_ns)), cell(each.author), cell(each.text))
    return print_out(page)
