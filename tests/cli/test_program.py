"""The program: its table of commands, exit codes, errors in plain words, JSON and tables. Excluded: the rules behind commands."""

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console

from stratal.cli.app import COMMANDS, MAKERS, build, main
from stratal.cli.printing import lasted, plain, shown, signed, span, sparkline
from stratal.cli.tracking_pages import run_page, runs_table, value_page
from stratal.core.errors import Misuse
from stratal.core.ids import short
from stratal.core.settings import Settings
from stratal.store.store import Store
from stratal.tracking.capturing import wait_for_captures
from stratal.tracking.explaining import compare_runs
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store, use_store
from stratal.tracking.runs import Run, run
from stratal.version import __version__


@pytest.fixture
def default_store(store: Store) -> Store:
    return use_store(store)


def train(name: str, **params: object) -> Run:
    with run("churn", name=name, params=params) as made:
        for step in range(50):
            made.log({"loss": 1 / (step + 1), "auc": 0.5 + step / 100, "odd": math.nan}, step=step)
        made.edge("used", "dataset:churn@1")
        made.edge("produced", f"sha256:{made.save_bytes('model.bin', name.encode()).digest}", role="model")
    return made


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(words)
    captured = capsys.readouterr()
    assert left.value.code == 0, captured.err
    return captured.out


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main(words)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return int(left.value.code or 0), captured.err


@pytest.mark.parametrize("file", sorted({command.file for command in COMMANDS.values()}))
def test_the_table_of_commands_is_what_the_files_register(file: str) -> None:
    app = typer.Typer()
    importlib.import_module(f"stratal.cli.{file}").register(app)

    registered = {info.name or info.callback.__name__ for info in app.registered_commands} | {
        str(info.name) for info in app.registered_groups
    }
    said = {info.name or info.callback.__name__: (info.callback.__doc__ or "").partition("\n")[0] for info in app.registered_commands}
    said |= {str(info.name): str(info.typer_instance.info.help) for info in app.registered_groups}

    assert registered == {name for name, command in COMMANDS.items() if command.file == file}
    assert {name: COMMANDS[name].says for name in said} == said


def test_help_lists_every_command_without_importing_what_they_need() -> None:
    code = (
        "import sys\nfrom stratal.cli.app import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"})

    assert [name for name, command in COMMANDS.items() if name not in done.stdout or command.says not in done.stdout] == []
    modules = set(done.stderr.split())
    assert not modules & {"sqlalchemy", "numpy", "polars", "torch", "stratal.tracking.reading"}


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "--version") == f"stratal {__version__}\n"


def test_a_command_that_is_none_ends_with_two_and_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = failure(capsys, "shwo", "7c41e09b")

    assert code == 2
    assert "show" in said


