"""`stratal models | register | promote | approve | gates | rollback | history | policy | audit`: models and where they stand."""

from pathlib import Path
from typing import Annotated

import typer

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, moment, print_json, print_out, table
from stratal.registry import registering
from stratal.registry.assessing import Assessment, TransitionRefused
from stratal.registry.gates import Verdict
from stratal.registry.policies import policy_from_json, policy_from_toml, policy_to_toml
from stratal.registry.resolving import find_logged_model, model_name
from stratal.registry.stages import Stage
from stratal.registry.store import ModelStore
from stratal.tracking.opening import current_store

Name = Annotated[str, typer.Argument(help="Name of a model, as churn.", metavar="NAME")]
Version = Annotated[str, typer.Argument(help="A version, as model:churn@7 or model:churn@staging.", metavar="REF")]
ToStage = Annotated[str, typer.Argument(help="Development, Staging, Production or Archived, in any case.", metavar="STAGE")]

audit = typer.Typer(help="Check the log of all changes.", no_args_is_help=True)

_STAGE_COLOURS = {Stage.PRODUCTION: "green", Stage.STAGING: "cyan", Stage.ARCHIVED: "dim"}
_VERDICT_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.ERROR: "red", Verdict.MISSING: "yellow", Verdict.STALE: "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (models, promote, approve, gates, rollback, history, policy):
        app.command()(command)
    app.command("register")(register_model)
    app.add_typer(audit, name="audit")


