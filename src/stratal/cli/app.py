"""The program `stratal`: which command lives in which file, and how errors end.

Only the file of the command that was typed is imported, so that `stratal --help` answers at once.
"""

import importlib
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
    "compare": Command("tracking", "Compare runs: params, metrics, environment, code, data."),
    "why": Command("tracking", "Show where something came from, and what came of it."),
    "data": Command("data", "Profile, infer, validate and compare tables; list dataset versions."),
    "features": Command("features", "Look at feature views, serve rows, prove that online equals offline."),
    "study": Command("tuning", "List studies, show one with its best trials."),
    "train": Command("training", "Run a training script on several ranks of this machine."),
    "checkpoints": Command("training", "List the checkpoints of a job."),
    "pipeline": Command("pipelines", "Show a run of a pipeline, explain it, go on with it."),
    "evaluate": Command("evaluation", "Judge a model on a table."),
    "report": Command("evaluation", "Write the report of an evaluation."),
    "models": Command("registry", "List models, or the versions of one."),
    "register": Command("registry", "Make a version of a model that a run logged."),
    "gates": Command("registry", "Say what gates and approvals say of a transition."),
    "promote": Command("registry", "Move a version up a stage."),
    "approve": Command("registry", "Approve a version for a stage."),
    "rollback": Command("registry", "Put the predecessor back into Production."),
    "history": Command("registry", "Show what happened to a model, and by whom."),
    "policy": Command("registry", "Show or change the policy of a model."),
    "audit": Command("registry", "Verify the audit log."),
    "demo": Command("demo", "Run the whole lifecycle on real data, in a few minutes."),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program. Exit codes: 0 done, 1 an error of ours, 2 a wrong call, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        build(words)(args=words, prog_name="stratal")
    except StratalError as error:
        print_error(error)
        sys.exit(2 if isinstance(error, Misuse) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


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