def test_a_wrong_call_ends_with_two_and_a_missing_thing_with_one(default_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = failure(capsys, "runs", "-q", "metrics.auc >> 1")
    assert code == 2
    assert "^" in said
    assert "give a number or a quoted text" in said

    code, said = failure(capsys, "show", "7c41e09b")
    assert code == 1
    assert "there is no run" in said


@pytest.mark.parametrize(
    "words",
    [("policy", "churn", "--set", "none.toml"), ("data", "infer", "rows.csv", "--output", "none/schema.toml")],
    ids=lambda words: words[0],
)
def test_a_path_that_the_system_refuses_is_named_without_a_traceback(
    default_store: Store, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    Path("rows.csv").write_text("a\n1\n")

    code, said = failure(capsys, *words)

    assert code == 1
    assert f"{words[-1]}: No such file" in said
    assert "check the path" in said


def test_runs_are_listed_filtered_and_sorted(default_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = train("first", lr=0.1), train("second", lr=0.2)

    listed = json.loads(output(capsys, "runs", "--json"))
    filtered = json.loads(output(capsys, "runs", "-q", "params.lr > 0.15", "--json"))
    ordered = json.loads(output(capsys, "runs", "-o", "params.lr", "-n", "1", "--json"))
    table = output(capsys, "runs", "-e", "churn")

    assert [each["id"] for each in listed] == [second.id, first.id]
    assert [each["id"] for each in filtered] == [second.id]
    assert [each["id"] for each in ordered] == [first.id]
    assert listed[0]["metrics"] == {"auc": 0.99, "loss": 0.02, "odd": "NaN"}
    assert short(first.id) in table
    assert "0.99" in table
    assert output(capsys, "runs", "-e", "none").strip() == "No run passes the filter."


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_table_of_runs_keeps_one_line_per_run_and_says_what_did_not_fit(default_store: Store, width: int) -> None:
    with run("churn", name="a try", kind="step") as made:
        made.log({f"a/metric/with/a/very/long/name/{number}": 123456.789 for number in range(30)})
    console = Console(width=width)

    with console.capture() as printed:
        console.print(runs_table(find_runs(), width))

    head, row, rest = printed.get().rstrip("\n").split("\n")
    assert head.startswith("run       experiment  name")
    assert row.startswith(f"{short(made.id)}  churn       a try")
    assert all(len(line) <= width for line in (head, row, rest))
    assert rest.startswith(f"{30 - row.count('123457')} more metrics; --json gives all")


def test_a_ref_of_something_nested_is_shown_without_its_insides() -> None:
    page = value_page("pipeline:churn@1", "0" * 64, {"digest": "0" * 64, "columns": ["a", "b"], "nodes": [{"path": "load"}]})

    console = Console(width=100)
    with console.capture() as printed:
        console.print(*page)

    lines = [line.rstrip() for line in printed.get().rstrip().split("\n")]
    assert lines == ["ref      pipeline:churn@1", f"digest   {'0' * 64}", "columns  a, b", "nodes    1 part; --json gives all"]


def test_a_run_is_shown_with_all_that_is_known_of_it(default_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    made = train("first [bold]", lr=0.1)
    made.note("see [/nothing]")

    page = output(capsys, "show", short(made.id))
    document = json.loads(output(capsys, "show", f"run:{made.id}", "--json"))

    for part in (
        "first [bold]",
        "see [/nothing]",
        "lr",
        "0.99",
        "▁",
        "█",
        "model.bin",
        "dataset:churn@1",
        "finished",
    ):
        assert part in page
    assert document["summaries"][0] == {
        "name": "auc",
        "last": 0.99,
        "step": 49,
        "time_ns": document["summaries"][0]["time_ns"],
        "low": 0.5,
        "high": 0.99,
        "points": 50,
    }
    assert document["edges"][0]["target"] == "dataset:churn@1"
    assert document["notes"][0]["text"] == "see [/nothing]"


def test_what_was_captured_of_a_run_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    use_store(open_store(tmp_path / "captured", settings=Settings(user="ada", capture=True)))
    made = train("first")
    assert wait_for_captures(60)

    page = output(capsys, "show", made.id)

    for part in ("cpython", "packages", "hardware"):
        assert part in page


def test_an_artifact_and_an_experiment_are_shown_by_their_refs(default_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    made = train("first")

    artifact = json.loads(output(capsys, "show", f"artifact:{short(made.id)}/model.bin", "--json"))

    assert artifact["value"] == {"run": made.id, "path": "model.bin", "size_bytes": 5}
    assert artifact["digest"] in output(capsys, "show", f"artifact:{made.id}/model.bin")
    assert short(made.id) in output(capsys, "show", "experiment:churn")


def test_runs_are_compared(default_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = train("first", lr=0.1, depth=3), train("second", lr=0.2, depth=3)

    page = output(capsys, "compare", first.id, short(second.id))
    document = json.loads(output(capsys, "compare", first.id, second.id, "--minimize", "auc", "--json"))

    assert "params that differ" in page
    assert "1 param is equal" in page
    assert document["params"] == [{"name": "lr", "values": [0.1, 0.2]}]
    assert {row["name"]: row["direction"] for row in document["metrics"]} == {"auc": "min", "loss": "min", "odd": "unknown"}
    assert document["metrics"][2]["deltas"] == ["NaN", "NaN"]
    assert failure(capsys, "compare", first.id)[0] == 2


def test_lineage_is_shown_both_ways(default_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    made = train("first")
    with run("churn", kind="evaluation") as evaluation:
        evaluation.edge("used", f"sha256:{made.save_bytes('model.bin', b'first').digest}", role="model")

    page = output(capsys, "why", short(made.id))
    document = json.loads(output(capsys, "why", f"artifact:{made.id}/model.bin", "--json"))

    assert "used dataset:churn@1 as data" in page
    assert f"used by run:{short(evaluation.id)} as model" in page
    assert document["origins"]["branches"][0]["ref"] == f"run:{made.id}"
    assert document["origins"]["branches"][0]["branches"][0]["ref"] == "dataset:churn@1"
    assert document["uses"]["branches"][0]["ref"] == f"run:{evaluation.id}"


def test_a_file_that_no_edge_speaks_of_came_from_the_run_that_holds_it(default_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with run("churn") as made:
        digest = made.save_bytes("plots/roc.svg", b"<svg/>").digest

    assert f"produced by run:{short(made.id)} (artifact plots/roc.svg)" in output(capsys, "why", f"sha256:{digest}")


def test_another_store_is_chosen_by_its_url(tmp_path: Path, default_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    train("here")
    open_store(tmp_path / "elsewhere").close()

    assert json.loads(output(capsys, "runs", "--store", str(tmp_path / "elsewhere"), "--json")) == []


def test_documents_hold_what_json_can_hold() -> None:
    assert plain({"a": (1, math.nan, -math.inf), 3: {"b"}}) == {"a": [1, "NaN", "-Infinity"], "3": ["b"]}


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([1.0], "▁"),
        ([2.0, 2.0, 2.0], "▁▁▁"),
        ([0.0, 1.0], "▁█"),
        ([math.nan, 0.0, 1.0], " ▁█"),
        ([math.inf, 0.0, 1.0, -math.inf], "█▁█▁"),
        ([float(i) for i in range(8)], "▁▂▃▄▅▆▇█"),
        ([1e308, -1e308], "▁▁"),
    ],
)
def test_a_series_is_drawn_as_bars(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn


def test_a_long_series_is_drawn_in_the_given_width() -> None:
    assert len(sparkline([math.sin(i) for i in range(10_001)], 24)) == 24


def test_values_are_shown_short() -> None:
    assert [span(s) for s in (None, 0.0123, 59.94, 61, 3700, 90000)] == ["–", "12 ms", "59.9 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
    assert [shown(v) for v in (None, True, 0.123456789, 7, "x")] == ["–", "true", "0.123457", "7", "x"]
    assert [signed(v) for v in (None, math.nan, 0.5, -0.25)] == ["", "", "+0.5", "-0.25"]
    assert lasted(5, None) is None
    assert lasted(0, 2_000_000_000) == 2.0


@pytest.mark.parametrize(
    "words", [("compare", "experiment:churn", "x"), ("plot", "experiment:churn", "-m", "loss"), ("fork", "model:x@1", "--step", "1")]
)
def test_a_ref_of_another_kind_where_a_run_is_asked_for_is_a_wrong_call(
    words: tuple[str, ...], default_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "is no run" in capsys.readouterr().err


def test_the_one_text_of_an_id_is_no_list_of_runs() -> None:
    with pytest.raises(Misuse, match="runs are a list"):
        compare_runs("7c41e09b")


@pytest.mark.parametrize("width", [50, 60, 80, 160])
def test_the_page_of_a_run_breaks_no_number_into_lines(default_store: Store, width: int) -> None:
    with run("churn") as made:
        made.define_metric("loss", goal="minimize")
        for step in range(30):
            made.log({"loss": 0.0123456 + step, "system/cpu_percent": 98.7654}, step=step)
    console = Console(width=width)

    with console.capture() as printed:
        console.print(*run_page(find_runs()[0], width))

    assert "29.0123" in printed.get()
    assert len([line for line in printed.get().split("\n") if line.startswith(("loss", "system/"))]) == 2
    assert all("98.7654" in line for line in printed.get().split("\n") if line.startswith("system/"))


# Commands that speak of no store of ours, or choose one in a way of their own.
STORELESS = {"autolog", "sync", "train", "backup list", "backup verify", "backup restore"}


def test_every_command_can_be_told_which_store_it_speaks_of():
    app = typer.main.get_command(build(list(COMMANDS)))
    without = []
    waiting = [((), app)]
    while waiting:
        path, command = waiting.pop()
        if subcommands := getattr(command, "commands", None):
            waiting += [((*path, name), sub) for name, sub in subcommands.items()]
        elif " ".join(path) not in STORELESS and not any("--store" in option.opts for option in command.params):
            without.append(" ".join(path))
    assert without == []


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in MAKERS])
def test_a_command_that_needs_a_store_makes_none(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is wrong with the call."""
    monkeypatch.delenv("STRATAL_STORE", raising=False)
    for words in ([command], [command, "x"], [command, "list"], [command, "x", "--json"]):
        with pytest.raises(SystemExit):
            main(words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["runs", "runs --json", "show 7c41e09b --json", "models", "study list", "top loss"])
def test_who_reads_where_no_store_is_is_told_how_to_come_to_one(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRATAL_STORE", raising=False)
    code, said = failure(capsys, *words.split())
    assert code == 1
    assert f"there is no store here ({tmp_path}), nor in a folder above" in said
    assert "the first run, import or dataset makes one" in said
    open_store(tmp_path / "project" / ".stratal").close()
    assert "the nearest: --store project/.stratal" in failure(capsys, *words.split())[1]
    assert f"there is no store in {tmp_path / 'gone'}" in failure(capsys, *words.split(), "--store", "gone")[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project"]