def models(
    name: Annotated[str | None, typer.Argument(help="Name of one model: list its versions.")] = None,
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """List models, or the versions of one."""
    use(url)
    store = ModelStore(current_store())
    if name is None:
        found = store.models()
        if as_json:
            return print_json(found)
        if not found:
            return print_out("No model yet: stratal register RUN --name NAME makes the first version of one.")
        shown = table("model", "versions", "in production", "policy", "owner", "since (UTC)", numbers=("versions",))
        for each in found:
            serving = ", ".join(f"@{number}" for number in each.production)
            policy_text = "ungoverned" if each.policy is None else each.policy[:12]
            shown.add_row(
                cell(each.name), cell(each.versions), cell(serving or None), cell(policy_text), cell(each.owner), cell(moment(each.at_ns))
            )
        return print_out(shown)
    name = model_name(name)
    standings, versions = store.standings(name=name), store.versions(name=name)
    aliases: dict[int, list[str]] = {}
    for word, number in store.aliases(name=name).items():
        aliases.setdefault(number, []).append(word)
    if as_json:
        return print_json(
            [{"version": each, "standing": standings[each.number], "aliases": aliases.get(each.number, [])} for each in versions]
        )
    shown = table("version", "stage", "aliases", "run", "digest", "by", "at (UTC)")
    for version in versions:
        stage = standings[version.number].stage
        words = ", ".join(aliases.get(version.number, []))
        columns = (words or None, version.run[-8:], version.digest[:12], version.author, moment(version.at_ns))
        shown.add_row(cell(version.ref), cell(str(stage), _STAGE_COLOURS.get(stage, "")), *map(cell, columns))
    return print_out(cell(f"model:{name}", "bold"), shown)


def register_model(
    model: Annotated[str, typer.Argument(help="The run that logged it, or artifact:RUN/PATH.", metavar="RUN_OR_ARTIFACT")],
    name: Annotated[str, typer.Option("--name", help="Name of the model.")],
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Make a version of a model that a run logged."""
    use(url)
    store = current_store()
    version = registering.register(name, find_logged_model(store, model), store=store)
    if as_json:
        return print_json(version)
    return print_out(cell(f"{version.ref} is registered"))


def promote(
    version: Version,
    stage: ToStage,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the log.")] = "",
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Move a version up, if its gates and approvals let it."""
    use(url)
    try:
        done = registering.promote(version, stage, reason=reason)
    except TransitionRefused as refused:
        if as_json:
            print_json(refused.assessment)
        raise
    if as_json:
        return print_json(done)
    return print_out(cell(done.said))


def approve(
    version: Version,
    stage: Annotated[str, typer.Argument(help="A stage, or `policy` for the policy that was asked for.", metavar="STAGE")],
    note: Annotated[str, typer.Option("--note", help="What you looked at.")] = "",
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Approve what somebody else asked for, on the evidence that is there now."""
    use(url)
    given = registering.approve(version, stage, note=note)
    if as_json:
        return print_json(given)
    return print_out(cell(f"{given.person} approved {version} for {stage}, on evidence {given.evidence[:12]}"))


def gates(version: Version, stage: ToStage, as_json: Json = False, url: StoreUrl = None) -> None:
    """Show what stands between a version and a stage. Exits with 1 if something does."""
    use(url)
    seen = registering.assess(version, stage)
    if as_json:
        print_json(seen)
    else:
        _print_assessment(seen)
    raise typer.Exit(0 if seen.is_ready else 1)


def rollback(
    name: Name, reason: Annotated[str, typer.Option("--reason", help="Why, for the log.")], as_json: Json = False, url: StoreUrl = None
) -> None:
    """Bring the predecessor back into Production."""
    use(url)
    done = registering.rollback(name, reason=reason)
    if as_json:
        return print_json(done)
    return print_out(cell(done.said))


def history(name: Name, as_json: Json = False, url: StoreUrl = None) -> None:
    """Show who changed what, when, and why."""
    use(url)
    entries = registering.history(name)
    if as_json:
        return print_json(entries)
    shown = table("at (UTC)", "who", "what", "of", "why")
    for entry in entries:
        who = entry.actor if entry.is_authenticated else f"{entry.actor} (asserted)"
        shown.add_row(*map(cell, (moment(entry.at_ns), who, entry.action, entry.about, entry.reason)))
    return print_out(shown)


def policy(
    name: Name,
    file: Annotated[Path | None, typer.Option("--set", help="TOML or JSON file of the policy to bring into force.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the log.")] = "",
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Show the policy in force, or set another one."""
    use(url)
    if file is not None:
        text = file.read_text(encoding="utf-8")
        wanted = policy_from_json(text) if file.suffix == ".json" else policy_from_toml(text)
        change = registering.set_policy(name, wanted, reason=reason)
        next_step = [] if change.is_in_force else [f"somebody else approves: stratal approve model:{change.name} policy; then set it again"]
        return print_json(change) if as_json else print_out(*map(cell, (change.said, *next_step)))
    in_force = ModelStore(current_store()).policy(name=model_name(name))
    if as_json:
        return print_json(None if in_force is None else policy_from_json(in_force))
    return print_out(
        cell(f"model:{model_name(name)} is ungoverned" if in_force is None else policy_to_toml(policy_from_json(in_force)).rstrip())
    )


@audit.command()
def verify(
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", help="SEQ:HASH that was kept outside of the store.")] = None,
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Check the chain of the log, and that it gives the standings that are there. Exits with 1 if something is wrong."""
    use(url)
    report = registering.verify_audit(checkpoint=checkpoint)
    if as_json:
        print_json(report)
    else:
        for finding in report.findings:
            print_out(cell(finding, "red"))
        state = "sound" if report.is_sound else f"{len(report.findings)} things are wrong"
        print_out(cell(f"{report.entries} entries, {state}. Keep this elsewhere: {report.head}"))
    raise typer.Exit(0 if report.is_sound else 1)


def _print_assessment(seen: Assessment) -> None:
    shown = table("", "gate", "why", "next")
    for result in seen.results:
        next_step = "" if result.verdict is Verdict.PASS else result.todo
        shown.add_row(cell(str(result.verdict), _VERDICT_COLOURS[result.verdict]), *map(cell, (result.gate, result.why, next_step)))
    for missing in seen.ruling.missing:
        shown.add_row(cell("missing", "yellow"), cell(missing), cell(""), cell(f"somebody else: stratal approve {seen.ref} {seen.target}"))
    for void in seen.ruling.void:
        shown.add_row(cell("void", "yellow"), cell("approval"), cell(void), cell(""))
    title = cell(f"{seen.ref}: {seen.stage} → {seen.target}", "bold")
    parts = [title, shown] if shown.row_count else [title]
    print_out(*parts, cell("clear" if seen.is_ready else "held back", "green" if seen.is_ready else "red"))
