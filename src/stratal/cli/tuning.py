"""Commands of tuning: study list, study show."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from stratal.cli.options import Json, StoreUrl
from stratal.cli.printing import cell, moment, print_json, print_out, shown, status_cell, table
from stratal.core.ids import short
from stratal.tracking.opening import current_store, use_store
from stratal.tuning.progress import best_so_far, counts, draw, ranked
from stratal.tuning.store import StudyStore
from stratal.tuning.trials import StudyVersion, Trial, best_of


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    study = typer.Typer(help="Studies: list them, show one with its best trials.", no_args_is_help=True)
    study.command("list")(list_studies)
    study.command("show")(show_study)
    app.add_typer(study, name="study")


def list_studies(json: Json = False, store: StoreUrl = None) -> None:
    """List all studies, each in its newest version."""
    studies = _studies(store)
    found = [(version, studies.trials(name=version.name, version=version.version)) for version in studies.newest_versions()]
    if json:
        print_json([_summary(version, trials) for version, trials in found])
        return
    rows = table("study", "version", "goal", "trials", "best", "opened", numbers=("version", "trials", "best"))
    for version, trials in found:
        best = best_of(version, trials)
        tried = f"{version.told} of {version.budget}"
        rows.add_row(
            cell(version.name),
            cell(version.version),
            cell(_goal(version)),
            cell(tried),
            cell(best and best.value),
            cell(moment(version.opened_ns)),
        )
    print_out(rows if found else Text("no study was opened yet"))


def show_study(
    name: Annotated[str, typer.Argument(help="The study's name, or its ref: study:churn.")],
    version: Annotated[int | None, typer.Option("--version", "-v", help="A version; default: the newest.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many of the best trials.")] = 10,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Show a study: what it is about, how it went, its best trials."""
    studies = _studies(store)
    found = studies.version(name=name.removeprefix("study:"), version=version)
    trials = studies.trials(name=found.name, version=found.version)
    if json:
        print_json(_summary(found, trials) | {"trials": trials, "best_so_far": best_so_far(found, trials)})
        return
    tallies = ", ".join(f"{number} {status}" for status, number in counts(trials).items() if number) or "none yet"
    print_out(
        Text(f"study {found.name}, version {found.version}: {_goal(found)}", style="bold"),
        Text(f"opened {moment(found.opened_ns)} because {found.why}; sampler {found.sampler}, seed {found.seed}"),
        Text(f"trials: {tallies}; budget {found.budget}"),
        Text(),
    )
    if lines := draw(best_so_far(found, trials)):
        print_out(Text(f"best {found.metric} so far", style="dim"), Text("\n".join(lines)), Text())
    print_out(_trials_table(ranked(found, trials)[:limit]))
    if failed := [trial for trial in trials if trial.status == "failed"]:
        print_out(Text(), Text(f"first failure, trial {failed[0].number}: {failed[0].error}", style="red"))


def _studies(store: str | None) -> StudyStore:
    return StudyStore(use_store(store) if store is not None else current_store())


def _goal(version: StudyVersion) -> str:
    return f"{'maximize' if version.is_maximized else 'minimize'} {version.metric}"


def _summary(version: StudyVersion, trials: list[Trial]) -> dict[str, object]:
    return {"study": version, "counts": counts(trials), "best": best_of(version, trials)}


def _trials_table(trials: list[Trial]) -> Table:
    names = list(trials[0].params) if trials else []
    rows = table("trial", "value", *names, "status", "run", numbers=("trial", "value", *names))
    for trial in trials:
        params = [cell(shown(trial.params[name])) for name in names]
        rows.add_row(cell(trial.number), cell(trial.value), *params, status_cell(trial.status), cell(f"run:{short(trial.run)}"))
    return rows
