"""The command that starts a run again: stratal reproduce."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, pairs, print_json, print_out, section, shown, span, table
from stratal.core.ids import short
from stratal.tracking.reproducing.records import Reproduction
from stratal.tracking.reproducing.reproduce import reproduce as start_again
from stratal.tracking.reproducing.reproduce import write_container
from stratal.tracking.reproducing.verdicts import ATOL, CLOCK, IDENTICAL, RTOL, WITHIN, SeriesVerdict

_COLOURS = {IDENTICAL: "green", WITHIN: "green", CLOCK: "dim"}
_NUMBERS = ("points", "first at step", "then", "now", "worst")
_MOST_ROWS = 40  # of metrics; --json gives all


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(reproduce)


def reproduce(
    ref: Annotated[str, typer.Argument(help="A run, or what a run made: model:churn@production, study:churn, pipeline:churn@latest")],
    here: Annotated[bool, typer.Option("--here", help="Use this Python and its packages, not a rebuilt environment.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Keep the verdict only, not the folder of the replay.")] = False,
    working_tree: Annotated[bool, typer.Option("--working-tree", help="Take the code as it is in the project today.")] = False,
    alone: Annotated[
        bool | None,
        typer.Option("--alone/--whole", help="Without the rest of its program, or with it. By default a trial is alone, a step is not."),
    ] = None,
    argv: Annotated[str | None, typer.Option(help="A command line instead of the captured one, in one text.")] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Take any version of a package that can no longer be had.")] = False,
    result: Annotated[str | None, typer.Option(help="Start nothing, and judge the store that a replay elsewhere has written.")] = None,
    dockerfile: Annotated[Path | None, typer.Option(help="Write a Dockerfile and all that it copies into this folder instead.")] = None,
    apptainer: Annotated[Path | None, typer.Option(help="The same as an Apptainer definition.")] = None,
    rtol: Annotated[float, typer.Option(help="Relative tolerance.")] = RTOL,
    atol: Annotated[float, typer.Option(help="Absolute tolerance.")] = ATOL,
    timeout_s: Annotated[float | None, typer.Option("--timeout", help="End the program after so many seconds.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Start a run again from what was captured of it, and say for each metric whether it came out the same. Exits with 1 if not."""
    use(store)
    if (folder := dockerfile or apptainer) is not None:
        how = write_container(ref, folder, apptainer=apptainer is not None)
        judged = f"stratal reproduce {ref} --result {folder}/store"
        if json:
            print_json({"folder": folder, "run": how, "judge": judged})
        else:
            print(f"build and run it:  {how}\njudge it:          {judged}")  # plain, so that it can be copied
        return
    say = None if json else lambda text: print(text, file=sys.stderr)
    words = None if argv is None else shlex.split(argv)
    made = start_again(
        ref, here=here, check=check, working_tree=working_tree, lenient=lenient, alone=alone, argv=words, rtol=rtol, atol=atol,
        timeout_s=timeout_s, result=result, say=say,
    )  # fmt: skip
    if json:
        print_json(made.document())
    else:
        print_out(*reproduction_page(made))
    if not made.is_reproduced:
        raise typer.Exit(1)


def reproduction_page(made: Reproduction) -> list[RenderableType]:
    """Show a reproduction: the verdict, a row per metric, files, causes, notes."""
    head = pairs()
    head.add_row("run", cell(short(made.run), "bold"))
    head.add_row("verdict", cell(made.verdict, "bold green" if made.is_reproduced else "bold red"))
    head.add_row("tolerance", cell(str(made.tolerance)))
    head.add_row("code", cell(made.code))
    head.add_row("environment", cell("this one" if made.environment == "here" else made.environment))
    head.add_row("took", cell(span(made.seconds)))
    head.add_row("recorded as", cell(f"run:{short(made.by)}"))
    if made.folder:
        head.add_row("folder", cell(made.folder))
    page: list[RenderableType] = [head]
    if made.series:
        page += section("metrics", _metrics(made.series))
    if made.artifacts:
        odd = [each for each in made.artifacts if not each.is_equal]
        text = f"{len(made.artifacts) - len(odd)} of {len(made.artifacts)} are equal, byte for byte"
        page += section("files", Text(text + (f"; not {', '.join(each.path for each in odd[:5])}" if odd else "")))
    if made.causes:
        causes = pairs()
        for cause in made.causes:
            causes.add_row(cause.subject, cell(cause.what, "" if cause.is_known else "dim"))
        page += section("likely causes, the likeliest first", causes)
    if made.notes:
        page += section("notes", Text("\n".join(made.notes)))
    if made.output:
        page += section("the last lines of the program", Text(made.output))
    return page


def _metrics(series: tuple[SeriesVerdict, ...]) -> Table:
    """A row per metric; those that are not as they were come first."""
    ordered = sorted(series, key=lambda each: (each.is_reproduced or not each.is_compared, each.verdict == CLOCK))
    has_parts = any(each.run for each in series)
    page = table(
        *(["part"] if has_parts else []),
        "metric",
        "verdict",
        "points",
        "first at step",
        "then",
        "now",
        "worst",
        numbers=["points", "first at step", "then", "now", "worst"],
    )
    for each in ordered[:_MOST_ROWS]:
        numbers = [str(each.points), *(_number(value) for value in (each.step, each.original, each.replayed, each.worst))]
        part = [cell(each.run or "the run itself")] if has_parts else []
        page.add_row(*part, cell(each.metric), cell(each.verdict, _COLOURS.get(each.verdict, "red")), *numbers)
    if len(ordered) > _MOST_ROWS:
        page.caption = f"{len(ordered) - _MOST_ROWS} more; --json gives all"
    return page


def _number(value: float | None) -> str:
    return "" if value is None else shown(value) if isinstance(value, int) else f"{value:.10g}"
