"""The demo's command."""

from typing import Annotated

import typer

from stratal.tracking.opening import current_store, open_store


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(store: Annotated[str | None, typer.Option(help="Folder of the store to write to.")] = None) -> None:
    """Run the whole lifecycle on real data: raw rows to a model in production. The second time comes from the cache."""
    from rich.console import Console

    from stratal.recipes.demo.story import Story  # scikit-learn and the data set, which only this command needs

    Story(open_store(store) if store else current_store(), Console(highlight=False)).tell()
