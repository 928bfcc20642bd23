"""`stratal train` and `stratal checkpoints`, as a shell sees them."""

import json
import textwrap

import pytest
import typer
from typer.testing import CliRunner

from stratal.cli.training import register

here_and_there = pytest.mark.parametrize("place", ["here", "over http"], indirect=True)
app = typer.Typer()
register(app)

SCRIPT = """
import sys
import torch
from stratal.training import job

with job(experiment="toy", checkpoint="2 steps", params={"lr": float(sys.argv[2])}) as it:
    model = torch.nn.Linear(1, 1)
    model, optimizer = it.prepare(model, torch.optim.SGD(model.parameters(), lr=float(sys.argv[2])))
    for batch in it.batches(torch.ones(12, 1), size=4):
        it.step(batch, lambda model, x: (model(x) - 1).square().mean())
    if it.is_main:
        print("world size", it.world_size)
        open(sys.argv[1], "w").write(it.run_id)
"""


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    monkeypatch.setenv("STRATAL_STORE", place)
    return tmp_path


@pytest.mark.slow
@here_and_there
def test_a_script_is_trained_on_ranks_and_its_checkpoints_are_listed(here):
    (here / "train.py").write_text(SCRIPT)
    trained = CliRunner().invoke(app, ["train", "train.py", "--workers", "2", "--", "run.txt", "0.1"])
    assert trained.exit_code == 0, trained.output
    run = (here / "run.txt").read_text()

    listed = CliRunner().invoke(app, ["checkpoints", f"run:{run[-8:]}", "--json"])
    (checkpoint,) = json.loads(listed.stdout)
    assert (checkpoint["run"], checkpoint["step"], checkpoint["samples"], checkpoint["mesh"]) == (run, 2, 8, "dp=2")

    shown = CliRunner().invoke(app, ["checkpoints", run])
    assert checkpoint["digest"][:12] in shown.output


@pytest.mark.parametrize("place", ["here"], indirect=True)
def test_a_failing_script_shows_its_traceback_once_and_its_exit_code(here):
    (here / "train.py").write_text(
        textwrap.dedent("""
            import sys
            if "deep" in sys.argv:
                sys.exit(5)
            raise ValueError("the script is wrong")
        """)
    )
    failed = CliRunner().invoke(app, ["train", "train.py"])
    assert failed.exit_code == 1
    assert failed.stderr.count("Traceback") == 1
    assert failed.stderr.count("ValueError: the script is wrong") == 1
    assert 'train.py", line 5' in failed.stderr
    assert CliRunner().invoke(app, ["train", "train.py", "--", "deep"]).exit_code == 5


@here_and_there
def test_a_run_without_checkpoints_says_so(here):
    from stratal.tracking.runs import run

    with run("toy") as made:
        pass
    assert "no checkpoint" in CliRunner().invoke(app, ["checkpoints", made.id]).output
