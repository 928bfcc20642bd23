"""`stratal features`: list feature views, show one, get an entity's row, prove parity."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, moment, pairs, print_json, print_out, section, table
from stratal.core.errors import Misuse, Refused
from stratal.features import FeatureStore, Parity, find_features, view_of
from stratal.tracking.opening import current_store

commands = typer.Typer(help="Feature views: list, show, read from the online store, prove parity.", no_args_is_help=True)

View = Annotated[str, typer.Argument(help="A feature view: its name, or features:customer@2.", metavar="VIEW")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(commands, name="features")


@commands.command("list")
def list_views(as_json: Json = False, url: StoreUrl = None) -> None:
    """List the feature views of the store, each with its latest version."""
    use(url)
    found = FeatureStore(current_store()).views()
    if as_json:
        print_json(
            [{"ref": v.ref, "name": v.name, "version": v.version, "digest": v.digest, "author": v.author, "at_ns": v.at_ns} for v in found]
        )
        return
    shown = table("view", "version", "features", "source", "entity", "by", "since", numbers=("version",))
    for version in found:
        definition = view_of(version).definition
        names = ", ".join(definition.names)
        cells = (version.name, version.version, names, definition.source, definition.entity, version.author, moment(version.at_ns))
        shown.add_row(*(cell(value) for value in cells))
    print_out(shown if found else Text("No feature view yet: st.feature_view(...).materialise(data) makes one.", style="dim"))


@commands.command()
def show(view: View, as_json: Json = False, url: StoreUrl = None) -> None:
    """Show a feature view: its features, and what serves them."""
    use(url)
    store = current_store()
    version = find_features(store, view)
    definition = view_of(version).definition
    served = FeatureStore(store).materialisation(name=version.name, version=version.version)
    if as_json:
        about = {"ref": version.ref, "digest": version.digest, "source": definition.source, "entity": definition.entity}
        features = {feature.name: feature.text for feature in definition.features}
        print_json({**about, "features": features, "author": version.author, "at_ns": version.at_ns, "online": served})
        return
    head = pairs()
    online = f"{served.rows:,} rows of {served.data}, {moment(served.at_ns)}" if served else "not materialised"
    facts = {"view": version.ref, "digest": version.digest, "source": definition.source, "entity": definition.entity, "online": online}
    for name, value in {**facts, "by": f"{version.author}, {moment(version.at_ns)}"}.items():
        head.add_row(name, cell(value))
    dtypes = {column.name: column.dtype for column in served.layout.outputs} if served else {}
    shown = table("feature", "type", "definition")
    for feature in definition.features:
        shown.add_row(cell(feature.name), cell(dtypes.get(feature.name)), cell(feature.text))
    print_out(head, *section("features", shown))


@commands.command()
def get(
    view: View,
    entity: Annotated[str, typer.Argument(help="The entity, as C0001.", metavar="ENTITY")],
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Read the features of one entity from the online store."""
    use(url)
    store = current_store()
    found = view_of(find_features(store, view))
    row = found.online(_entity(entity, found.reader(store=store).schema()[found.definition.entity].is_integer()), store=store)
    if as_json:
        print_json({name: value if value is None or isinstance(value, bool | int | float) else str(value) for name, value in row.items()})
        return
    shown = pairs()
    for name, value in row.items():
        shown.add_row(name, cell(value))
    print_out(shown)


@commands.command()
def parity(
    view: View,
    data: Annotated[str | None, typer.Option("--data", help="Ref of the data; default: the latest version of the view's source.")] = None,
    sample: Annotated[int, typer.Option("--sample", "-n", help="At most so many entities.", min=1)] = 500,
    as_json: Json = False,
    url: StoreUrl = None,
) -> None:
    """Compare the online store and single rows with the frame, value by value. Exit code 1 if anything differs."""
    use(url)
    store = current_store()
    found = view_of(find_features(store, view))
    outcome = found.parity(data or found.definition.source, sample=sample, store=store)
    if as_json:
        print_json({"ok": outcome.ok, **{name: getattr(outcome, name) for name in outcome.__struct_fields__}})
    else:
        print_out(Text(str(outcome), style="green" if outcome.ok else "red"))
        if outcome.mismatches:
            print_out(_differences(outcome))
    if not outcome.ok:
        raise Refused(f"{outcome.view} is not the same online and offline", hint="materialise it again from the data that you trained on")


def _differences(outcome: Parity) -> Table:
    shown = table("entity", "feature", "way", "in the frame", "there")
    for found in outcome.mismatches[:20]:
        shown.add_row(*(cell(value) for value in (found.entity, found.feature, found.way, found.in_frame, found.there)))
    return shown


def _entity(text: str, is_whole: bool) -> str | int:
    if not is_whole:
        return text
    if text.lstrip("-").isdigit():
        return int(text)
    raise Misuse(f"{text!r} is no whole number, and the entities of this view are")
