"""`stratal data`: look at tables, infer schemas, validate, find drift, list versions."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, moment, print_json, print_out, table
from stratal.core.errors import Misuse
from stratal.core.records import number_from_json
from stratal.data import (
    ColumnDrift,
    Dataset,
    DatasetStore,
    DatasetVersion,
    Schema,
    Validation,
    compare,
    infer_schema,
    open_dataset,
    profile_frame,
    profile_table,
    read_table,
    validate_frame,
)
from stratal.data.findings import from_drift, number
from stratal.data.profile import ColumnProfile
from stratal.data.validating import Reference
from stratal.tracking.opening import current_store

commands = typer.Typer(help="Look at tables: profile, schema, validation, drift, versions.", no_args_is_help=True)

Tables = Annotated[list[str], typer.Argument(help="Files or patterns of one table, or one ref such as dataset:churn@3.", metavar="PATH...")]
SchemaFile = Annotated[Path, typer.Option("--schema", "-s", help="TOML file of the schema.")]
Against = Annotated[str | None, typer.Option("--against", help="Also compare with this file or dataset ref.")]

_COLOURS = {"error": "red", "warn": "yellow", "info": "dim"}


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(commands, name="data")


@commands.command()
def profile(paths: Tables, as_json: Json = False, url: StoreUrl = None) -> None:
    """Show what each column holds."""
    use(url)
    found = profile_table(paths)
    if as_json:
        print_json(found)
        return
    numbers = ("without value", "different", "lowest", "median", "highest")
    shown = table("column", "kind", *numbers, "most often", title=f"{found.rows:,} rows, {len(found.columns):,} columns", numbers=numbers)
    for name, column in found.columns.items():
        shown.add_row(cell(name), cell(column.kind), *(cell(figure) for figure in _figures(column)))
    print_out(shown)


@commands.command()
def infer(
    paths: Tables,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the schema to this file.")] = None,
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Infer a first schema, as TOML."""
    use(url)
    schema = infer_schema(read_table(paths))
    if output is not None:
        schema.save(output)
    if as_json:
        print_json(dict(schema.columns))
    elif output is None:
        typer.echo(schema.to_toml(), nl=False)
    else:
        typer.echo(f"wrote {len(schema)} columns to {output}")


@commands.command()
def validate(paths: Tables, schema: SchemaFile, against: Against = None, as_json: Json = False, url: StoreUrl = None) -> None:
    """Check a table against a schema. Exits with 1 if a finding is an error."""
    use(url)
    frame = read_table(paths)
    reference = None if against is None else Reference(ref=against, profile=profile_table([against]))
    found = validate_frame(frame, Schema.load(schema), profile=profile_frame(frame), reference=reference)
    if as_json:
        print_json(found)
    else:
        _print_findings(found, frame.height)
    raise typer.Exit(0 if found.ok else 1)


