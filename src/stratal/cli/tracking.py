"""Commands of the trunk: runs, show, compare, why."""

from typing import Annotated

import typer
from rich.text import Text

from stratal.cli.printing import page_width, print_json, print_out
from stratal.cli.tracking_pages import brief, brief_value, comparison_page, lineage_page, run_page, runs_table, value_page, whole
from stratal.tracking.explaining import compare_runs, explain
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import current_store, use_store
from stratal.tracking.reading import get_run
from stratal.tracking.refs import format_ref, parse_ref, resolve

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
StoreUrl = Annotated[str | None, typer.Option("--store", help="The store; default: STRATAL_STORE, stratal.toml, or the nearest .stratal.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(runs)
    app.command()(show)
    app.command()(compare)
    app.command()(why)


def runs(
    query: Annotated[str, typer.Option("--query", "-q", help="A filter: metrics.auc > 0.9 and params.model = 'gbm'")] = "",
    experiment: Annotated[list[str] | None, typer.Option("--experiment", "-e", help="Only of this experiment; may be given again.")] = None,
    order: Annotated[str, typer.Option("--order", "-o", help="An order: metrics.auc desc, started")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.")] = 50,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """List runs, filtered and sorted."""
    _use(store)
    found = find_runs(query, experiment=experiment or None, order_by=order, limit=limit)
    if json:
        print_json([brief(run) for run in found])
        return
    if not found:
        print_out("No runs." if not query and not experiment else "No run passes the filter.")
        return
    print_out(runs_table(found, page_width()))
    if found.next:
        print_out(Text(f"The first {len(found)}; --limit gives more.", style="dim"))


def show(
    ref: Annotated[str, typer.Argument(help="A run, by its id or short form, or any ref: model:churn@production")],
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Show one run, or what another ref stands for."""
    _use(store)
    parsed = parse_ref(ref, default_kind="run")
    if parsed.kind == "run":
        run = get_run(parsed.name)
        if json:
            print_json(whole(run))
        else:
            print_out(*run_page(run))
        return
    resolved = resolve(parsed, current_store())
    named = format_ref(resolved.ref)
    if json:
        print_json({"ref": named, "digest": resolved.digest, "value": brief_value(resolved.value)})
    else:
        print_out(*value_page(named, resolved.digest, resolved.value, page_width()))


def compare(
    refs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Two runs or more; the first is what the others are held against.")
    ],
    minimize: Annotated[list[str] | None, typer.Option(help="A metric of which less is better; may be given again.")] = None,
    maximize: Annotated[list[str] | None, typer.Option(help="A metric of which more is better; may be given again.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Compare runs: params, metrics, environment, code, data."""
    _use(store)
    comparison = compare_runs(refs, minimize=minimize or (), maximize=maximize or ())
    if json:
        print_json(comparison)
    else:
        print_out(*comparison_page(comparison))


def why(
    ref: Annotated[str, typer.Argument(help="A run, a version, a digest or an artifact: model:churn@production")],
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Show where something came from, and what came of it."""
    _use(store)
    lineage = explain(ref)
    if json:
        print_json(lineage)
        return
    print_out(*lineage_page(lineage))


def _use(store: str | None) -> None:
    if store is not None:
        use_store(store)
