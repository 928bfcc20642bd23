"""`stratal quota`: what experiments hold, and may hold."""

import re
from typing import Annotated

import typer
from rich.text import Text

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, print_json, print_out, table
from stratal.core.errors import Misuse
from stratal.store.quotas.rules import BYTES, DEFAULT, NEARLY, UNLIMITED, Usage, shown_bytes
from stratal.tracking.quotas import quotas, recount_quotas, remove_quota, set_quota

On = Annotated[str, typer.Argument(help="experiment:NAME; or '*', the default of all that have none of their own.", metavar="OBJECT")]
_WIDTH = 20
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([kmgtp]?)(i?)b?(?:ytes)?")
_NO_LIMIT = "unlimited"


def register(app: typer.Typer) -> None:
    """Add the command with its parts."""
    made = typer.Typer(help="How many runs, and bytes of files, experiments may hold at a server: set, list, remove.", no_args_is_help=True)
    made.command("set")(_set)
    made.command("list")(_list)
    made.command("remove")(_remove)
    made.command("recount")(_recount)
    app.add_typer(made, name="quota")


def _set(
    on: On,
    size: Annotated[str | None, typer.Option("--bytes", help="50GB, 1.5TiB, a number; or unlimited, whatever the default.")] = None,
    runs: Annotated[str | None, typer.Option("--runs", help="A number; or unlimited.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Set how much an experiment may hold. What is not named stays as it was; what is there stays."""
    use(store)
    said = set_quota(
        _experiment(on),
        most_bytes=None if size is None else read_size(size),
        most_runs=None if runs is None else _number(runs),
    )
    if json:
        return print_json(said)
    parts = [f"{what} {_limit(what, limit)}" for what, limit in ((BYTES, said.most_bytes), ("runs", said.most_runs)) if limit is not None]
    return print_out(cell(f"{_name(said.experiment)}: {', '.join(parts)}"))


def _list(json: Json = False, store: StoreUrl = None) -> None:
    """Show what experiments hold, and may hold."""
    use(store)
    found = quotas()
    if json:
        return print_json(found)
    if found.default is not None:
        limits = [
            f"{what} {_limit(what, limit)}"
            for what, limit in ((BYTES, found.default.most_bytes), ("runs", found.default.most_runs))
            if limit is not None
        ]
        print_out(cell(f"default of all: {', '.join(limits)}"))
    page = table("experiment", "bytes", "", "runs", "", "waiting")
    for each in found.used:
        row = [cell(each.experiment, "bold" if each.has_own else "")]
        for what, used, limit in each.parts():
            row += [_bar(used, limit), cell(f"{_shown(what, used)} / {_limit(what, limit)}")]
        page.add_row(*row, cell(_waiting(each)))
    return print_out(page if found.used else "No experiment holds anything yet.")


def _remove(on: On, json: Json = False, store: StoreUrl = None) -> None:
    """Take a quota away; the default counts."""
    use(store)
    experiment = _experiment(on)
    remove_quota(experiment)
    if json:
        print_json({"removed": experiment})
    else:
        print_out(
            cell(f"{_name(experiment)} has no quota of its own any more" if experiment != DEFAULT else "there is no default any more")
        )


def _recount(json: Json = False, store: StoreUrl = None) -> None:
    """Count anew what experiments hold, where `stratal doctor` says that counters are wrong."""
    use(store)
    done = recount_quotas()
    if json:
        return print_json(done)
    print_out(f"{done.files:,} files of {done.experiments:,} experiments; counters of {len(done.wrong):,} were wrong")
    for name in done.wrong[:20]:
        print_out(cell(f"was wrong: experiment:{name}"))
    return None


def read_size(text: str) -> int:
    """Read bytes as people write them: 50GB (powers of 1000), 1.5TiB (of 1024), 1048576. Raises Misuse."""
    if text == _NO_LIMIT:
        return UNLIMITED
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None or (found[3] and not found[2]):
        raise Misuse(f"{text[:60]!r} is no number of bytes", hint="write 50GB, 1.5TiB, 1048576 or unlimited")
    power = " kmgtp".index(found[2] or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def _number(text: str) -> int:
    if text == _NO_LIMIT:
        return UNLIMITED
    if not text.isascii() or not text.isdigit():
        raise Misuse(f"{text[:60]!r} is no number of runs", hint="write 10000 or unlimited")
    return int(text)


def _experiment(on: str) -> str:
    if on == DEFAULT:
        return on
    kind, _, name = on.partition(":")
    if kind != "experiment" or not name:
        raise Misuse(f"{on[:80]!r} has no quota", hint="write experiment:NAME; or '*', the default of all")
    return name


def _name(experiment: str) -> str:
    return "default of all" if experiment == DEFAULT else f"experiment:{experiment}"


def _bar(used: int, limit: int | None) -> Text:
    if limit is None:
        return Text("")
    share = min(1.0, used / limit) if limit else 1.0
    full = round(share * _WIDTH)
    colour = "red" if used >= limit else "yellow" if used * 100 >= limit * NEARLY else "green"
    return Text("█" * full, style=colour).append("░" * (_WIDTH - full), style="dim")


def _shown(what: str, value: int) -> str:
    return shown_bytes(value) if what == BYTES else f"{value:,}"


def _limit(what: str, limit: int | None) -> str:
    return "–" if limit is None else _NO_LIMIT if limit == UNLIMITED else _shown(what, limit)


def _waiting(each: Usage) -> str:
    return (
        f"{each.waiting_files:,} file{'' if each.waiting_files == 1 else 's'}, {shown_bytes(each.waiting_bytes)}"
        if each.waiting_files
        else ""
    )
