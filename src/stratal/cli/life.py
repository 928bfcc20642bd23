"""Commands of the life of runs: fork, artifacts, delete, restore, purge, gc."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, pairs, print_json, print_out, table
from stratal.cli.tracking_pages import whole
from stratal.core.errors import Misuse
from stratal.core.ids import RunId, short
from stratal.tracking.artifacts import ArtifactFile, choose
from stratal.tracking.collecting import EVENTS_DAYS, EVENTS_KEPT, GRACE_HOURS
from stratal.tracking.collecting import gc as collect_garbage
from stratal.tracking.deleting import delete as delete_runs
from stratal.tracking.deleting import purge as purge_runs
from stratal.tracking.deleting import restore as restore_runs
from stratal.tracking.forking import fork as fork_run
from stratal.tracking.opening import current_store
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.retaining import KEEP
from stratal.tracking.retaining import retain as retain_runs

Deleting = Annotated[str, typer.Argument(metavar="RUN", help="A run, by its id, short form or ref; or experiment:NAME, for all its runs.")]
Children = Annotated[bool, typer.Option("--children", help="Also all runs that are part of it.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(fork)
    app.command()(artifacts)
    app.command()(delete)
    app.command()(restore)
    app.command()(purge)
    app.command()(retain)
    app.command()(gc)


def fork(
    run: Annotated[str, typer.Argument(help="The run to go on from, by its id, short form or ref.")],
    step: Annotated[int, typer.Option(help="The first step that the fork logs itself: points before it are shared.")],
    name: Annotated[str, typer.Option(help="The name of the fork.")] = "",
    experiment: Annotated[str | None, typer.Option("--experiment", "-e", help="Its experiment; default: that of the other run.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="A param to put over the inherited ones: lr=0.1; may be given again.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag to put over the inherited ones: team=growth; may be given again.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Make a run that goes on from another one's points; resume it by its id."""
    use(store)
    params = {key: _value(text) for key, text in _pairs(param or [], "--param").items()}
    made = fork_run(run, step=step, name=name, experiment=experiment, params=params, tags=_pairs(tag or [], "--tag"))
    if json:
        print_json(whole(made))
    else:
        print_out(f"run {made.short} goes on from {run} before step {step}", f'resume it: st.run(resume="{made.id}")')


def artifacts(
    run: Annotated[str, typer.Argument(help="The run, by its id, short form or ref.")],
    path: Annotated[str | None, typer.Argument(help="Only this file, or what lies below this path.")] = None,
    download: Annotated[Path | None, typer.Option(help="Copy them into this folder, under their paths.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """List the files of a run, or copy them out of the store."""
    use(store)
    found = get_run(run)
    files = _chosen(found, path)
    written = [file.download(download, name=file.path_in_run) for file in files] if download is not None else []
    if json:
        print_json(
            {
                "run": found.id,
                "artifacts": [{"path": f.path_in_run, "size_bytes": f.size_bytes, "digest": f.digest, "ref": f.ref} for f in files],
                "downloaded": [str(place) for place in written],
            }
        )
    elif download is not None:
        print_out(f"{len(written)} file{'' if len(written) == 1 else 's'} in {download}")
    elif not files:
        print_out("No artifacts.")
    else:
        page = table("path", "bytes", "digest", numbers=["bytes"])
        for file in files:
            page.add_row(cell(file.path_in_run), cell(f"{file.size_bytes:,}"), cell(file.digest[:12], "dim"))
        print_out(page)


def _chosen(run: ReadRun, path: str | None) -> list[ArtifactFile]:
    store = current_store()
    if path is None:
        return [ArtifactFile(store, run.id, artifact) for artifact in run.artifacts]
    found = choose(store, run.id, run.artifacts, path)
    return [found] if isinstance(found, ArtifactFile) else list(found)


def delete(ref: Deleting, children: Children = False, json: Json = False, store: StoreUrl = None) -> None:
    """Delete a run or an experiment's runs; restore brings them back."""
    use(store)
    _print_changed("deleted", delete_runs(ref, children=children), json=json)


def restore(ref: Deleting, children: Children = False, json: Json = False, store: StoreUrl = None) -> None:
    """Bring deleted runs back."""
    use(store)
    _print_changed("restored", restore_runs(ref, children=children), json=json)


def purge(
    ref: Annotated[str | None, typer.Argument(help="A deleted run, or experiment:NAME.")] = None,
    older_than: Annotated[float | None, typer.Option(help="Instead: all runs that were deleted so many days ago, or earlier.")] = None,
    children: Children = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Drop deleted runs for good, unless something needs them."""
    use(store)
    done = purge_runs(ref, children=children, older_than_days=older_than, dry_run=dry_run)
    if json:
        print_json({"dry_run": dry_run, "purged": done.runs, "kept": done.kept})
        return
    print_out(f"{_runs(len(done.runs))} {'would be purged' if dry_run else 'purged; stratal gc frees their files'}")
    for id, reason in done.kept.items():
        print_out(f"{short(id)} stays: {reason}")


def retain(
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="The experiment.")],
    days: Annotated[float, typer.Option("--days", min=0, help="Delete runs that ended longer ago.")],
    keep_tag: Annotated[str, typer.Option("--keep-tag", help="Runs with this tag stay.")] = KEEP,
    newest: Annotated[int, typer.Option("--newest", min=0, help="So many stay, whatever their age.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Delete old runs of an experiment, unless they are tagged, alive, or needed; restore brings them back."""
    use(store)
    done = retain_runs(experiment, days=days, keep_tag=keep_tag, newest=newest, dry_run=dry_run)
    if json:
        print_json(done)
        return
    print_out(f"{_runs(len(done.deleted))} {'would be deleted' if dry_run else 'deleted'}")
    for id, reason in done.kept.items():
        print_out(f"{short(id)} stays: {reason}")


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    grace_hours: Annotated[float, typer.Option(help="Take nothing that was saved or used within so many hours.")] = GRACE_HOURS,
    events_days: Annotated[float, typer.Option(help="Drop events that are older.")] = EVENTS_DAYS,
    events_kept: Annotated[int, typer.Option(help="Drop all events but so many, the newest.")] = EVENTS_KEPT,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Free files that nobody needs, leftovers of dead processes, and old events."""
    use(store)
    done = collect_garbage(dry_run=dry_run, grace_hours=grace_hours, events_days=events_days, events_kept=events_kept)
    if json:
        print_json(done)
        return
    page = pairs()
    page.add_row("files nobody needs", cell(f"{len(done.blobs):,}"))
    page.add_row("left by dead processes", cell(f"{len(done.leftovers):,}"))
    page.add_row("bytes of both", cell(f"{done.size_bytes:,}"))
    page.add_row("journals", cell("when it is done" if dry_run else f"{done.journals:,}"))
    page.add_row("old events", cell(f"{done.events:,}"))
    page.add_row("parts of old shipments", cell(f"{done.parts:,}"))
    print_out("would go:" if dry_run else "gone:", page)


def _print_changed(what: str, changed: list[RunId], *, json: bool) -> None:
    if json:
        print_json({what: changed})
    else:
        print_out(f"{_runs(len(changed))} {what}" if changed else f"nothing to do: {_NOTHING[what]}")


_NOTHING = {"deleted": "deleted before, all of it", "restored": "nothing of it is deleted"}


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Misuse(f"{option} {text!r} is no name with a value", hint=f"write {option} name=value")
        found[name] = value
    return found


def _value(text: str) -> object:
    """Read a number, true, false or null as what it is, all else as text."""
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if value is None or isinstance(value, bool | int | float) else text
