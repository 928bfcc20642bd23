"""Commands of the trunk: runs, show, compare, why."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypedDict

import typer
from rich.text import Text

from stratal.cli.logged import show_media
from stratal.cli.options import Experiments, Json, Query, StoreUrl, use
from stratal.cli.printing import cell, page_width, print_json, print_out, span, table
from stratal.cli.tracking_pages import (
    MOST_ROWS,
    SPARKS,
    brief,
    brief_value,
    comparison_page,
    lineage_page,
    run_page,
    runs_table,
    value_page,
    whole,
)
from stratal.core.errors import Misuse
from stratal.core.ids import short
from stratal.tracking.explaining import compare_runs, explain
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import current_store
from stratal.tracking.reading import get_run, get_whole
from stratal.tracking.refs import format_ref, parse_ref, resolve
from stratal.tracking.store.views import ViewQuery
from stratal.tracking.table import RunTable
from stratal.tracking.views import view as get_view


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(runs)
    app.command()(show)
    app.command()(compare)
    app.command()(why)


def runs(
    query: Query = "",
    experiment: Experiments = None,
    order: Annotated[str, typer.Option("--order", "-o", help="An order: metrics.auc desc, started")] = "",
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="At most so many; default: the view's, else 50.")] = None,
    columns: Annotated[str, typer.Option("--columns", "-c", help="Only these: name, params.lr, max(metrics.auc)")] = "",
    after: Annotated[str | None, typer.Option(help="Go on after a page, with the token that it ended with.")] = None,
    view: Annotated[str | None, typer.Option(help="A saved view; a filter beside it narrows it, an order replaces its own.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """List runs, filtered and sorted."""
    use(store)
    asked = viewed(view, query, experiment, order, columns, limit)
    common: Asked = {
        "experiment": None if asked.experiments is None else list(asked.experiments),
        "order_by": asked.order_by,
        "limit": 50 if asked.limit is None else asked.limit,
        "after": after,
    }
    if asked.select:
        table = find_runs(asked.where, select=asked.select, **common)
        if json:
            print_json({"rows": list(table), "next": table.next})
        else:
            print_table(table)
        return
    found = find_runs(asked.where, **common)
    if json:
        print_json([brief(run) for run in found])
        if found.next:
            print(f"next page: --after {found.next}", file=sys.stderr)
        return
    if not found:
        print("No run passes the filter." if asked.where or asked.experiments else f"No runs in {current_store().url}.")
    else:
        print_out(runs_table(found, page_width()))
    print_ending(found.remarks, found.next, f"The first {len(found)}; --limit gives more")


def show(
    ref: Annotated[str, typer.Argument(help="A run, by its id or short form, or any ref: model:churn@production")],
    media: Annotated[str | None, typer.Option("--media", metavar="NAME", help="Of a run: only what it logged under this name.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="With --media: save the files there.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Show one run, or what another ref stands for."""
    use(store)
    parsed = parse_ref(ref, default_kind="run")
    if (media or out) and (media is None or parsed.kind != "run"):
        raise Misuse("--out saves what a run logged under the name that --media says", hint="stratal show RUN --media NAME --out FOLDER")
    if parsed.kind == "run":
        if media is not None:
            show_media(get_run(parsed.name), media, out, json=json)
        elif json:
            print_json(whole(get_whole(parsed.name)))
        else:
            print_out(*run_page(get_whole(parsed.name, curves=MOST_ROWS, buckets=SPARKS), page_width()))
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
    metrics: Annotated[str, typer.Option(help="Only these metrics: auc, loss")] = "",
    diff: Annotated[bool, typer.Option("--diff", help="Also the captured sources, line by line.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write one HTML file, with curves and parallel coordinates.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Compare runs: params, metrics, environment, code, data."""
    use(store)
    only = [name.strip() for name in metrics.split(",") if name.strip()] or None
    less, more = minimize or (), maximize or ()
    comparison = compare_runs(refs, metrics=only, minimize=less, maximize=more, diff=diff)
    if html is not None:
        # Only for this option: it draws.
        from stratal.tracking.comparing_page import comparison_html, save_comparison

        save_comparison(comparison_html(refs, metrics=only, minimize=less, maximize=more), html)
    if json:
        print_json(comparison)
    elif html is not None:
        print_out(f"Written: {html}")
    else:
        print_out(*comparison_page(comparison))


def why(
    ref: Annotated[str, typer.Argument(help="A run, a version, a digest or an artifact: model:churn@production")],
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Show where something came from, and what came of it."""
    use(store)
    lineage = explain(ref)
    if json:
        print_json(lineage)
        return
    print_out(*lineage_page(lineage))


class Asked(TypedDict):
    """What a list of runs is asked, besides its filter."""

    experiment: list[str] | None
    order_by: str
    limit: int
    after: str | None


def viewed(view: str | None, query: str, experiment: list[str] | None, order: str, columns: str, limit: int | None) -> ViewQuery:
    """Put a saved view and what was said beside it together: filters are joined by `and`, the rest replaces."""
    saved = get_view(view).query if view else ViewQuery()
    where = f"({saved.where}) and ({query})" if saved.where and query else query or saved.where
    return ViewQuery(
        where=where,
        experiments=tuple(experiment) if experiment else saved.experiments,
        order_by=order or saved.order_by,
        select=(columns,) if columns else saved.select,
        limit=saved.limit if limit is None else limit,
    )


def print_table(found: RunTable) -> None:
    """Print a table of runs, with what is to be said of it."""
    if found:
        page = table(*found.columns, numbers=[name for name in found.columns if any(_is_number(value) for value in found.column(name))])
        for row in found:
            page.add_row(*(cell(_readable(name, value)) for name, value in row.items()))
        print_out(page)
    else:
        print_out("No run passes.")
    print_ending(found.remarks, found.next, f"The first {len(found)}")


def print_ending(remarks: Sequence[str], following: str | None, cut: str) -> None:
    """Say what looks like a mistake, and how to go on."""
    for remark in remarks:
        print_out(Text(remark, style="yellow"))
    if following:
        print(f"{cut}, or go on with --after {following}")  # not by rich: a token that is broken into lines cannot be copied


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _readable(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if name == "id":
        return short(str(value))
    return span(value) if name == "duration" and isinstance(value, float) else value
