"""`stratal events`: what happens in a store, as it happens."""

import sys
from itertools import islice
from typing import Annotated

import msgspec
import typer

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, moment
from stratal.core.ids import short
from stratal.tracking.following import Told, follow

Since = Annotated[
    int | None, typer.Option("--since", help="Begin after this number; 0: with the oldest that is kept. Default: from now on.")
]
Kinds = Annotated[
    list[str] | None, typer.Option("--kind", "-k", help="Only of this kind: run, 'run ended', version, alert; may be given again.")
]
On = Annotated[list[str] | None, typer.Option("--on", help="Only of experiment:NAME or model:NAME; may be given again.")]
Subjects = Annotated[list[str] | None, typer.Option("--subject", help="Only about this: run:ID, model:NAME@3; may be given again.")]
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="End after so many.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("events")(events)


def events(
    since: Since = None,
    kind: Kinds = None,
    on: On = None,
    subject: Subjects = None,
    limit: Limit = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Follow what happens in the store, until Ctrl-C: a line for each event. --json: a document per line."""
    use(store)
    for event in islice(follow(since=since, kinds=kind or (), on=on or (), subjects=subject or ()), limit):
        sys.stdout.write((msgspec.json.encode(event).decode() if json else _line(event)) + "\n")
        sys.stdout.flush()


def _line(event: Told) -> str:
    subject = f"run:{short(event.subject)}" if event.subject.startswith("run:") else event.subject
    body = msgspec.json.encode(event.body).decode() if event.body else ""
    parts = (f"{event.seq:>8}", moment(event.at_ns), f"{event.kind:<16}", subject, event.actor, body)
    return "  ".join(cell(part).plain.replace("\n", " ") for part in parts).rstrip()
