"""`stratal evaluate` and `stratal report`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stratal.cli.options import Json, StoreUrl, use
from stratal.core.errors import Misuse
from stratal.core.ids import short
from stratal.core.records import to_json
from stratal.evaluation.costs import Kpi, KpiEstimate, kpi
from stratal.evaluation.estimates import Estimate
from stratal.evaluation.evaluating import evaluate
from stratal.evaluation.metrics import METRICS
from stratal.evaluation.reading import read_results, write_report
from stratal.evaluation.results import Results, in_order
from stratal.evaluation.wording import count, interval, number, signed

# Of the gaps, those that a terminal shows; the report and --json have all.
SHOWN_GAPS = ("demographic_parity_difference", "equal_opportunity_difference", "equalized_odds_difference")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("evaluate")(evaluate_model)
    app.command("report")(report)


def evaluate_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model: model:churn@3, or run:7c41e09b for the one of a run.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="CSV, Parquet or Arrow file, or a dataset ref.")],
    target: Annotated[str, typer.Option(help="Column that holds the truth.")],
    positive: Annotated[str | None, typer.Option(help="The positive class; the model's own if not given.")] = None,
    slice_by: Annotated[list[str] | None, typer.Option("--slice", help="Column to slice by; several together: contract,gender.")] = None,
    sensitive: Annotated[list[str] | None, typer.Option(help="Column whose groups should be treated alike.")] = None,
    champion: Annotated[str | None, typer.Option(help="Ref of the model to compare with: model:churn@production.")] = None,
    profit: Annotated[str | None, typer.Option("--kpi", help="What a hit and a false alarm earn: 'campaign profit=110,-15 EUR'.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Scores from here on are called positive.")] = None,
    confidence: Annotated[float, typer.Option(help="Confidence of intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of resamples.")] = 0,
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Judge a model on rows that it has not seen; record it, and write the report."""
    use(url)
    found = evaluate(
        model,
        data,
        target=target,
        positive=positive,
        slices=[_columns(by) for by in slice_by or ()],
        sensitive=[_columns(by) for by in sensitive or ()],
        champion=champion,
        kpi=None if profit is None else _kpi(profit),
        threshold=threshold,
        confidence=confidence,
        seed=seed,
    )
    results = read_results(found)
    if as_json:
        typer.echo(to_json({"run": found.run, "subject": found.subject, "results": results}))
        return
    _print(results)
    Console().print(f"run     run:{short(found.run)}\nreport  {escape(str(write_report(found)))}", soft_wrap=True)


def report(
    ref: Annotated[str, typer.Argument(metavar="REF", help="An evaluation's run, or a model: then its newest evaluation.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; by default one in the store's folder reports.")] = None,
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Write the HTML report of an evaluation, and print the path of the file."""
    use(url)
    place = write_report(ref, out)
    typer.echo(to_json({"report": str(place.absolute())}) if as_json else str(place))


def _columns(by: str) -> str | list[str]:
    return by.split(",") if "," in by else by


def _kpi(text: str) -> Kpi:
    name, _, worth = text.partition("=")
    numbers, _, unit = worth.strip().partition(" ")
    try:
        hit, alarm = (float(number) for number in numbers.split(","))
    except ValueError:
        raise Misuse(f"{text!r} is no KPI", hint="write it as 'campaign profit=110,-15 EUR': what a hit and a false alarm earn") from None
    return kpi(name.strip(), true_positive=hit, false_positive=alarm, unit=unit)


def _print(results: Results) -> None:
    shown = Table(title=escape(f"{results.title}: {results.model}"), title_justify="left", box=None, pad_edge=False, header_style="dim")
    for head in ("", "value", "interval", "rows"):
        shown.add_column(head, justify="left" if head in ("", "interval") else "right", overflow="fold")
    entries: dict[str, Estimate | KpiEstimate] = {**dict(in_order(results.metrics, METRICS)), **results.kpis}
    entries |= {f"{gap}[{group.name}]": found for group in results.fairness for gap, found in group.gaps.items() if gap in SHOWN_GAPS}
    for name, found in entries.items():
        unit = found.unit if isinstance(found, KpiEstimate) else ""
        shown.add_row(
            escape(name), number(found.value, unit), interval(found.low, found.high) or escape(found.reason or ""), count(found.n)
        )
    Console().print(shown)
    _print_champion(results)


def _print_champion(results: Results) -> None:
    console = Console()
    if results.champion is not None:
        found = results.champion.difference["auc"]
        p = "" if found.p is None else f", p = {number(found.p)}"
        words = f"champion  {results.champion.ref}: auc {signed(found.value)} ({interval(found.low, found.high)}{p})"
        console.print(escape(words), soft_wrap=True)
    elif results.champion_note is not None:
        console.print(escape(f"champion  {results.champion_note}"), soft_wrap=True)
    shared = results.data.rows_shared_with_training
    if shared:
        console.print(f"[bold red]{count(shared)} of these rows were trained on[/]")
