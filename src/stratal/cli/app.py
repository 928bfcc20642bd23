"""The program `stratal`: which command lives in which file, and how errors end.

Only the file of the command that was typed is imported, so that `stratal --help` answers at once.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import typer

from stratal.cli.printing import print_error
from stratal.core.errors import Misuse, StratalError
from stratal.version import __version__


class Command(NamedTuple):
    """A command: the file of this folder that registers it, and its line in the list of commands."""

    file: str
    says: str


# One line per command; the test of this table holds it against what the files register.
COMMANDS = {
    "runs": Command("tracking", "List runs, filtered and sorted."),
    "show": Command("tracking", "Show one run, or what another ref stands for."),
    "alerts": Command("logged", "List what runs told people to look at, the newest first."),
    "compare": Command("tracking", "Compare runs: params, metrics, environment, code, data."),
    "top": Command("finding", "List the best runs, of all or of each group."),
    "spread": Command("finding", "Show how metrics spread over runs that differ only in their seed, or over groups."),
    "importance": Command("finding", "Say which params matter for a metric over at least 20 runs, and how sure that is."),
    "views": Command("finding", "Saved views: list, save, show, remove; stratal runs --view NAME uses one."),
    "plot": Command("plotting", "Plot a metric over runs: in the terminal, or into a file."),
    "watch": Command(
        "plotting", "Watch runs go on, until all have ended or Ctrl-C. Without a terminal, or with --json: a line for each change."
    ),
    "events": Command("events", "Follow what happens in the store, until Ctrl-C: a line for each event. --json: a document per line."),
    "why": Command("tracking", "Show where something came from, and what came of it."),
    "export": Command("exporting", "Export runs into a folder, as tables or as a store of MLflow."),
    "fork": Command("life", "Make a run that goes on from another one's points; resume it by its id."),
    "tag": Command("annotating", "Set tags of a run, or take some away, and show those that it has."),
    "note": Command("annotating", "Add a note to a run, with author and time, and show those that it has."),
    "artifacts": Command("life", "List the files of a run, or copy them out of the store."),
    "output": Command("autolog", "Print what a run printed, up to now; autolog keeps it."),
    "autolog": Command("autolog", "Show which libraries autolog knows here, and what to write for each."),
    "reproduce": Command(
        "reproduction",
        "Start a run again from what was captured of it, and say for each metric whether it came out the same. Exits with 1 if not.",
    ),
    "delete": Command("life", "Delete a run or an experiment's runs; restore brings them back."),
    "restore": Command("life", "Bring deleted runs back."),
    "purge": Command("life", "Drop deleted runs for good, unless something needs them."),
    "retain": Command("life", "Delete old runs of an experiment, unless they are tagged, alive, or needed; restore brings them back."),
    "gc": Command("life", "Free files that nobody needs, leftovers of dead processes, and old events."),
    "data": Command("data", "Look at tables: profile, schema, validation, drift, versions."),
    "import": Command("importing", "Import what another tool has recorded: stratal import tensorboard runs/"),
    "study": Command("tuning", "Studies: list them, show one with its best trials."),
    "train": Command("training", "Run a training script on several ranks of this machine: stratal train SCRIPT --workers 2 -- --lr 0.1"),
    "checkpoints": Command("training", "List the checkpoints of a job's run, the last first."),
    "evaluate": Command("evaluation", "Judge a model on rows that it has not seen; record it, and write the report."),
    "report": Command("evaluation", "Write the HTML report of an evaluation, and print the path of the file."),
    "register": Command("registry", "Make a version of a model that a run logged."),
    "models": Command("registry", "List models, or the versions of one."),
    "gates": Command("registry", "Show what stands between a version and a stage. Exits with 1 if something does."),
    "promote": Command("registry", "Move a version up, if its gates and approvals let it."),
    "approve": Command("registry", "Approve what somebody else asked for, on the evidence that is there now."),
    "rollback": Command("registry", "Bring the predecessor back into Production."),
    "history": Command("registry", "Show who changed what, when, and why."),
    "policy": Command("registry", "Show the policy in force, or set another one."),
    "audit": Command("registry", "Check the log of all changes."),
    "features": Command("features", "Feature views: list, show, read from the online store, prove parity."),
    "pipeline": Command("pipelines", "Show, explain and resume runs of pipelines."),
    "server": Command("server", "Serve a store: other processes log into it, ask it and decide in it. Loopback only, or with --auth."),
    "user": Command("access", "People and services that may sign in to a server of this store."),
    "token": Command("access", "Tokens, by which programs sign in: make, list, revoke."),
    "grant": Command("access", "Who holds which role on what: add, list, remove."),
    "sync": Command(
        "syncing", "Ship what was logged here to a server. Goes on where it was broken off; exits with 1 if something was refused."
    ),
    "webhook": Command("webhooks", "Endpoints that are told of events: add, list, pause, resume, remove, test, deliveries, resend."),
    "quota": Command("quotas", "How many runs, and bytes of files, experiments may hold at a server: set, list, remove."),
    "backup": Command("backups", "Back a store up while it is used: make, list, verify, restore."),
    "doctor": Command(
        "doctor", "Examine the store: database, journals, files, disk, clock, lost runs. Mends nothing. Exits with 1 if something is bad."
    ),
    "migrate": Command(
        "backups", "Bring a store of an older release to this one's schema; a copy of its database is made first, and kept."
    ),
    "demo": Command(
        "demo", "Run the whole lifecycle on real data: raw rows to a model in production. The second time comes from the cache."
    ),
}


# Commands that may be the first thing done with a store, and make it. All others need one that is there.
MAKERS = ("import", "train", "server", "demo", "user add", "token create", "grant add", "webhook add")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program. Exit codes: 0 done, 1 an error of ours, 2 a wrong call, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with _stores_for(words):
            build(words)(args=words, prog_name="stratal")
    except StratalError as error:
        print_error(error)
        sys.exit(2 if isinstance(error, Misuse) else 1)
    except BrokenPipeError:  # who read us has left: `stratal runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        print_error(in_plain_words(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _stores_for(words: Sequence[str]) -> contextlib.AbstractContextManager[None]:
    """Let a command make the store that it names, or only take one that is there."""
    if words[:1] == [] or words[0] not in COMMANDS or " ".join(words[:1]) in MAKERS or " ".join(words[:2]) in MAKERS:
        return contextlib.nullcontext()
    from stratal.tracking.opening import only_existing  # the store's files, which --help must not wait for

    return only_existing()


def in_plain_words(error: OSError) -> StratalError:
    """Give what the system refused as an error of ours."""
    reason = error.strerror or str(error)
    if error.filename is None:
        return StratalError(f"the system refused: {reason}", hint="check that the working folder is still there, and may be read")
    return StratalError(f"{error.filename}: {reason}", hint="check the path, and that you may read and write there")


def build(words: Sequence[str]) -> typer.Typer:
    """Make the program for a command line: real commands from the files that it names, one line for each other command."""
    app = typer.Typer(
        help="A team's whole machine-learning layer: runs, data, features, tuning, training, pipelines, evaluation, registry.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    files = {COMMANDS[word].file for word in words if word in COMMANDS}
    for file in sorted(files):
        importlib.import_module(f"stratal.cli.{file}").register(app)
    for name, command in COMMANDS.items():
        if command.file not in files:
            app.command(name, help=command.says)(_not_typed)
    return app


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"stratal {__version__}")
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)]


def _options(version: _Version = False) -> None:
    """Take the options that stand before a command."""


def _not_typed() -> None:
    """Stand for a command in the list of commands; the command that is typed is always the real one."""


if __name__ == "__main__":
    main()
