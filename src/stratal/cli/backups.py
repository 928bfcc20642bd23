"""`stratal backup`: copies of a store, made beside its writers, and stores made of them. `stratal migrate`."""

from pathlib import Path
from typing import Annotated

import typer

from stratal.cli.bars import bar_of
from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, moment, print_json, print_out, span, table
from stratal.store.backups import back_up, restore, snapshots, verify
from stratal.store.carrying import restore_into
from stratal.store.upgrading import check_folder, check_here, migrate_store
from stratal.tracking.opening import current_store, open_store

Target = Annotated[Path, typer.Argument(metavar="BACKUP", help="The folder of the backup; on another disk than the store.")]
At = Annotated[str | None, typer.Option("--at", help="A snapshot, by its name or how it begins: 20261127T21. Default: the newest.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    made = typer.Typer(help="Back a store up while it is used: make, list, verify, restore.", no_args_is_help=True)
    made.command("make")(_make)
    made.command("list")(_list)
    made.command("verify")(_verify)
    made.command("restore")(_restore)
    app.add_typer(made, name="backup")
    app.command("migrate")(migrate)


def _make(
    target: Target,
    keep: Annotated[int | None, typer.Option("--keep", help="Keep so many snapshots, the newest; default: all.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Back the store up, beside what writes to it. Exits with 1 if files are missing or spoilt in the store itself."""
    use(store)
    with bar_of(json=json) as bar:
        done = back_up(current_store(), target, keep=keep, progress=bar)
    if json:
        print_json(done)
    else:
        print_out(
            f"{done.snapshot.name}: the database ({_size(done.snapshot.size_bytes)}) and {done.snapshot.blobs:,} files"
            f" ({_size(done.snapshot.blob_bytes)}), of which {done.copied:,} are new ({_size(done.copied_bytes)}), in {span(done.took_s)}"
        )
        for what, lost in (("missing", done.missing), ("spoilt", done.damaged)):
            for digest in lost[:20]:
                print_out(cell(f"{what} in the store: {digest}", "red"))
    if done.missing or done.damaged:
        raise typer.Exit(1)


def _list(target: Target, json: Json = False) -> None:
    """List the snapshots of a backup, the newest first."""
    found = snapshots(target)
    if json:
        print_json(found)
        return
    page = table(
        "snapshot", "made (UTC)", "store", "release", "schema", "database", "files", "bytes", numbers=["database", "files", "bytes"]
    )
    for each in found:
        page.add_row(
            cell(each.name, "bold"), cell(moment(each.at_ns)), cell(each.store), cell(each.release), cell(each.schema),
            cell(_size(each.size_bytes)), cell(f"{each.blobs:,}"), cell(_size(each.blob_bytes)),
        )  # fmt: skip
    print_out(page if found else "No snapshots.")


def _verify(target: Target, at: At = None, json: Json = False) -> None:
    """Read all of a snapshot, and compare each file with its digest. Exits with 1 if something is missing or spoilt."""
    with bar_of(json=json) as bar:
        snapshot, lacking = verify(target, at, progress=bar)
    if json:
        print_json({"snapshot": snapshot, "lacking": lacking})
    elif lacking:
        print_out(cell(f"{snapshot.name}: {len(lacking):,} of {snapshot.blobs:,} files are missing or spoilt: {lacking[0]}", "red"))
    else:
        print_out(f"{snapshot.name}: the database and {snapshot.blobs:,} files are whole.")
    if lacking:
        raise typer.Exit(1)


def _restore(
    target: Target,
    place: Annotated[str, typer.Argument(help="The folder of the new store, not there or empty; or postgresql://..., an empty database.")],
    at: At = None,
    allow_lacking: Annotated[
        bool, typer.Option("--allow-lacking", help="Go on without files that the backup does not have whole.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a store of a snapshot; nothing is written over."""
    with bar_of(json=json) as bar:
        if "://" in place:
            done = restore_into(target, open_store(place), name=at, allow_lacking=allow_lacking, progress=bar)
        else:
            done = restore(target, Path(place), name=at, allow_lacking=allow_lacking, progress=bar)
    if json:
        print_json(done)
        return
    print_out(f"{done.folder}: the store of {done.snapshot.name}, with {done.blobs:,} files, in {span(done.took_s)}")
    for digest in done.lacking[:20]:
        print_out(cell(f"lacking: {digest}", "red"))


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say from which schema to which.")] = False,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Bring a store of an older release to this one's schema; a copy of its database is made first, and kept."""
    use(store)
    opened = current_store()
    check_here(opened, "stratal migrate")
    check_folder(opened)
    done = migrate_store(opened.folder, dry_run=dry_run)
    if json:
        print_json(done)
    elif done.found == done.wanted:
        print_out(f"Nothing to do: the store has schema {done.found}.")
    elif dry_run:
        print_out(f"Would be migrated from schema {done.found} to {done.wanted}.")
    else:
        print_out(
            f"Migrated from schema {done.found} to {done.wanted}." + (f" As it was it is kept in {done.backup}." if done.backup else "")
        )


def _size(size_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"
