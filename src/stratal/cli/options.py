"""Options that commands of several files take, so that one thing has one name, one short form and one help text everywhere."""

from typing import Annotated

import typer

from stratal.tracking.opening import use_store

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
StoreUrl = Annotated[str | None, typer.Option("--store", help="The store; default: STRATAL_STORE, stratal.toml, or the nearest .stratal.")]
Query = Annotated[str, typer.Option("--query", "-q", help="A filter: metrics.auc > 0.9 and params.model = 'gbm'")]
Experiments = Annotated[list[str] | None, typer.Option("--experiment", "-e", help="Only of this experiment; may be given again.")]


def use(store: str | None) -> None:
    """Take the store that was named; without one it is found when it is needed."""
    if store is not None:
        use_store(store)
