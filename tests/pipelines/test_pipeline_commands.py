"""`stratal pipeline show | why | resume`, and what they read."""

import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from pipeline_victims import ThreadWorkers, chains
from rich.console import Console
from typer.testing import CliRunner

from stratal.cli import pipelines
from stratal.core.errors import Misuse, NotFound
from stratal.pipelines import pipeline, step
from stratal.pipelines.reading import explain_step
from stratal.pipelines.reopening import find_pipeline
from stratal.pipelines.rows import Entry
from stratal.pipelines.running import StepFailed, entry_of
from stratal.pipelines.store import PipelineStore
from stratal.store.operations import operations_of
from stratal.tracking.opening import use_store


@pytest.fixture(autouse=True)
def _store(store):
    use_store(store)


@pytest.fixture
def stratal():
    """Give a function that runs a command line and gives its output."""
    app = typer.Typer()
    app.callback()(lambda: None)
    pipelines.register(app)

    def call(*words):
        result = CliRunner().invoke(app, ["pipeline", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


@step
def begun(number: int) -> int:
    return number


@step
def broken(number: int) -> int:
    raise ValueError("[red]boom[/]")


@pipeline
def half(number: int) -> None:
    broken(begun(number))
    begun.after(broken(1))(2)


half = half.with_options(compute=ThreadWorkers)


@pytest.fixture
def failed():
    with pytest.raises(StepFailed) as caught:
        half.run(7)
    return caught.value.run


def test_show_draws_each_step_with_its_state(stratal, failed):
    lines = stratal("show", failed[-8:]).splitlines()
    assert lines[0].split() == ["half", failed[-8:]]
    states = {line.split()[0]: line.split()[1] for line in lines[2:]}
    assert states == {"begun": "finished", "broken": "failed", "broken#2": "failed", "begun#2": "skipped"}
    assert "ValueError: [red]boom[/]" in "\n".join(lines)


def test_a_run_is_found_by_the_ref_of_its_pipeline_too(stratal, failed):
    assert stratal("show", "pipeline:half") == stratal("show", failed)
    assert stratal("why", "pipeline:half@latest", "begun") == stratal("why", failed, "begun")


def test_show_as_json_is_the_graph_with_states(stratal, failed):
    document = json.loads(stratal("show", failed, "--json"))
    assert document["pipeline"] == "half"
    steps = {one["path"]: one for one in document["steps"]}
    assert steps["begun#2"]["after"] == ["broken#2"]
    assert steps["begun#2"]["why"] == ["broken#2 failed"]
    assert steps["broken"]["error"]["type"] == "ValueError"
    assert steps["begun"]["duration_s"] >= 0


def test_why_tells_what_was_different(stratal, failed):
    assert "it was never run before" in stratal("why", failed, "begun")
    with pytest.raises(StepFailed) as caught:
        half.run(8)
    assert "input number was 7, is 8" in stratal("why", caught.value.run, "begun")
    document = json.loads(stratal("why", caught.value.run, "begun", "--json"))
    assert document["state"] == "finished"
    assert {"input", "environment", "function"} <= {part["kind"] for part in document["parts"]}


def test_why_of_a_failed_step_shows_its_traceback_and_parts(stratal, failed):
    text = stratal("why", failed, "broken", "--parts")
    assert 'raise ValueError("[red]boom[/]")' in text
    assert "python" in text


def test_why_says_what_came_from_the_cache_and_from_where(stratal, tmp_path):
    whole = chains.with_options(compute=ThreadWorkers)
    first = whole.run(str(tmp_path / "trace"), 1, 0.0)
    second = whole.run(str(tmp_path / "trace"), 1, 0.0)
    assert f"its result is that of run {first.steps[0].step_run[-8:]}" in stratal("why", second.id, "link")


def test_all_operations_can_cross_a_wire():
    found = operations_of(PipelineStore)
    assert {name for name, one in found.items() if one.is_command} == {"begin", "take_over", "record", "renew", "end"}
    assert {name for name, one in found.items() if not one.is_command} == {"pipeline_run", "recent", "steps", "look_up", "parts", "holder"}


def test_the_live_table_follows_events(store, tmp_path):
    done = chains.with_options(compute=ThreadWorkers).run(str(tmp_path / "trace"), 1, 0.0)
    row = PipelineStore(store).pipeline_run(run=done.id)
    screen = io.StringIO()
    with pipelines.LiveTable(row, Console(file=screen, force_terminal=True, width=120)) as live:
        chains.with_options(compute=ThreadWorkers, on_event=live).run(str(tmp_path / "trace"), 1, 0.0)
    last = screen.getvalue().rsplit("chains", 1)[-1]
    assert last.count("hit") == 3
    assert "waiting" not in last


def test_an_unknown_step_names_the_nearest(store, failed):
    with pytest.raises(NotFound) as caught:
        explain_step(failed, "begn", store)
    assert "did you mean 'begun'?" in caught.value.hint


SCRIPT = """
import sys
from pathlib import Path
from stratal.pipelines import pipeline, step

@step
def first(x: int) -> int:
    with open("trace", "a") as trace:
        trace.write("first\\n")
    return x + 1

@step
def second(x: int) -> int:
    if not Path("mended").exists():
        raise RuntimeError("not yet")
    return x + 1

@pipeline
def script(x: int) -> int:
    return second(first(x))

if __name__ == "__main__":
    script.run(1)
"""


@pytest.mark.slow
def test_a_script_that_failed_is_resumed_by_the_command_line(stratal, store, tmp_path):
    (tmp_path / "my_script.py").write_text(SCRIPT)
    environment = {**os.environ, "STRATAL_STORE": store.url, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "my_script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "step 'second' failed in attempt 1: RuntimeError: not yet" in done.stderr
    (run,) = PipelineStore(store).recent()
    (tmp_path / "mended").touch()
    try:
        document = json.loads(stratal("resume", run, "--json"))
    finally:
        sys.modules.pop("my_script", None)
        sys.path.remove(str(tmp_path))
    assert document == {"run": run, "steps": {"first": "finished", "second": "finished"}}
    assert (tmp_path / "trace").read_text() == "first\n"


def test_a_pipeline_is_found_by_its_module_again():
    assert find_pipeline(entry_of(chains.__wrapped__)).name == "chains"


def test_what_cannot_be_found_again_says_so(tmp_path):
    with pytest.raises(Misuse, match="inside of a function"):
        find_pipeline(Entry(module="x", qualname="f.<locals>.whole", file="x.py"))
    with pytest.raises(NotFound, match="is not there"):
        find_pipeline(Entry(module="x_gone", qualname="whole", file=str(tmp_path / "x_gone.py")))
    victims = importlib.import_module("pipeline_victims")
    with pytest.raises(NotFound, match="there is no pipeline nothing"):
        find_pipeline(Entry(module="pipeline_victims", qualname="nothing", file=victims.__file__))