@commands.command()
def drift(
    reference: Annotated[str, typer.Argument(help="File, pattern or dataset ref to compare with.")],
    current: Annotated[str, typer.Argument(help="File, pattern or dataset ref that may have moved.")],
    skip: Annotated[list[str] | None, typer.Option("--skip", help="A column to leave out; may be repeated.")] = None,
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Show which columns have moved since a reference."""
    use(url)
    before, now = profile_table([reference]), profile_table([current])
    for name in skip or ():
        if name not in before.columns and name not in now.columns:
            raise Misuse(f"there is no column {name!r} to skip", hint=f"there are: {', '.join(now.columns)}")
    found = compare(before, now, skip=skip or ())
    if as_json:
        print_json([{"is_moved": one.is_moved, **{name: getattr(one, name) for name in one.__struct_fields__}} for one in found])
        return
    numbers = ("PSI", "KS", "without value")
    title = f"{sum(one.is_moved for one in found)} of {len(found)} columns have moved"
    shown = table("", "column", *numbers, "verdict", title=title, numbers=numbers)
    for one in found:
        measures = (_measure(one, name) for name in ("psi", "ks", "nulls"))
        shown.add_row(cell("!" if one.is_moved else "", "yellow"), cell(one.column), *(cell(m) for m in measures), cell(_verdict(one)))
    for here, there, where in ((before, now, reference), (now, before, current)):
        for name in here.columns:
            if name not in there.columns and name not in (skip or ()):
                shown.add_row(cell("!", "yellow"), cell(name), "", "", "", cell(f"is only in {where}: not compared"))
    print_out(shown)


@commands.command()
def versions(name: str, as_json: Json = False, url: StoreUrl = None) -> None:
    """List the versions of a dataset."""
    use(url)
    found = DatasetStore(current_store()).versions(name=name.removeprefix("dataset:"))
    if as_json:
        print_json(found)
        return
    numbers = ("version", "rows", "columns")
    shown = table(*numbers, "status", "by", "at (UTC)", "from", "digest", title=f"dataset:{found[0].name}", numbers=numbers)
    for version in found:
        shown.add_row(*(cell(figure) for figure in _version_row(version)))
    print_out(shown)


VersionRef = Annotated[str, typer.Argument(metavar="REF", help="A version: dataset:churn@3.")]


@commands.command()
def delete(ref: VersionRef, as_json: Json = False, url: StoreUrl = None) -> None:
    """Hide a version from latest and previous; restore brings it back."""
    use(url)
    _change(ref, "deleted", Dataset.delete, as_json=as_json)


@commands.command()
def restore(ref: VersionRef, as_json: Json = False, url: StoreUrl = None) -> None:
    """Bring a deleted version back."""
    use(url)
    _change(ref, "restored", Dataset.restore, as_json=as_json)


@commands.command()
def purge(
    ref: VersionRef,
    needed: Annotated[bool, typer.Option("--needed", help="Also if parts or runs need it: those cannot be reproduced then.")] = False,
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Give up the rows of a deleted version for good; stratal gc frees the files."""
    use(url)
    _change(ref, "purged", lambda version: version.purge(needed=needed), as_json=as_json)


def _change(ref: str, what: str, change: Callable[[Dataset], None], *, as_json: bool) -> None:
    version = open_dataset(ref)
    if "@" not in ref:
        raise Misuse(f"{ref} names no version", hint=f"name one by its number: {version.ref}")
    change(version)
    if as_json:
        print_json(version.record)
    else:
        print_out(f"{version.ref} {what}")


def _figures(column: ColumnProfile) -> tuple[str, ...]:
    different = "many" if column.distinct is None else f"{column.distinct:,}"
    without = f"{column.nulls:,}" + (f" + {column.numbers.nan:,} NaN" if column.numbers and column.numbers.nan else "")
    low, middle, high, common = "", "", "", ""
    if column.numbers and column.numbers.low is not None and column.numbers.high is not None:
        low, high = (number(number_from_json(end)) for end in (column.numbers.low, column.numbers.high))
        middle = number(column.numbers.quantile(0.5) or 0.0)
    elif column.values and column.values.counts:
        common = ", ".join(f"{_short(value)} {count / column.values.count:.0%}" for value, count in column.values.most_common(3))
    elif column.earliest:
        low, high = column.earliest, column.latest or ""
    return without, different if column.kind not in ("timestamp", "other") else "", low, middle, high, common


def _measure(one: ColumnDrift, name: str) -> str:
    measure = next((m for m in one.measures if m.name == name), None)
    return "" if measure is None else f"{measure.effect:.3f} ({measure.bound:.3f})"


def _verdict(one: ColumnDrift) -> str:
    found = from_drift(one, "warn")
    return found.message if found else one.reason or ""


def _print_findings(found: Validation, rows: int) -> None:
    print_out(*(Text(str(finding), style=_COLOURS[finding.severity]) for finding in found.findings))
    print_out(f"{rows:,} rows: " + ("valid" if found.ok else "refused"))


def _version_row(version: DatasetVersion) -> tuple[str, ...]:
    return (
        f"{version.version}",
        f"{version.rows:,}",
        f"{len(version.columns):,}",
        version.status if version.deletion is None else "deleted" if version.deletion.purged_ns is None else "purged",
        version.author,
        moment(version.at_ns),
        version.source,
        version.digest[:12],
    )


def _short(value: str) -> str:
    return value if len(value) <= 24 else f"{value[:23]}…"
