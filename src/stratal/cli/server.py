"""`stratal server`: take what other processes ship to a store."""

import sys
from typing import Annotated

import typer

from stratal.cli.options import Json, StoreUrl
from stratal.cli.printing import print_json, print_out
from stratal.server.serving import HOST, PORT, serve
from stratal.tracking.opening import current_store, open_store

Host = Annotated[str, typer.Option(help="Where to listen; loopback only.")]
Port = Annotated[int, typer.Option(help="The port; 0 takes any that is free, and says which.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("server")(server)


def server(host: Host = HOST, port: Port = PORT, store: StoreUrl = None, json: Json = False) -> None:
    """Take what other processes ship to a store. Loopback only; no pages and no queries yet.

    Runs with params, metrics, tags, notes, artifacts and lineage arrive, each fact once; read them with `stratal runs --store FOLDER`.

    It asks nobody for a password. Ctrl-C ends it; nothing that it acknowledged is lost, whatever ends it.
    """
    opened = open_store(store) if store is not None else current_store()

    def listens(url: str) -> None:
        if json:
            print_json({"url": url, "store": opened.url})
        else:
            print_out(f"listening on {url}, into {opened.url}")
        sys.stdout.flush()  # who waits for the line may read a pipe

    serve(opened, host=host, port=port, listens=listens)
