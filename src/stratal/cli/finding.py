"""Commands that answer about many runs: top, spread, views."""

from typing import Annotated

import typer
from rich.text import Text

from stratal.cli.options import Experiments, Json, Query, StoreUrl, use
from stratal.cli.printing import cell, moment, pairs, print_json, print_out, table
from stratal.cli.tracking import print_table
from stratal.tracking.grouping import SEEDS, spread, top
from stratal.tracking.table import RunTable
from stratal.tracking.views import remove_view, save_view, view, views
from stratal.tracking.weighing import importance


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("top")(_top)
    app.command("spread")(_spread)
    app.command("importance")(_importance)
    saved = typer.Typer(help="Saved views: list, save, show, remove; stratal runs --view NAME uses one.", invoke_without_command=True)
    saved.callback()(_list)
    for name, command in (("save", _save), ("show", _show), ("remove", _remove)):
        saved.command(name)(command)
    app.add_typer(saved, name="views")


def _top(
    by: Annotated[str, typer.Argument(help='What they are measured by: metrics.auc, "max(metrics.auc) desc"')],
    per: Annotated[str, typer.Option("--per", "-p", help="Keys whose values make a group: params.model, experiment")] = "",
    count: Annotated[int, typer.Option("--count", "-k", help="How many of each group.")] = 1,
    columns: Annotated[str, typer.Option("--columns", "-c", help="What else is shown of them.")] = "id, name",
    query: Query = "",
    experiment: Experiments = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """List the best runs, of all or of each group."""
    use(store)
    _print(top(by, where=query, k=count, per=per, select=columns, experiment=experiment or None), json)


def _spread(
    metrics: Annotated[str, typer.Argument(help='Metrics, or parts of them: metrics.auc, "max(metrics.auc), metrics.loss"')],
    per: Annotated[str | None, typer.Option("--per", "-p", help="Keys whose values make a group; default: all params but seeds.")] = None,
    apart_from: Annotated[list[str] | None, typer.Option(help="A param that makes no group of its own; default: seeds.")] = None,
    query: Query = "",
    experiment: Experiments = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Show how metrics spread over runs that differ only in their seed, or over groups."""
    use(store)
    found = spread(metrics, where=query, per=per, apart_from=apart_from or SEEDS, experiment=experiment or None)
    of = {name.partition("(")[2] for name in found.columns if name.startswith("mean(")}
    if not json and len(of) == 1:  # then it is said once, and not in eight headings
        (only,) = of
        print_out(Text(only.removesuffix(")"), style="bold"))
        found = RunTable({name.removesuffix(f"({only}"): found.column(name) for name in found.columns}, remarks=found.remarks)
    _print(found, json)


def _importance(
    metric: Annotated[str, typer.Argument(help='A metric, or a part of it: metrics.auc, "max(metrics.auc)"')],
    query: Query = "",
    experiment: Experiments = None,
    params: Annotated[str, typer.Option(help="The params that are looked at: params.lr, params.depth")] = "params.*",
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Say which params matter for a metric over at least 20 runs, and how sure that is."""
    use(store)
    found = importance(metric, query, experiment=experiment or None, params=params)
    if json:
        print_json(found)
        return
    page = table("param", "loss", "95 %", "rank correlation", numbers=["loss", "rank correlation"])
    for each in found.params:
        page.add_row(cell(each.name), cell(f"{each.loss:.2f}", "bold"), cell(f"{each.low:.2f} to {each.high:.2f}"), cell(each.correlation))
    print_out(page, "", f"{found.runs} runs; the params explain {max(0.0, found.explained) * 100:.0f} % of the order of unseen ones.")
    if not found.is_meaningful:
        print_out("That is next to nothing: read nothing into the losses.")


def _list(context: typer.Context, json: Json = False, store: StoreUrl = None) -> None:
    """List saved views."""
    use(store)
    if context.invoked_subcommand is not None:
        return
    found = views()
    if json:
        print_json(found)
    elif not found:
        print_out("No views. Save one: stratal views save good -q 'metrics.auc > 0.9' -o 'metrics.auc desc' -c 'name, metrics.auc'")
    else:
        page = table("view", "filter", "order", "columns", "by", "saved (UTC)")
        for each in found:
            query = each.query
            page.add_row(
                cell(each.name, "bold"), cell(query.where), cell(query.order_by), cell(", ".join(query.select)), cell(each.author),
                cell(moment(each.at_ns)[:16]),
            )  # fmt: skip
        print_out(page)


def _save(
    name: Annotated[str, typer.Argument(help="Its name; a view that has it is replaced.")],
    query: Query = "",
    experiment: Experiments = None,
    order: Annotated[str, typer.Option("--order", "-o", help="An order: metrics.auc desc, started")] = "",
    columns: Annotated[str, typer.Option("--columns", "-c", help="Columns: name, params.lr, max(metrics.auc)")] = "",
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="At most so many.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Save a filter, an order and columns under a name."""
    use(store)
    saved = save_view(name, query, experiment=experiment or None, order_by=order, select=columns or (), limit=limit)
    if json:
        print_json(saved)
    else:
        print_out(f"Saved. stratal runs --view {name}")


def _show(name: Annotated[str, typer.Argument(help="Its name.")], json: Json = False, store: StoreUrl = None) -> None:
    """Show what a view asks."""
    use(store)
    found = view(name)
    if json:
        print_json(found)
        return
    page = pairs()
    for what, value in (
        ("view", found.name), ("filter", found.query.where), ("experiments", ", ".join(found.query.experiments or ())),
        ("order", found.query.order_by), ("columns", ", ".join(found.query.select)), ("limit", found.query.limit),
        ("saved", f"{moment(found.at_ns)} UTC by {found.author}"),
    ):  # fmt: skip
        if value not in ("", None):
            page.add_row(what, cell(value))
    print_out(page)


def _remove(name: Annotated[str, typer.Argument(help="Its name.")], json: Json = False, store: StoreUrl = None) -> None:
    """Forget a view; no run is touched."""
    use(store)
    remove_view(name)
    if json:
        print_json({"removed": name})
    else:
        print_out(f"Removed the view {name}.")


def _print(found: RunTable, json: bool) -> None:
    if json:
        print_json(list(found))
    else:
        print_table(found)
